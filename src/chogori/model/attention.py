"""Multi-head latent attention as a module, under the published names.

A token is compressed into a latent of `latent_rank` values and one rotated key of `rope_dim`, which
is all that the cache keeps; `latent` says how scores and values come of them. Rows of the fused
matrices go head by head: q_b has nope, then rope; kv_b the key, then the value; kv_a the latent,
then the key to be rotated. The rotated key is not normalised.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chogori.model.cache import LatentCache
from chogori.model.config import K2Config
from chogori.model.latent import absorbed, absorbed_is_cheaper, expanded
from chogori.model.norm import RMSNorm
from chogori.model.rope import Rotation, rotate, softmax_scale


class LatentAttention(nn.Module):
    """One layer's attention."""

    def __init__(self, config: K2Config, layer: int) -> None:
        super().__init__()
        a, eps = config.attention, config.latent_norm_eps or config.norm_eps
        self.layer = layer
        self.shape = a
        self.scale = softmax_scale(config)
        if a.query_rank is None:
            self.q_proj = nn.Linear(config.hidden_size, a.heads * a.query_dim, bias=False)
        else:
            self.q_a_proj = nn.Linear(config.hidden_size, a.query_rank, bias=False)
            self.q_a_layernorm = RMSNorm(a.query_rank, eps)
            self.q_b_proj = nn.Linear(a.query_rank, a.heads * a.query_dim, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(config.hidden_size, a.cached_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(a.latent_rank, eps)
        kv_rows = a.heads * (a.nope_dim + a.value_dim)
        self.kv_b_proj = nn.Linear(a.latent_rank, kv_rows, bias=False)
        self.o_proj = nn.Linear(a.heads * a.value_dim, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor, turn: Rotation, cache: LatentCache | None = None) -> Tensor:
        """[B, T, D]. With a cache, x follows what is in it, and is added to it."""
        q_nope_BTHN, q_rope_BTHP = self._queries(x_BTD, turn)
        seen_BSC = self._rows(x_BTD, turn)
        if cache is not None:
            seen_BSC = cache.extend(self.layer, seen_BSC)
        few = absorbed_is_cheaper(self.shape, x_BTD.shape[1], seen_BSC.shape[1])
        form = absorbed if few else expanded
        kv_up_HXL = self.kv_b_proj.weight.unflatten(0, (self.shape.heads, -1))
        o_BTHV = form(q_nope_BTHN, q_rope_BTHP, seen_BSC, kv_up_HXL, self.scale)
        return self.o_proj(o_BTHV.flatten(2))

    def _queries(self, x_BTD: Tensor, turn: Rotation) -> tuple[Tensor, Tensor]:
        if self.shape.query_rank is None:
            q = self.q_proj(x_BTD)
        else:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x_BTD)))
        q_BTHQ = q.unflatten(-1, (self.shape.heads, self.shape.query_dim))
        nope, rope = q_BTHQ.split((self.shape.nope_dim, self.shape.rope_dim), -1)
        return nope, rotate(rope, turn)

    def _rows(self, x_BTD: Tensor, turn: Rotation) -> Tensor:
        """What the cache keeps of each token, [B, T, C]."""
        latent_BTL, key_BTP = self.kv_a_proj_with_mqa(x_BTD).split(
            (self.shape.latent_rank, self.shape.rope_dim), -1
        )
        return torch.cat((self.kv_a_layernorm(latent_BTL), rotate(key_BTP, turn)), -1)
