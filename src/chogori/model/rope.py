"""Rotary positions, stretched by YaRN (arXiv 2309.00071, as DeepSeek-V3 and Kimi K2 use it).

Pair i of a vector of size P turns by position * f_i, f_i = theta^(-2i/P). YaRN divides the slow
frequencies by `factor`, leaves the fast ones, and blends those between: pair r turns around
beta(i) = original_context * f_i / 2 pi times within the original context, and the ramp runs from
beta_fast turns to beta_slow turns, its ends rounded outwards to whole pairs. With both at 1, as in
K2, it is a switch.

Published weights hold the pairs interleaved: (x0, x1), (x2, x3), ... are the complex numbers.

Dimension key:
  B batch    T tokens    P rotary dim    I = P / 2 pairs
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from chogori.model.config import K2Config, Yarn


@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosine and sine of every pair at each of T positions, both [T, I] in float32."""

    cos_TI: Tensor
    sin_TI: Tensor


@lru_cache(maxsize=16)
def frequencies(rope_dim: int, theta: float, yarn: Yarn | None) -> Tensor:
    """The angle that each pair turns by from one position to the next; float32 [I].

    In float32, in the published order of operations: at position 262,143 a frequency that is off
    by one rounding turns its pair 0.01 radians away from where training had it.
    """
    period_I = theta ** (torch.arange(0, rope_dim, 2, device="cpu").float() / rope_dim)
    plain_I = 1.0 / period_I
    if yarn is None:
        return plain_I
    low = max(math.floor(_pair_turning(yarn.beta_fast, rope_dim, theta, yarn)), 0)
    high = min(math.ceil(_pair_turning(yarn.beta_slow, rope_dim, theta, yarn)), rope_dim - 1)
    width = high - low or 0.001
    kept_I = 1 - ((torch.arange(rope_dim // 2, device="cpu").float() - low) / width).clamp(0, 1)
    return 1.0 / (yarn.factor * period_I) * (1 - kept_I) + plain_I * kept_I


def rotation(config: K2Config, position_T: Tensor) -> Rotation:
    """The tables at these positions. Angles are products in float32, as in published code."""
    frequency_I = frequencies(config.attention.rope_dim, config.rope_theta, config.yarn)
    angle_TI = position_T.float()[:, None] * frequency_I.to(position_T.device)
    gain = 1.0 if config.yarn is None else _table_gain(config.yarn)
    return Rotation(angle_TI.cos() * gain, angle_TI.sin() * gain)


def rotate(x_BTxP: Tensor, turn: Rotation) -> Tensor:
    """Turn each interleaved pair; any dimensions may stand between T and P. Keeps the dtype."""
    between = (1,) * (x_BTxP.dim() - 3)
    by = torch.complex(turn.cos_TI, turn.sin_TI).view(turn.cos_TI.shape[0], *between, -1)
    # A copy, since numbers are seen as complex only where every pair begins at an even place.
    own = x_BTxP.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    pair = torch.view_as_complex(own.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pair * by).flatten(-2).to(x_BTxP.dtype)


def softmax_scale(config: K2Config) -> float:
    """What attention scores are multiplied by: (d_nope + d_rope)^-0.5, and YaRN's m squared."""
    scale = config.attention.query_dim**-0.5
    if config.yarn is None or not config.yarn.mscale_all_dim:
        return scale
    return scale * _mscale(config.yarn.factor, config.yarn.mscale_all_dim) ** 2


def _table_gain(yarn: Yarn) -> float:
    """1 wherever the two mscales agree, as in every published K2."""
    if not (yarn.mscale and yarn.mscale_all_dim):
        return _mscale(yarn.factor, 1.0)
    return _mscale(yarn.factor, yarn.mscale) / _mscale(yarn.factor, yarn.mscale_all_dim)


def _mscale(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0


def _pair_turning(turns: float, rope_dim: int, theta: float, yarn: Yarn) -> float:
    """The (fractional) pair that turns so many times within the original context."""
    return (
        rope_dim * math.log(yarn.original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))
    )
