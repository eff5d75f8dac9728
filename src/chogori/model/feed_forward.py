"""SwiGLU (arXiv 2002.05202): W_down(silu(W_gate x) * (W_up x)).

The dense layers, and the shared expert of the others.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from chogori.quant import Linears


class SwiGLU(nn.Module):
    """No biases; the names are the published ones."""

    def __init__(self, hidden_size: int, width: int, linears: Linears) -> None:
        super().__init__()
        self.linears = linears
        self.gate_proj = nn.Linear(hidden_size, width, bias=False)
        self.up_proj = nn.Linear(hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.linears([x, x], [self.gate_proj.weight, self.up_proj.weight])
        return self.linears([functional.silu(gate) * up], [self.down_proj.weight])[0]
