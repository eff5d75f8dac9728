"""Products with matrices, by the fastest way that this machine has.

    tokens          with the compiled kernel            without a compiler
    INT4, few       straight from the codes             torch's own INT4 product, which wants the
                                                        codes in an order of its own
    INT4, many      dequantize once, then one ordinary product
    plain, few      the same kernel                     torch's product
    any other       torch's product

Many products are asked for at once, since one layer asks for sixteen: every matrix is read once, so
the memory is kept busy only if all threads stream all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import compress
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from chogori.quant.int4 import Int4Weight, dequantize, unpack
from chogori.quant.kernel import Kernel

FEW_TOKENS, FEW_HALF_TOKENS, FEW_WIDE_TOKENS = 40, 4, 4
"""Up to here the kernel decodes codes for each product, and multiplies by bfloat16 and by float32,
whose rows four tokens share; `make bench-k2` measures the crossing."""
MORE_TOKENS, MORE_HALF_TOKENS = 512, 128
"""The first two where the processor has AVX2 and torch nothing faster for bfloat16."""
FEW_PACKED_TOKENS = 16
"""Up to here torch's own INT4 product does."""
BLOCK = 1 << 20
"""Weights that are made float32 at once: the cache holds them until they are multiplied."""


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

    @property
    def kernel(self) -> Kernel | None:
        """What has been compiled for this machine; it can do more than products."""
        ...

    def prepare(self, weight: Int4Weight) -> Int4Weight | PackedInt4:
        """The form in which `weight` is multiplied fastest; may be a copy."""
        ...

    def __call__(self, inputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> list[Tensor]:
        """x @ w.T for each x [..., columns] and w [rows, columns]."""
        ...


def linears_of(kernel: Kernel | None) -> Linears:
    """By the kernel where there is one, else by torch."""
    return TorchLinears() if kernel is None else KernelLinears(kernel)


class TorchLinears:
    """By torch alone."""

    kernel = None

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
        self.kernel = kernel

    def prepare(self, weight: Int4Weight) -> Int4Weight:
        return weight

    def __call__(self, inputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> list[Tensor]:
        few = [self._goes_through(x, m) for x, m in zip(inputs, matrices, strict=True)]
        taken = cast(list[Tensor | Int4Weight], [*compress(matrices, few)])
        made = iter(self.kernel.products([*compress(inputs, few)], taken))
        return [
            next(made) if is_few else self._other(x, matrix)
            for x, matrix, is_few in zip(inputs, matrices, few, strict=True)
        ]

    def _goes_through(self, x: Tensor, matrix: Matrix) -> bool:
        """Whether the kernel makes this product itself."""
        dtype = matrix.dtype if isinstance(matrix, Tensor) else torch.bfloat16
        is_few = x.numel() <= self._most(matrix) * x.shape[-1] and not x.requires_grad
        return is_few and x.dtype == dtype and self.kernel.takes(matrix)

    def _most(self, matrix: Matrix) -> int:
        """Tokens."""
        is_ahead = self.kernel.way == "AVX2" and not has_fast_bfloat16()
        if not isinstance(matrix, Tensor):
            return MORE_TOKENS if is_ahead else FEW_TOKENS
        if matrix.dtype == torch.float32:
            return FEW_WIDE_TOKENS
        return MORE_HALF_TOKENS if is_ahead else FEW_HALF_TOKENS

    def _other(self, x: Tensor, matrix: Matrix) -> Tensor:
        if (
            isinstance(matrix, Int4Weight)
            and x.dtype == torch.bfloat16
            and self.kernel.takes(matrix)
        ):
            return product(x, self.kernel.dequantize(matrix))
        return _product(x, matrix)


def product(x_TC: Tensor, weight_RC: Tensor) -> Tensor:
    """x @ w.T by torch; bfloat16 in float32, some rows at a time, where that is what the processor
    multiplies."""
    if not x_TC.dtype == weight_RC.dtype == torch.bfloat16 or has_fast_bfloat16():
        return functional.linear(x_TC, weight_RC)
    x_TC, parts = x_TC.float(), weight_RC.split(max(1, BLOCK // weight_RC.shape[1]))
    return torch.cat([functional.linear(x_TC, part.float()).bfloat16() for part in parts], -1)


@cache
def has_fast_bfloat16() -> bool:
    """Whether torch has a product in bfloat16 for this processor. Without AVX512 its own is thirty
    times slower than that in float32."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except AttributeError:  # built without that library
        return True


def _product(x_TC: Tensor, matrix: Matrix) -> Tensor:
    match matrix:
        case Tensor():
            return product(x_TC, matrix)
        case PackedInt4() if x_TC.dtype == torch.bfloat16 and len(x_TC) <= FEW_PACKED_TOKENS:
            return torch.ops.aten._weight_int4pack_mm_for_cpu(
                x_TC, matrix.packed, matrix.published.group_size, matrix.scale_and_zero_GR2
            )
        case PackedInt4():
            return product(x_TC, dequantize(matrix.published, x_TC.dtype))
        case Int4Weight():
            return product(x_TC, dequantize(matrix, x_TC.dtype))


def _packed(weight: Int4Weight) -> PackedInt4:
    # Torch's codes are unsigned and stand for (code - 8) * scale + zero, as ours with zero = 0.
    unsigned_RC = unpack(weight.words_RW).to(torch.int32) + 8
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(unsigned_RC, 1)
    scale_GR = weight.scale_RG.T
    return PackedInt4(packed, torch.stack((scale_GR, torch.zeros_like(scale_GR)), -1), weight)
