"""Which experts a token visits: `noaux_tc` (arXiv 2412.19437, section 2.1.2).

Affinities are sigmoids of the token's product with each expert's centroid. A bias per expert, moved
during training to balance the load, is added for choosing only; the weights of the chosen experts
are their affinities alone, normalised to one and scaled:

    s = sigmoid(W x)    chosen = topk(s + b)    w = scaling * s[chosen] / sum(s[chosen])

Dimension key:
  N tokens    D hidden size    E routed experts    K chosen experts    G groups of experts
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from chogori.model.config import ExpertShape


class Router(nn.Module):
    """Computed in float32 whatever the dtype of the network, lest choices turn on rounding."""

    def __init__(self, hidden_size: int, shape: ExpertShape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape.routed, hidden_size))
        # Not trained by gradient: the training loop moves it.
        self.e_score_correction_bias = nn.Parameter(
            torch.zeros(shape.routed, dtype=torch.float32), requires_grad=False
        )
        self.shape = shape

    def forward(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen experts [N, K], and their weights [N, K] in float32."""
        affinity_NE = functional.linear(x_ND.float(), self.weight.float()).sigmoid()
        choice_NE = affinity_NE + self.e_score_correction_bias
        if self.shape.groups > 1:
            choice_NE = self._within_best_groups(choice_NE)
        chosen_NK = choice_NE.topk(self.shape.chosen, sorted=False).indices
        weight_NK = affinity_NE.gather(-1, chosen_NK)
        if self.shape.normalise:
            weight_NK = weight_NK / (weight_NK.sum(-1, keepdim=True) + 1e-20)
        return chosen_NK, weight_NK * self.shape.scaling

    def _within_best_groups(self, choice_NE: Tensor) -> Tensor:
        """A group is as good as its two best experts; all others' experts are out of the running.

        K2 has one group. DeepSeek-V3 has eight, one to a node, to bound traffic between nodes.
        """
        choice_NGe = choice_NE.unflatten(-1, (self.shape.groups, -1))
        score_NG = choice_NGe.topk(2).values.sum(-1)
        kept_NG = torch.zeros_like(score_NG, dtype=torch.bool)
        kept_NG.scatter_(-1, score_NG.topk(self.shape.kept_groups, sorted=False).indices, True)
        return choice_NGe.masked_fill(~kept_NG[..., None], float("-inf")).flatten(-2)
