"""Fake quantization: train on the weights that will be served.

The forward pass sees the rounded weight, the gradient passes as if nothing had been rounded
(straight-through): w_fq = w + (dequantize(quantize(w)) - w).detach(). Masters stay as they are.
"""

from __future__ import annotations

from torch import Tensor

from chogori.quant.int4 import ABSMAX_7, GROUP_SIZE, ScaleRule, nearest_codes


def fake_quantize(
    weight_RC: Tensor, rule: ScaleRule = ABSMAX_7, *, group_size: int = GROUP_SIZE
) -> Tensor:
    """`weight_RC` as INT4 would have it, bit for bit, with the gradient of the identity.

    The default rule keeps the largest weight of each group where it is, so that clipping never
    works against the optimizer.
    """
    codes_RGS, scale_RG1 = nearest_codes(weight_RC.detach(), rule, group_size)
    rounded_RC = (codes_RGS.to(weight_RC.dtype) * scale_RG1).flatten(-2)
    # w + (rounded - w) is not `rounded` in floating point; w - w.detach() is exactly zero.
    return rounded_RC + (weight_RC - weight_RC.detach())
