"""Checkpoints: written and read again, as others write them, and wrong in every way."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings

from chogori.errors import CheckpointError
from chogori.model import K2, Checkpoint, K2Config, load, load_to_train, nano, save
from chogori.model.layout import DTYPE_BYTES, stored, weights
from chogori.model.saving import matrix_of
from chogori.quant import ABSMAX_7, Int4Weight, dequantize, fp8_blocks, quantize
from reference.drawn_networks import configs, drawn, state_of

safetensors = pytest.importorskip("safetensors.torch", reason="pip install safetensors")
IDS = torch.tensor([[1, 5, 2, 900, 3, 77]])
SHARD_BYTES = 300_000


@pytest.fixture(scope="module")
def network() -> K2:
    return drawn(nano(), 0)


@pytest.fixture(scope="module")
def bf16(network: K2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bf16")
    save(network, folder, shard_bytes=SHARD_BYTES)
    return folder


@pytest.fixture(scope="module")
def int4(network: K2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int4")
    save(network, folder, form="int4", rule=ABSMAX_7, shard_bytes=SHARD_BYTES)
    return folder


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """All of them, as the library of the format reads them."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= safetensors.load_file(path)
    return found


def write(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> Path:
    """One file, as the library of the format writes it."""
    folder.mkdir()
    safetensors.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_others_read_what_we_write(network: K2, bf16: Path) -> None:
    found = tensors_in(bf16)
    index = json.loads((bf16 / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(found)
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in found.values())
    assert len(list(bf16.glob("model-*.safetensors"))) > 3
    for name, weight in state_of(network).items():
        kept = weight if name.endswith("bias") else weight.bfloat16()
        assert torch.equal(found[name], kept)


@settings(max_examples=15)
@given(configs(columns=32))
def test_every_tensor_has_its_published_name_and_shape(config: K2Config) -> None:
    from transformers import DeepseekV3ForCausalLM

    from reference.peer import peer_config

    with torch.device("meta"):
        peer = DeepseekV3ForCausalLM(peer_config(config))
    theirs = {name: tuple(tensor.shape) for name, tensor in peer.state_dict().items()}
    stacked = {name: theirs.pop(name) for name in list(theirs) if ".experts." in name}
    ours = {weight.name: weight.shape for weight in weights(config)}
    assert theirs == {name: shape for name, shape in ours.items() if ".experts." not in name}
    assert sum(torch.Size(shape).numel() for shape in stacked.values()) == sum(
        weight.count for weight in weights(config) if weight.component == "routed experts"
    )


def test_int4_is_stored_as_published(network: K2, int4: Path) -> None:
    name = "model.layers.1.mlp.experts.3.down_proj.weight"
    found = tensors_in(int4)
    expected = quantize(state_of(network)[name], ABSMAX_7)
    assert torch.equal(found[f"{name}_packed"], expected.words_RW)
    assert torch.equal(found[f"{name}_scale"], expected.scale_RG.bfloat16())
    assert found[f"{name}_shape"].tolist() == [128, 128]
    assert found[f"{name}_shape"].dtype == torch.int32
    assert name not in found
    assert "model.layers.1.mlp.shared_experts.down_proj.weight" in found


def test_int4_there_and_back_moves_no_code(int4: Path, tmp_path: Path) -> None:
    save(load(int4), tmp_path, form="int4", shard_bytes=SHARD_BYTES)
    assert hashes(tmp_path) == hashes(int4)


def test_bf16_there_and_back_is_the_same_file(bf16: Path, tmp_path: Path) -> None:
    save(load(bf16), tmp_path, shard_bytes=SHARD_BYTES)
    assert hashes(tmp_path) == hashes(bf16)


def test_int4_answers_as_the_dequantized_network(int4: Path) -> None:
    found = load(int4, dtype=torch.float32)(IDS)
    torch.testing.assert_close(found, load_to_train(int4)(IDS), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_others_in_one_file_is_read(bf16: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "single", tensors_in(bf16), config_of(bf16))
    assert torch.equal(load(folder)(IDS), load(bf16)(IDS))


def test_the_text_network_of_k2_5_is_found_under_its_prefix(int4: Path, tmp_path: Path) -> None:
    tensors = {f"language_model.{name}": tensor for name, tensor in tensors_in(int4).items()}
    tensors["vision_tower.patch_embed.proj.bias"] = torch.zeros(7)
    text = config_of(int4)
    config = {
        "model_type": "kimi_k25",
        "text_config": {k: v for k, v in text.items() if k != "quantization_config"},
        "quantization_config": text["quantization_config"],
    }
    folder = write(tmp_path / "k25", tensors, config)
    assert torch.equal(load(folder)(IDS), load(int4)(IDS))
    assert set(Checkpoint(folder).beside) == {"vision_tower.patch_embed.proj.bias"}


def test_weight_shapes_may_be_int64(int4: Path, tmp_path: Path) -> None:
    tensors = {
        name: tensor.long() if name.endswith("_shape") else tensor
        for name, tensor in tensors_in(int4).items()
    }
    folder = write(tmp_path / "int64", tensors, config_of(int4))
    assert torch.equal(load(folder)(IDS), load(int4)(IDS))


def fp8_of(network: K2) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A network as K2 is published, and the same dequantized one block at a time."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, torch.Tensor] = {}
    for weight in weights(network.config):
        matrix = matrix_of(network, weight)
        assert isinstance(matrix, torch.Tensor)
        tensors[weight.name] = plain[weight.name] = matrix.clone()
        if len(stored(weight, "fp8")) == 2:
            codes, factor = matrix.to(torch.float8_e4m3fn), torch.rand(fp8_blocks(*matrix.shape))
            tensors[weight.name] = codes
            tensors[f"{weight.name}_scale_inv"] = factor
            wide = factor.repeat_interleave(128, 0).repeat_interleave(128, 1)
            rows, columns = matrix.shape
            plain[weight.name] = (codes.float() * wide[:rows, :columns]).bfloat16()
    return tensors, plain


def test_fp8_is_dequantized_as_it_is_read(network: K2, bf16: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors, plain = fp8_of(network)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)
    about = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    config = config_of(bf16)
    fp8 = write(tmp_path / "fp8", tensors, {**config, "quantization_config": about})
    same = write(tmp_path / "same", plain, config)
    assert torch.equal(load(fp8)(IDS), load(same)(IDS))


class TestRefusals:
    """A checkpoint that is not whole is refused with the tensor's name and both shapes."""

    NAME = "model.layers.1.mlp.experts.3.down_proj.weight_packed"

    def refused(self, int4: Path, folder: Path, tensors: dict[str, torch.Tensor]) -> str:
        write(folder, tensors, config_of(int4))
        with pytest.raises(CheckpointError) as refusal:
            load(folder)
        return str(refusal.value)

    def test_a_missing_tensor(self, int4: Path, tmp_path: Path) -> None:
        tensors = tensors_in(int4)
        del tensors[self.NAME]
        said = self.refused(int4, tmp_path / "missing", tensors)
        assert f"{self.NAME} is missing: expected I32 [128, 16], found nothing" in said

    def test_a_tensor_of_another_shape(self, int4: Path, tmp_path: Path) -> None:
        tensors = tensors_in(int4)
        tensors[self.NAME] = tensors[self.NAME][:, :8].contiguous()
        said = self.refused(int4, tmp_path / "shape", tensors)
        assert f"{self.NAME}: expected I32 [128, 16], found I32 [128, 8]" in said

    def test_a_tensor_of_another_dtype(self, int4: Path, tmp_path: Path) -> None:
        tensors = tensors_in(int4)
        tensors[self.NAME] = tensors[self.NAME].float()
        said = self.refused(int4, tmp_path / "dtype", tensors)
        assert f"{self.NAME}: expected I32 [128, 16], found F32 [128, 16]" in said

    def test_a_tensor_too_many(self, int4: Path, tmp_path: Path) -> None:
        tensors = {**tensors_in(int4), "model.layers.3.norm.weight": torch.ones(4)}
        said = self.refused(int4, tmp_path / "extra", tensors)
        assert "model.layers.3.norm.weight does not belong to this network" in said
        assert "found F32 [4], expected nothing" in said

    def test_codes_that_say_they_are_of_another_shape(self, int4: Path, tmp_path: Path) -> None:
        tensors, config = tensors_in(int4), json.loads((int4 / "config.json").read_text())
        name = "model.layers.1.mlp.experts.3.up_proj.weight"
        tensors[f"{name}_shape"] = torch.tensor([128, 256], dtype=torch.int32)
        checkpoint = Checkpoint(write(tmp_path / "spoilt", tensors, config))
        with pytest.raises(CheckpointError, match=r"says \[128, 256\]; expected \[128, 128\]"):
            checkpoint.matrix(name)

    def test_more_than_one_is_counted(self, int4: Path, tmp_path: Path) -> None:
        tensors = tensors_in(int4)
        for name in [name for name in tensors if ".experts.3." in name]:
            del tensors[name]
        assert "17 more are wrong" in self.refused(int4, tmp_path / "many", tensors)

    def test_a_shard_that_is_not_here(self, int4: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(int4, tmp_path / "shard")
        first = sorted(folder.glob("*.safetensors"))[0]
        first.unlink()
        with pytest.raises(CheckpointError, match=f"lacks 1 of its .* files.*{first.name}"):
            load(folder)

    def test_a_shard_that_was_cut(self, int4: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(int4, tmp_path / "cut")
        first = sorted(folder.glob("*.safetensors"))[0]
        with first.open("r+b") as file:
            file.truncate(first.stat().st_size - 1)
        with pytest.raises(CheckpointError, match="is truncated: its tensors end at byte"):
            load(folder)

    def test_a_file_that_is_something_else(self, int4: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(int4, tmp_path / "else")
        sorted(folder.glob("*.safetensors"))[0].write_bytes(b"GGUF" + bytes(100))
        with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
            load(folder)

    @pytest.mark.parametrize("content", [b"GGUF", b"", (2).to_bytes(8, "little") + b"[]"])
    def test_a_file_that_has_no_header(self, int4: Path, tmp_path: Path, content: bytes) -> None:
        folder = shutil.copytree(int4, tmp_path / "header")
        sorted(folder.glob("*.safetensors"))[0].write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is not a (whole )?safetensors file"):
            load(folder)

    @pytest.mark.parametrize(
        "content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}']
    )
    def test_an_index_that_is_none(self, int4: Path, tmp_path: Path, content: str) -> None:
        folder = shutil.copytree(int4, tmp_path / "index")
        (folder / "model.safetensors.index.json").write_text(content)
        with pytest.raises(CheckpointError, match="is no index of safetensors files"):
            load(folder)

    def test_a_config_that_is_no_object(self, int4: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(int4, tmp_path / "list")
        (folder / "config.json").write_text("[]")
        with pytest.raises(CheckpointError, match="is no JSON object"):
            load(folder)

    def test_a_folder_that_is_no_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"it has no config\.json"):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("hidden_act", "gelu"),
            ("attention_bias", True),
            ("num_nextn_predict_layers", 1),
            ("tie_word_embeddings", True),
            ("quantization_config", {"quant_method": "awq"}),
            ("quantization_config", "int4"),
            ("quantization_config", {"format": "pack-quantized", "config_groups": [1]}),
            ("rope_scaling", {"type": "linear", "factor": 2.0}),
            ("rope_scaling", {"type": "yarn", "factor": "8"}),
            ("rope_scaling", {"type": "yarn", "factor": 8.0, "beta_fast": None}),
            ("n_routed_experts", "16"),
            ("hidden_size", -1),
            ("hidden_size", 128.0),
            ("rms_norm_eps", 0),
            ("num_experts_per_tok", 17),
            ("n_group", 3),
            ("n_group", 16),
            ("topk_group", 2),
            ("first_k_dense_replace", 4),
            ("qk_rope_head_dim", 7),
        ],
    )
    def test_a_network_of_another_kind(
        self, int4: Path, tmp_path: Path, field: str, value: Any
    ) -> None:
        folder = shutil.copytree(int4, tmp_path / "kind")
        (folder / "config.json").write_text(json.dumps({**config_of(int4), field: value}))
        with pytest.raises(CheckpointError, match=r"config\.json"):
            load(folder)


def test_a_weight_is_dequantized_where_numbers_are_wanted(int4: Path) -> None:
    checkpoint, name = Checkpoint(int4), "model.layers.2.mlp.experts.0.up_proj.weight"
    matrix = checkpoint.matrix(name)
    assert isinstance(matrix, Int4Weight)
    assert torch.equal(checkpoint.tensor(name), dequantize(matrix))


@settings(max_examples=15)
@given(configs())
def test_every_tensor_begins_at_a_multiple_of_its_element(config: K2Config) -> None:
    with TemporaryDirectory() as folder:
        save(drawn(config, 0), Path(folder), shard_bytes=5_000)
        entries = Checkpoint(Path(folder)).entries.values()
        assert all(entry.start % DTYPE_BYTES[entry.dtype] == 0 for entry in entries)
