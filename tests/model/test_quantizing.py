"""From a checkpoint to its INT4 form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from chogori.errors import CheckpointError
from chogori.model import Checkpoint, load, nano, save
from chogori.model.quantizing import NOTES, quantize_checkpoint
from chogori.quant import ABSMAX_7, MINMAX
from reference.drawn_networks import drawn

SHARD_BYTES = 300_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    save(drawn(nano(), 0), folder)
    (folder / "tiktoken.model").write_bytes(b"tokens")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_it_is_what_saving_in_int4_writes(source: Path, tmp_path: Path) -> None:
    quantize_checkpoint(source, tmp_path / "made", rule=ABSMAX_7, shard_bytes=SHARD_BYTES)
    save(load(source), tmp_path / "saved", form="int4", rule=ABSMAX_7, shard_bytes=SHARD_BYTES)
    made, saved = hashes(tmp_path / "made"), hashes(tmp_path / "saved")
    assert made.pop("tiktoken.model")
    assert made == saved


def test_only_routed_experts_are_quantized(source: Path, tmp_path: Path) -> None:
    quantize_checkpoint(source, tmp_path / "made")
    before, after = Checkpoint(source), Checkpoint(tmp_path / "made")
    for weight in before.expected():
        is_same = torch.equal(before.tensor(weight.name), after.tensor(weight.name))
        assert is_same == (weight.component != "routed experts")


def test_what_was_stopped_goes_on(source: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, whole: int) -> None:
        if done == 2:
            raise Stopped

    target = tmp_path / "made"
    with pytest.raises(Stopped):
        quantize_checkpoint(source, target, shard_bytes=SHARD_BYTES, progress=stop)
    written = {path.name: path.stat().st_mtime_ns for path in target.glob("*.safetensors")}
    assert len(written) == 2
    with pytest.raises(CheckpointError):
        load(target)
    quantize_checkpoint(source, target, shard_bytes=SHARD_BYTES)
    for name, time in written.items():
        assert (target / name).stat().st_mtime_ns == time, "it was not written again"
    quantize_checkpoint(source, tmp_path / "at once", shard_bytes=SHARD_BYTES)
    assert hashes(target) == hashes(tmp_path / "at once")


def test_nothing_is_written_over(source: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("")
    with pytest.raises(CheckpointError, match="is there already and is not written over"):
        quantize_checkpoint(source, full)
    done = tmp_path / "done"
    quantize_checkpoint(source, done)
    with pytest.raises(CheckpointError, match="is there already and is not written over"):
        quantize_checkpoint(source, done)


def test_a_folder_begun_by_another_rule_is_not_gone_on_with(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"

    def stop(done: int, whole: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_checkpoint(source, target, rule=MINMAX, progress=stop)
    assert (target / NOTES).exists()
    with pytest.raises(CheckpointError, match=r"by another rule \(absmax/7\.5, now absmax/7\)"):
        quantize_checkpoint(source, target, rule=ABSMAX_7)


def test_int4_is_never_quantized_again(source: Path, tmp_path: Path) -> None:
    quantize_checkpoint(source, tmp_path / "made")
    with pytest.raises(CheckpointError, match="is INT4 already"):
        quantize_checkpoint(tmp_path / "made", tmp_path / "again")


def test_the_vision_tower_and_the_prefix_are_kept(source: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="pip install safetensors")
    tensors = {
        f"language_model.{name}": tensor
        for path in source.glob("*.safetensors")
        for name, tensor in safetensors.load_file(path).items()
    }
    tower = "vision_tower.encoder.final_layernorm.weight"
    tensors[tower] = torch.arange(5.0)
    text = json.loads((source / "config.json").read_text())
    k25 = tmp_path / "k25"
    k25.mkdir()
    (k25 / "config.json").write_text(json.dumps({"model_type": "kimi_k25", "text_config": text}))
    safetensors.save_file(tensors, k25 / "model.safetensors")
    quantize_checkpoint(k25, tmp_path / "made")
    made = Checkpoint(tmp_path / "made")
    assert (made.prefix, made.form) == ("language_model.", "int4")
    assert torch.equal(made.raw(tower), torch.arange(5.0))
    quantize_checkpoint(source, tmp_path / "plain")
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(load(tmp_path / "made")(ids), load(tmp_path / "plain")(ids))
