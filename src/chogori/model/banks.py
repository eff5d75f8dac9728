"""Experts that stay in their files, the hot ones in memory under a byte budget.

All layers share one budget. An expert that is asked for becomes the most recent; while they take
more than the budget, the least recent one is let go. A large mixture visits a few experts of each
layer for a token, some of them again and again, so a checkpoint that is larger than memory runs at
the speed at which its cold experts are read. What is computed does not depend on the budget.

An expert is multiplied where it is mapped if the machine can do that; otherwise its prepared copy
is what stays in memory, and its pages go at once.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from chogori.errors import ConfigError
from chogori.model.checkpoint import Checkpoint
from chogori.model.experts import WAVE, Expert
from chogori.model.layout import expert_name
from chogori.model.sizes import said
from chogori.quant import Int4Weight, Linears, Matrix


class HotExperts:
    """Which routed experts of a checkpoint are in memory."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        linears: Linears,
        *,
        dtype: torch.dtype,
        budget_bytes: int | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._linears = linears
        self._dtype = dtype
        self._budget_bytes = budget_bytes
        self._hot: OrderedDict[tuple[int, int], Expert] = OrderedDict()
        self.nbytes = 0
        """What the hot experts take."""
        self.reads = 0
        """How often an expert was not in memory."""

    def layer(self, number: int) -> LayerExperts:
        """The bank of one layer."""
        return LayerExperts(self, number)

    def take(self, layer: int, numbers: Sequence[int]) -> list[Expert]:
        """These experts, read if need be; the least recent others go for them, and first."""
        hot = [number for number in numbers if (layer, number) in self._hot]
        cold = [number for number in numbers if (layer, number) not in self._hot]
        for number in hot:
            self._hot.move_to_end((layer, number))
        self._make_room(len(cold), keep=len(hot))
        for number in cold:
            self._checkpoint.fetch_expert(layer, number)
        for number in cold:
            self._read(layer, number)
        return [self._hot[layer, number] for number in numbers]

    def _make_room(self, count: int, keep: int) -> None:
        """For so many more experts, but never at the cost of the `keep` most recent."""
        if self._budget_bytes is None or not self._hot:
            return
        needed = count * next(iter(self._hot.values())).nbytes
        while self.nbytes + needed > self._budget_bytes and len(self._hot) > keep:
            (layer, number), expert = self._hot.popitem(last=False)
            self.nbytes -= expert.nbytes
            self._checkpoint.drop_expert(layer, number)

    def _read(self, layer: int, number: int) -> None:
        name = expert_name(layer, number)
        raw = [
            self._checkpoint.matrix(f"{name}.{matrix}.weight")
            for matrix in ("gate_proj", "up_proj", "down_proj")
        ]
        prepared = [self._prepared(matrix) for matrix in raw]
        if any(made is not matrix for made, matrix in zip(prepared, raw, strict=True)):
            self._checkpoint.drop_expert(layer, number)
            _trim()
        expert = self._hot[layer, number] = Expert(*prepared)
        self.nbytes += expert.nbytes
        self.reads += 1

    def _prepared(self, matrix: Tensor | Int4Weight) -> Matrix:
        if isinstance(matrix, Int4Weight):
            return self._linears.prepare(matrix)
        return matrix.to(self._dtype)


@dataclass(frozen=True, slots=True)
class LayerExperts:
    """The experts of one layer, as a bank."""

    hot: HotExperts
    number: int

    def take(self, numbers: Sequence[int]) -> list[Expert]:
        return self.hot.take(self.number, numbers)


def _trim() -> None:
    """Give back what making a copy left behind. Small objects that stay split the room of the large
    ones that went, so the heap grew with every copy, to eight times the budget."""
    with suppress(AttributeError):  # not with this C library
        ctypes.CDLL(None).malloc_trim(0)


def expert_budget(memory_bytes: int, other_bytes: int, expert_bytes: int) -> int:
    """What is left for experts beside the weights that every token reads. Raises `ConfigError` if
    that is less than one wave of them."""
    least = WAVE * expert_bytes
    if memory_bytes - other_bytes < least:
        raise ConfigError(
            f"{said(memory_bytes)} of memory are too little for this checkpoint: every token reads "
            f"{said(other_bytes)}, and {WAVE} experts at a time take {said(least)} more; give at "
            f"least --memory {-(-(other_bytes + least) // 10**6)}MB"
        )
    return memory_bytes - other_bytes
