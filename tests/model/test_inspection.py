"""What is counted of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from chogori.errors import CheckpointError
from chogori.model import K2Config, k2_1t, k2_5_text, k2_thinking, mini_225m, moonlight_16b
from chogori.model.config import read_config, write_config
from chogori.model.inspection import inspect, inspect_config
from chogori.model.layout import stored, weights
from chogori.model.saving import quantization_of
from chogori.model.scale import MACHINES, experts_read, machines_needed, most_tokens_per_second
from reference.drawn_networks import configs


def test_kimi_k2_has_its_published_size() -> None:
    found = inspect_config(k2_1t(), "fp8")
    assert found.total == 1_026_408_232_448
    assert found.active == 32_861_500_928
    assert found.parameters["routed experts"] == 1_014_686_023_680
    assert found.cache_bytes == 70_272
    assert found.total_bytes == pytest.approx(958.5 * 2**30, rel=0.001)


def test_k2_thinking_has_its_published_size_at_int4() -> None:
    found = inspect_config(k2_thinking(), "int4")
    assert found.total == 1_026_408_232_448
    assert round(found.total_bytes / 1e9, 1) == 594.2


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [(moonlight_16b(), 15.96e9, 2.91e9), (mini_225m(), 225e6, 64e6)],
)
def test_the_small_ones_are_of_their_size(config: K2Config, total: float, active: float) -> None:
    found = inspect_config(config, "bf16")
    assert found.total == pytest.approx(total, rel=0.03)
    assert found.active == pytest.approx(active, rel=0.03)


@given(configs())
def test_a_config_there_and_back_is_the_same(config: K2Config) -> None:
    assert read_config(json.loads(json.dumps(write_config(config)))) == config


def test_the_published_config_of_k2_5_is_read() -> None:
    text = {**write_config(k2_5_text()), "quantization_config": {}}
    assert read_config({"model_type": "kimi_k25", "text_config": text}) == k2_5_text()


def index_of(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    published = {**write_config(k2_thinking()), **quantization_of("int4")}
    (folder / "config.json").write_text(json.dumps(published))
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00062.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_an_index_without_its_weights_is_enough(tmp_path: Path) -> None:
    names = [tensor.name for weight in weights(k2_thinking()) for tensor in stored(weight, "int4")]
    vision = ["vision_tower.patch_embed.proj.bias", "mm_projector.proj.0.bias"]
    prefixed = [f"language_model.{name}" for name in names] + vision
    for each in (names, prefixed):
        found = inspect(index_of(tmp_path / "index", each))
        assert not found.has_weights
        assert found.total == 1_026_408_232_448
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is missing \(1 missing, 0 too"):
        inspect(index_of(tmp_path / "index", names[:-1]))
    with pytest.raises(CheckpointError, match=r"mtp\.weight does not belong"):
        inspect(index_of(tmp_path / "index", [*names, "mtp.weight"]))


def test_bounds_of_speed_and_number_follow_from_bytes() -> None:
    found = inspect_config(k2_thinking(), "int4")
    h200 = MACHINES[0]
    assert machines_needed(found, h200, 262_144) == 8
    one = most_tokens_per_second(found, 8 * h200.bytes_per_second, context_tokens=0)
    assert one == pytest.approx(8 * h200.bytes_per_second / found.active_bytes)
    many = most_tokens_per_second(found, 8 * h200.bytes_per_second, sequences=256)
    assert one < many < 256 * one, "sequences share experts, and their caches are their own"
    assert experts_read(found, 1) == pytest.approx(8)
    assert experts_read(found, 10_000) == pytest.approx(384)
