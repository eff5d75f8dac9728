"""What a checkpoint is, by its config.json and, if they are here, the headers of its files.

Counts come from `layout`, so a checkpoint of a trillion parameters is told from two small files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chogori.errors import CheckpointError
from chogori.model.checkpoint import (
    BESIDE,
    INDEX,
    PREFIX,
    SINGLE,
    STRAY,
    Checkpoint,
    read_format,
    read_index,
    read_published,
)
from chogori.model.config import K2Config, read_config
from chogori.model.layout import COMPONENTS, Component, Format, stored, weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The numbers of a checkpoint."""

    config: K2Config
    form: Format
    parameters: Mapping[Component, int]
    bytes: Mapping[Component, int]
    """As stored; every tensor of the format counts."""
    tensors: int
    has_weights: bool

    @property
    def total(self) -> int:
        return sum(self.parameters.values())

    @property
    def active(self) -> int:
        """Parameters that one token meets, embedding and head included."""
        routed, e = self.parameters["routed experts"], self.config.experts
        return self.total - routed + routed * e.chosen // e.routed

    @property
    def total_bytes(self) -> int:
        return sum(self.bytes.values())

    @property
    def active_bytes(self) -> int:
        """Bytes that one token reads, one row of the embedding aside."""
        routed, e = self.bytes["routed experts"], self.config.experts
        read = self.total_bytes - self.bytes["embedding"] - routed
        return read + routed * e.chosen // e.routed

    @property
    def resident_bytes(self) -> int:
        """What every token reads, whichever experts it visits: the least memory that is of use."""
        return self.total_bytes - self.bytes["routed experts"]

    @property
    def cache_bytes(self) -> int:
        """Of one token, in bfloat16."""
        return 2 * self.config.layers * self.config.attention.cached_dim


def inspect_config(config: K2Config, form: Format, *, has_weights: bool = False) -> Inspection:
    """The numbers of a network of these sizes, stored in this format."""
    parameters, sizes = dict.fromkeys(COMPONENTS, 0), dict.fromkeys(COMPONENTS, 0)
    tensors = 0
    for weight in weights(config):
        parameters[weight.component] += weight.count
        for tensor in stored(weight, form):
            sizes[weight.component] += tensor.nbytes
            tensors += 1
    return Inspection(
        config=config,
        form=form,
        parameters=parameters,
        bytes=sizes,
        tensors=tensors,
        has_weights=has_weights,
    )


def inspect(folder: Path) -> Inspection:
    """A checkpoint, whole or without its files of weights; an index must name every tensor.

    Raises `CheckpointError` where anything is not as config.json describes it.
    """
    published = read_published(folder)
    config, form = read_config(published), read_format(published)
    index = read_index(folder)
    names = [SINGLE] if index is None else sorted(set(index.values()))
    here = [name for name in names if (folder / name).is_file()]
    if here:
        Checkpoint(folder)
    elif index is not None:
        _check_names(index, config, form, folder)
    return inspect_config(config, form, has_weights=bool(here))


def _check_names(index: Mapping[str, Any], config: K2Config, form: Format, folder: Path) -> None:
    found = {
        name.removeprefix(PREFIX)
        for name in index
        if not name.startswith(BESIDE) and not name.endswith(STRAY)
    }
    expected = {tensor.name for weight in weights(config) for tensor in stored(weight, form)}
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing or extra:
        first = f"{missing[0]} is missing" if missing else f"{extra[0]} does not belong"
        raise CheckpointError(
            f"{folder / INDEX} does not name the tensors that config.json describes in {form}: "
            f"{first} ({len(missing):,} missing, {len(extra):,} too many)"
        )
