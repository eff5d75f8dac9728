"""Block-scaled FP8, as DeepSeek-V3 and Kimi K2 are published: read, never written.

A matrix of float8_e4m3fn codes, and one float32 factor for each block of 128 x 128, the last blocks
of a row or column being cut short: w = code * factor.

Dimension key:
  R rows    C columns    r = ceil(R / 128)    c = ceil(C / 128)
"""

from __future__ import annotations

import torch
from torch import Tensor

FP8_BLOCK = 128


def fp8_blocks(rows: int, columns: int) -> tuple[int, int]:
    """The shape of the factors of a matrix."""
    return -(-rows // FP8_BLOCK), -(-columns // FP8_BLOCK)


def dequantize_fp8(
    codes_RC: Tensor, factor_rc: Tensor, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """The matrix in `dtype`, each weight rounded once; a band of blocks at a time."""
    rows, columns = codes_RC.shape
    weight_RC = torch.empty(rows, columns, dtype=dtype)
    factor_rC = factor_rc.float().repeat_interleave(FP8_BLOCK, -1)[:, :columns]
    for band in range(factor_rc.shape[0]):
        part = slice(band * FP8_BLOCK, min((band + 1) * FP8_BLOCK, rows))
        weight_RC[part] = codes_RC[part].float() * factor_rC[band]
    return weight_RC
