"""From a network, or from another checkpoint, to a checkpoint in the published layout.

Tensors are planned first and streamed then, shard by shard; a shard has its name only when it is
whole, so writing goes on where it was stopped. INT4 codes are copied as codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from chogori.model.checkpoint import CONFIG, INDEX
from chogori.model.config import write_config
from chogori.model.layout import DTYPE_BYTES, Format, Stored, Weight, expert_name, stored, weights
from chogori.model.network import K2
from chogori.model.shards import ShardWriter
from chogori.quant import (
    GROUP_SIZE,
    MINMAX,
    Int4Weight,
    PackedInt4,
    ScaleRule,
    dequantize,
    quantize,
)

SHARD_BYTES = 5_000_000_000
MatrixOf = Callable[[Weight], Tensor | Int4Weight]
Progress = Callable[[int, int], None]
"""Told (shards written, shards in all)."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor to be written, and how it comes about."""

    stored: Stored
    make: Callable[[], Tensor]


class Encoder:
    """Makes the tensors that hold a weight. Keeps the last weight, whose tensors are mostly asked
    for one after another."""

    def __init__(self, matrix_of: MatrixOf, form: Format, rule: ScaleRule = MINMAX) -> None:
        self._matrix_of = matrix_of
        self._form: Format = form
        self._rule = rule
        self._last: tuple[str, dict[str, Tensor]] = ("", {})

    def plan(self, weight: Weight) -> list[Planned]:
        """The tensors of `weight`; nothing is computed yet."""

        def make(name: str) -> Tensor:
            if self._last[0] != weight.name:
                self._last = (weight.name, self._encode(weight))
            return self._last[1][name]

        return [
            Planned(tensor, lambda name=tensor.name: make(name))
            for tensor in stored(weight, self._form)
        ]

    def _encode(self, weight: Weight) -> dict[str, Tensor]:
        matrix = self._matrix_of(weight)
        if self._form == "int4" and weight.component == "routed experts":
            if isinstance(matrix, Tensor):
                matrix = quantize(matrix, self._rule)
            return {
                f"{weight.name}_packed": matrix.words_RW,
                f"{weight.name}_scale": matrix.scale_RG,
                f"{weight.name}_shape": torch.tensor(weight.shape, dtype=torch.int32),
            }
        return {weight.name: dequantize(matrix) if isinstance(matrix, Int4Weight) else matrix}


def save(
    network: K2,
    folder: Path,
    *,
    form: Format = "bf16",
    rule: ScaleRule = MINMAX,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write `network` into an empty folder, its experts quantized by `rule` for "int4" unless they
    are INT4 already. Weights that are wider than bfloat16 are rounded."""
    encoder = Encoder(lambda weight: matrix_of(network, weight), form, rule)
    plan = [each for weight in weights(network.config) for each in encoder.plan(weight)]
    published = {**write_config(network.config), **quantization_of(form)}
    write_checkpoint(folder, published, plan, shard_bytes=shard_bytes)


def matrix_of(network: K2, weight: Weight) -> Tensor | Int4Weight:
    """Where a weight is in a network."""
    if weight.component != "routed experts":
        return network.get_parameter(weight.name)
    _, _, layer, *_, number, field, _ = weight.name.split(".")
    assert weight.name.startswith(expert_name(int(layer), int(number)))
    expert = network.mixture(int(layer)).experts.take([int(number)])[0]
    matrix = {
        "gate_proj": expert.gate_FD,
        "up_proj": expert.up_FD,
        "down_proj": expert.down_DF,
    }[field]
    return matrix.published if isinstance(matrix, PackedInt4) else matrix


def quantization_of(form: Format) -> dict[str, Any]:
    """What config.json says of the format; nothing for bf16."""
    if form == "bf16":
        return {}
    assert form == "int4", "fp8 is read, never written"
    group: dict[str, Any] = {
        "targets": ["Linear"],
        "weights": {
            "num_bits": 4,
            "type": "int",
            "symmetric": True,
            "strategy": "group",
            "group_size": GROUP_SIZE,
            "observer": "minmax",
            "dynamic": False,
            "actorder": None,
            "block_structure": None,
        },
        "input_activations": None,
        "output_activations": None,
    }
    return {
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "kv_cache_scheme": None,
            "config_groups": {"group_0": group},
            "ignore": [
                "lm_head",
                "re:.*self_attn.*",
                "re:.*shared_experts.*",
                r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
            ],
        }
    }


def write_checkpoint(
    folder: Path,
    published: dict[str, Any],
    plan: Iterable[Planned],
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = lambda done, whole: None,
) -> None:
    """Write shards, index and config.json, in this order: with a config.json it is whole.

    Shards that are there already are taken for what an earlier, equal call wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _in_shards(sorted(plan, key=_by_alignment), shard_bytes)
    names = [
        f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)
    ]
    for done, (name, shard) in enumerate(zip(names, shards, strict=True)):
        progress(done, len(shards))
        if not (folder / name).exists():
            with ShardWriter(folder / name, [each.stored for each in shard]) as writer:
                for each in shard:
                    writer.write(each.make())
    index = {
        "metadata": {"total_size": sum(each.stored.nbytes for shard in shards for each in shard)},
        "weight_map": {
            each.stored.name: name
            for name, shard in zip(names, shards, strict=True)
            for each in shard
        },
    }
    _write_json(folder / INDEX, index)
    _write_json(folder / CONFIG, published)
    progress(len(shards), len(shards))


def _in_shards(plan: Sequence[Planned], shard_bytes: int) -> list[list[Planned]]:
    shards: list[list[Planned]] = []
    room = 0
    for each in plan:
        if not shards or each.stored.nbytes > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(each)
        room -= each.stored.nbytes
    return shards


def _by_alignment(each: Planned) -> tuple[bool, int]:
    """Tensors stand in a file without gaps, and each must begin at a multiple of its element: those
    of whole eights of bytes come first, in the order of the network; the odd ones last."""
    is_odd = each.stored.nbytes % 8 != 0
    return is_odd, -DTYPE_BYTES[each.stored.dtype] if is_odd else 0


def _write_json(path: Path, value: dict[str, Any]) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    new.replace(path)
