"""Routed experts: where their weights are, and how tokens visit them.

Tokens are grouped by expert, and nothing is computed for an expert that none visits. Experts are
taken a wave at a time, so that a bank which keeps few of them in memory is never asked for more.

Dimension key:
  N tokens    D hidden size    E routed experts    K chosen by each token    F width of an expert
  M = N * K visits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from chogori.model.config import K2Config
from chogori.quant import Linears, Matrix

WAVE = 16
"""Experts in use at once."""


@dataclass(frozen=True, slots=True)
class Expert:
    """W_down(silu(W_gate x) * (W_up x)): the matrices of one, in any form."""

    gate_FD: Matrix
    up_FD: Matrix
    down_DF: Matrix

    @property
    def nbytes(self) -> int:
        return self.gate_FD.nbytes + self.up_FD.nbytes + self.down_DF.nbytes


class ExpertBank(Protocol):
    """The experts of one layer."""

    def take(self, numbers: Sequence[int]) -> list[Expert]:
        """At most `WAVE` of them, good to use until the next call."""
        ...


class OwnExperts(nn.Module):
    """Experts as parameters, stacked: what training moves."""

    def __init__(self, config: K2Config) -> None:
        super().__init__()
        e, hidden = config.experts, config.hidden_size
        self.gate_proj = nn.Parameter(torch.empty(e.routed, e.width, hidden))
        self.up_proj = nn.Parameter(torch.empty(e.routed, e.width, hidden))
        self.down_proj = nn.Parameter(torch.empty(e.routed, hidden, e.width))

    def take(self, numbers: Sequence[int]) -> list[Expert]:
        return [Expert(self.gate_proj[n], self.up_proj[n], self.down_proj[n]) for n in numbers]


def visit(
    bank: ExpertBank, linears: Linears, x_ND: Tensor, chosen_NK: Tensor, weight_NK: Tensor
) -> Tensor:
    """The weighted sum of each token's chosen experts, [N, D], added up in float32."""
    if len(x_ND) == 1 and chosen_NK.shape[1] <= WAVE:
        return _visit_alone(bank, linears, x_ND, chosen_NK, weight_NK)
    order_M = chosen_NK.flatten().argsort(stable=True)
    token_M = order_M // chosen_NK.shape[1]
    weight_M1 = weight_NK.flatten()[order_M, None]
    numbers, counts = (each.tolist() for each in chosen_NK.unique(return_counts=True))
    y_ND = x_ND.new_zeros(x_ND.shape, dtype=torch.float32)
    at = 0
    for first in range(0, len(numbers), WAVE):
        wave = slice(first, first + WAVE)
        stop = at + sum(counts[wave])
        # Five times as fast here as x_ND[...], for rows of 512 in float32.
        inputs = x_ND.index_select(0, token_M[at:stop]).split(counts[wave])
        out_mD = _compute(bank.take(numbers[wave]), linears, inputs, counts[wave])
        y_ND.index_add_(0, token_M[at:stop], out_mD * weight_M1[at:stop])
        at = stop
    return y_ND


def _visit_alone(
    bank: ExpertBank, linears: Linears, x_1D: Tensor, chosen_1K: Tensor, weight_1K: Tensor
) -> Tensor:
    """One token has nothing to be sorted by, and is the same input to all its experts."""
    numbers: list[int] = chosen_1K[0].tolist()
    ones = [1] * len(numbers)
    return weight_1K @ _compute(bank.take(numbers), linears, [x_1D] * len(ones), ones).float()


def _compute(
    experts: list[Expert], linears: Linears, inputs: Sequence[Tensor], counts: list[int]
) -> Tensor:
    """Every expert on its own input, one below the other."""
    inputs = list(inputs)
    firsts = linears(inputs * 2, [e.gate_FD for e in experts] + [e.up_FD for e in experts])
    gate_mF, up_mF = torch.cat(firsts[: len(experts)]), torch.cat(firsts[len(experts) :])
    inner = (functional.silu(gate_mF) * up_mF).split(counts)
    return torch.cat(linears(inner, [e.down_DF for e in experts]))
