"""A published checkpoint in a folder: config.json, safetensors files, and an index if several.

Opening one reads headers alone and checks every name, shape and dtype against `layout`. Tensors are
then given where they lie in the mapped files, INT4 as codes; FP8 is dequantised as it is read.
Kimi K2.5 has its text network under `language_model.` and a vision tower beside it, which is left
alone here; so are the rotary tables that K2's FP8 files happen to carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import orjson
import torch
from torch import Tensor

from chogori.errors import CheckpointError
from chogori.model.checking import check
from chogori.model.config import K2Config, read_config
from chogori.model.layout import Format, Weight, expert_name, stored, weights
from chogori.model.shards import Entry, Shard
from chogori.quant import FP8_BLOCK, GROUP_SIZE, Int4Weight, dequantize, dequantize_fp8

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PREFIX = "language_model."
BESIDE = ("vision_tower.", "mm_projector.")
STRAY = ".rotary_emb.inv_freq"


class Checkpoint:
    """A checkpoint that has been found whole. Raises `CheckpointError` with what is not as it
    should be: the tensor's name, what was expected, what was found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.published = read_published(folder)
        self.config: K2Config = read_config(self.published)
        self.form: Format = read_format(self.published)
        shards = [Shard(folder / name) for name in shard_names(folder)]
        found = {name: shard for shard in shards for name in shard.entries}
        self.prefix = PREFIX if any(name.startswith(PREFIX) for name in found) else ""
        self.beside = {
            name: shard.entries[name] for name, shard in found.items() if name.startswith(BESIDE)
        }
        self._shard_of = {
            name.removeprefix(self.prefix): shard
            for name, shard in found.items()
            if name not in self.beside and not name.endswith(STRAY)
        }
        self._beside_shard = {name: found[name] for name in self.beside}
        self._entries = {
            name: shard.entries[self.prefix + name] for name, shard in self._shard_of.items()
        }
        check(self._entries, self.expected(), self.form, folder)

    def expected(self) -> Iterator[Weight]:
        """Every weight of the network; all of them are here."""
        return weights(self.config)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The tensors of the text network in the files, without the prefix."""
        return self._entries

    def matrix(self, name: str) -> Tensor | Int4Weight:
        """A weight in the form in which it is multiplied: INT4 as codes, FP8 as bfloat16.

        Raises `CheckpointError` for codes that say they are of another shape.
        """
        if f"{name}_packed" in self._entries:
            return self._int4(name)
        if f"{name}_scale_inv" in self._entries:
            return dequantize_fp8(self.raw(name), self.raw(f"{name}_scale_inv"))
        return self.raw(name)

    def _int4(self, name: str) -> Int4Weight:
        weight = Int4Weight(self.raw(f"{name}_packed"), self.raw(f"{name}_scale"))
        said = tuple(self.raw(f"{name}_shape").tolist())
        if said != weight.shape:
            raise CheckpointError(
                f"{self.folder}: {name}_shape says {list(said)}; expected {list(weight.shape)}, of "
                "which its codes are"
            )
        return weight

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A weight as numbers, whatever its form; in the dtype of the file, or in `dtype`."""
        matrix = self.matrix(name)
        if isinstance(matrix, Int4Weight):
            return dequantize(matrix, dtype)
        return matrix if dtype is None else matrix.to(dtype)

    def raw(self, name: str) -> Tensor:
        """A tensor of the files as it is, by its name without the prefix."""
        if name in self.beside:
            return self._beside_shard[name].tensor(name)
        return self._shard_of[name].tensor(self.prefix + name)

    def fetch_expert(self, layer: int, number: int) -> None:
        """Have an expert read ahead."""
        for shard, names in self._expert(layer, number):
            shard.fetch(names)

    def drop_expert(self, layer: int, number: int) -> None:
        """Let go of an expert's memory."""
        for shard, names in self._expert(layer, number):
            shard.drop(names)

    def _expert(self, layer: int, number: int) -> Iterator[tuple[Shard, list[str]]]:
        for matrix in ("gate_proj", "up_proj", "down_proj"):
            name = f"{expert_name(layer, number)}.{matrix}.weight"
            weight = Weight(name, (0, 0), "routed experts")
            for each in stored(weight, self.form):
                yield self._shard_of[each.name], [self.prefix + each.name]


def read_published(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint. Raises `CheckpointError`."""
    path = folder / CONFIG
    try:
        published = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {CONFIG}; expected a folder with {CONFIG} and "
            "safetensors files"
        ) from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(published, dict) or not isinstance(published.get("text_config", {}), dict):
        raise CheckpointError(f"{path} is no JSON object, or its text_config is none")
    return cast(dict[str, Any], published)


def read_format(published: Mapping[str, Any]) -> Format:
    """How the weights are stored, by the config's word. Raises `CheckpointError`."""
    text: Mapping[str, Any] = published.get("text_config", published)
    about = text.get("quantization_config") or published.get("quantization_config")
    if not about:
        return "bf16"
    if not isinstance(about, Mapping):
        raise _unread(about)
    about = cast(Mapping[str, Any], about)
    if about.get("quant_method") == "fp8" and about.get("weight_block_size") == [FP8_BLOCK] * 2:
        return "fp8"
    try:
        groups = [{**(each.get("weights") or {})} for each in about["config_groups"].values()]
    except (KeyError, TypeError, AttributeError):
        raise _unread(about) from None
    int4 = {"num_bits": 4, "type": "int", "symmetric": True, "group_size": GROUP_SIZE}
    is_int4 = all(group.items() >= int4.items() for group in groups)
    if about.get("format") == "pack-quantized" and groups and is_int4:
        return "int4"
    raise _unread(about)


def _unread(about: object) -> CheckpointError:
    return CheckpointError(
        f"config.json has a quantization_config that is not read here: {about}; expected fp8 "
        f"in blocks of {FP8_BLOCK} x {FP8_BLOCK}, or pack-quantized symmetric INT4 in groups of "
        f"{GROUP_SIZE}"
    )


def read_index(folder: Path) -> dict[str, str] | None:
    """Which file holds which tensor; None where there is no index. Raises `CheckpointError`."""
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        files = orjson.loads(path.read_bytes())["weight_map"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise _no_index(path) from error
    if not isinstance(files, dict) or not all(isinstance(each, str) for each in files.values()):
        raise _no_index(path)
    return cast(dict[str, str], files)


def _no_index(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is no index of safetensors files; expected "
        '{"weight_map": {NAME OF A TENSOR: NAME OF A FILE, ...}}; fetch it again'
    )


def shard_names(folder: Path) -> list[str]:
    """The files of a checkpoint. Raises `CheckpointError` if any is not there."""
    index = read_index(folder)
    names = [SINGLE] if index is None else sorted(set(index.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of its {len(names)} files of weights, the first being "
            f"{missing[0]}; fetch the whole checkpoint"
        )
    return names
