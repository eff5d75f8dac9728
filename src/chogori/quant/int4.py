"""Symmetric group-wise INT4, in the `pack-quantized` layout of compressed-tensors.

Each run of `group_size` input weights shares one scale: w ~ scale * code, code in [-8, 7].
Eight codes share an int32, lowest nibble first, each stored as code + 8.

Quantizing is not idempotent: the scales of a dequantized matrix come out smaller. So a published
INT4 matrix is moved as codes, never through float.

Dimension key:
  R rows (output features)    C columns (input features)
  G groups per row            S group size, so C = G * S
  W int32 words per row, so C = W * 8
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

GROUP_SIZE = 32
"""That of Kimi K2 Thinking and K2.5."""
CODES_PER_WORD = 8
CODE_MIN, CODE_MAX = -8, 7


@dataclass(frozen=True, slots=True)
class ScaleRule:
    """How the scale of a group comes from its largest magnitude: absmax / divisor."""

    name: str
    divisor: float
    code_min: int
    least: float | None
    """The smallest scale; None: only a group of zeros gets another scale, the dtype's epsilon."""


MINMAX = ScaleRule("absmax/7.5", 7.5, CODE_MIN, None)
"""compressed-tensors' minmax observer: all sixteen codes, and +absmax clips by half a step."""
ABSMAX_7 = ScaleRule("absmax/7", 7.0, -7, 1e-5)
"""The open quantization-aware training of K2 Thinking: the largest weight of either sign is
representable, and the code -8 stays unused."""
RULES = {rule.name: rule for rule in (MINMAX, ABSMAX_7)}


@dataclass(frozen=True)
class Int4Weight:
    """A quantized matrix as it is kept on disk and in memory. A token asks some hundred of them
    what they are, beside weights that leave no room in the cache: each finds it out once."""

    words_RW: Tensor  # int32
    scale_RG: Tensor  # the dtype of the original weight

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix that the codes stand for."""
        return self.words_RW.shape[0], self.words_RW.shape[1] * CODES_PER_WORD

    @cached_property
    def group_size(self) -> int:
        return self.shape[1] // self.scale_RG.shape[1]

    @cached_property
    def addresses(self) -> tuple[int, int] | None:
        """Where codes and scales are, if each lies in the main memory in one piece."""
        both = (self.words_RW, self.scale_RG)
        if all(each.device.type == "cpu" and each.is_contiguous() for each in both):
            return self.words_RW.data_ptr(), self.scale_RG.data_ptr()
        return None

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.words_RW.nbytes + self.scale_RG.nbytes


def quantize(
    weight_RC: Tensor, rule: ScaleRule = MINMAX, *, group_size: int = GROUP_SIZE
) -> Int4Weight:
    """Round `weight_RC` to codes; the scales take its dtype. Ties round to even.

    Computed in float32 whatever the dtype. Raises `ValueError` if the columns do not divide into
    groups, or groups into words.
    """
    codes_RGS, scale_RG1 = nearest_codes(weight_RC, rule, group_size)
    return Int4Weight(pack(codes_RGS.flatten(-2).to(torch.int8)), scale_RG1.squeeze(-1))


def nearest_codes(weight_RC: Tensor, rule: ScaleRule, group_size: int) -> tuple[Tensor, Tensor]:
    """Codes as float32 [R, G, S] and scales [R, G, 1] in the dtype of the weight."""
    columns = weight_RC.shape[-1]
    if columns % group_size or group_size % CODES_PER_WORD:
        raise ValueError(
            f"{columns} columns do not divide into groups of {group_size} and words of "
            f"{CODES_PER_WORD} codes"
        )
    groups_RGS = weight_RC.float().unflatten(-1, (-1, group_size))
    scale_RG1 = groups_RGS.abs().amax(-1, keepdim=True) / rule.divisor
    if rule.least is None:
        scale_RG1 = scale_RG1.masked_fill(scale_RG1 == 0, torch.finfo(weight_RC.dtype).eps)
        scale_RG1 = scale_RG1.clamp_min(torch.finfo(weight_RC.dtype).tiny)
    else:
        scale_RG1 = scale_RG1.clamp_min(rule.least)
    scale_RG1 = scale_RG1.to(weight_RC.dtype)
    codes_RGS = (groups_RGS / scale_RG1.float()).round().clamp(rule.code_min, CODE_MAX)
    return codes_RGS, scale_RG1


def dequantize(weight: Int4Weight, dtype: torch.dtype | None = None) -> Tensor:
    """code * scale, in `dtype` or else that of the scales.

    A product of a 4-bit code and a bfloat16 scale is rounded once, to the dtype of the result.
    """
    dtype = dtype or weight.scale_RG.dtype
    codes_RGS = unpack(weight.words_RW).unflatten(-1, (-1, weight.group_size))
    return (codes_RGS.to(dtype) * weight.scale_RG.to(dtype).unsqueeze(-1)).flatten(-2)


def pack(codes_RC: Tensor) -> Tensor:
    """Codes (int8) to words (int32)."""
    nibbles_RWN = (codes_RC.to(torch.int32) - CODE_MIN).unflatten(-1, (-1, CODES_PER_WORD))
    # The nibbles do not overlap, so their sum is their bitwise or.
    return (nibbles_RWN << _shifts(codes_RC)).sum(-1, dtype=torch.int32)


def unpack(words_RW: Tensor) -> Tensor:
    """Words (int32) to codes (int8)."""
    # As bytes, each is two codes, low nibble first: an eighth of what shifting words would touch.
    bytes_RB = words_RW.contiguous().view(torch.uint8)
    nibbles_RBN = torch.stack((bytes_RB & 0xF, bytes_RB >> 4), -1)
    return nibbles_RBN.flatten(-2).view(torch.int8) + CODE_MIN


def _shifts(like: Tensor) -> Tensor:
    return torch.arange(0, 4 * CODES_PER_WORD, 4, dtype=torch.int32, device=like.device)
