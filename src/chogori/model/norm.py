"""RMSNorm (arXiv 1910.07467): x / sqrt(mean(x^2) + eps) * weight, the mean taken in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chogori.quant import Kernel


class RMSNorm(nn.Module):
    """Normalised in float32, cast back, then weighted: the published order of rounding."""

    def __init__(self, size: int, eps: float, kernel: Kernel | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
        if self.kernel is not None and self.kernel.norms(x, self.weight):
            return self.kernel.rms_norm(x, self.weight, self.eps)
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return wide.to(x.dtype) * self.weight
