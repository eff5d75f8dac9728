"""Products with INT4 matrices, by the fastest way that this machine has.

    tokens of an expert    with the compiled kernel         without a compiler
    a few                  straight from the codes          torch's own INT4 product, which wants
                                                            the codes in an order of its own
    many                   dequantize once, then one ordinary product

Many products are asked for at once, since one layer asks for sixteen: every matrix is read once, so
the memory is kept busy only if all threads stream all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional

from chogori.quant.int4 import Int4Weight, dequantize, unpack
from chogori.quant.kernel import Kernel

FEW_TOKENS = 16
"""Up to here the codes are decoded for each product; `make bench-k2` measures the crossing."""


@dataclass(frozen=True, slots=True)
class PackedInt4:
    """The codes once more, as torch's INT4 product wants them; 19 % larger than as published."""

    packed: Tensor
    scale_and_zero_GR2: Tensor
    published: Int4Weight
    """Mapped, mostly: it takes memory only while many tokens need it."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.published.shape

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes + self.scale_and_zero_GR2.nbytes


Matrix = Tensor | Int4Weight | PackedInt4
"""A matrix [rows, columns] in one of the forms in which it can be multiplied."""


class Linears(Protocol):
    """Multiplies several inputs by several matrices at once."""

    def prepare(self, weight: Int4Weight) -> Int4Weight | PackedInt4:
        """The form in which `weight` is multiplied fastest; may be a copy."""
        ...

    def __call__(self, inputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> list[Tensor]:
        """x @ w.T for each x [tokens, columns] and w [rows, columns], all of one shape."""
        ...


def linears_of(kernel: Kernel | None) -> Linears:
    """By the kernel where there is one, else by torch."""
    return TorchLinears() if kernel is None else KernelLinears(kernel)


class TorchLinears:
    """By torch alone."""

    def prepare(self, weight: Int4Weight) -> Int4Weight | PackedInt4:
        rows, columns = weight.shape
        fits = rows % 16 == 0 and columns % 64 == 0 and weight.group_size in (32, 64, 128, 256)
        if fits and weight.scale_RG.dtype == torch.bfloat16:
            return _packed(weight)
        return weight

    def __call__(self, inputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> list[Tensor]:
        return [_product(x, matrix) for x, matrix in zip(inputs, matrices, strict=True)]


class KernelLinears:
    """By the compiled kernel, where it takes the matrices."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def prepare(self, weight: Int4Weight) -> Int4Weight:
        return weight

    def __call__(self, inputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> list[Tensor]:
        outputs: dict[int, Tensor] = {}
        few: dict[int, Int4Weight] = {}
        for i, (x, matrix) in enumerate(zip(inputs, matrices, strict=True)):
            if x.dtype != torch.bfloat16 or not self._takes(matrix):
                outputs[i] = _product(x, matrix)
            elif x.shape[0] > FEW_TOKENS:
                outputs[i] = functional.linear(x, self._kernel.dequantize(matrix))
            else:
                few[i] = matrix
        if few:
            made = self._kernel.linears([inputs[i] for i in few], list(few.values()))
            outputs.update(zip(few, made, strict=True))
        return [outputs[i] for i in range(len(inputs))]

    def _takes(self, matrix: Matrix) -> TypeGuard[Int4Weight]:
        return isinstance(matrix, Int4Weight) and self._kernel.takes(matrix)


def _product(x_TC: Tensor, matrix: Matrix) -> Tensor:
    match matrix:
        case Tensor():
            return functional.linear(x_TC, matrix)
        case PackedInt4() if x_TC.dtype == torch.bfloat16 and x_TC.shape[0] <= FEW_TOKENS:
            return torch.ops.aten._weight_int4pack_mm_for_cpu(
                x_TC, matrix.packed, matrix.published.group_size, matrix.scale_and_zero_GR2
            )
        case PackedInt4():
            return functional.linear(x_TC, dequantize(matrix.published, x_TC.dtype))
        case Int4Weight():
            return functional.linear(x_TC, dequantize(matrix, x_TC.dtype))


def _packed(weight: Int4Weight) -> PackedInt4:
    # Torch's codes are unsigned and stand for (code - 8) * scale + zero, as ours with zero = 0.
    unsigned_RC = unpack(weight.words_RW).to(torch.int32) + 8
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(unsigned_RC, 1)
    scale_GR = weight.scale_RG.T
    return PackedInt4(packed, torch.stack((scale_GR, torch.zeros_like(scale_GR)), -1), weight)
