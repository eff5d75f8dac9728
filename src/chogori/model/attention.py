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
from chogori.quant import Kernel, Linears


class LatentAttention(nn.Module):
    """One layer's attention."""

    def __init__(self, config: K2Config, layer: int, linears: Linears) -> None:
        super().__init__()
        a, eps = config.attention, config.latent_norm_eps or config.norm_eps
        self.layer = layer
        self.linears = linears
        self.shape = a
        self.scale = softmax_scale(config)
        if a.query_rank is None:
            self.q_proj = nn.Linear(config.hidden_size, a.heads * a.query_dim, bias=False)
        else:
            self.q_a_proj = nn.Linear(config.hidden_size, a.query_rank, bias=False)
            self.q_a_layernorm = RMSNorm(a.query_rank, eps, linears.kernel)
            self.q_b_proj = nn.Linear(a.query_rank, a.heads * a.query_dim, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(config.hidden_size, a.cached_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(a.latent_rank, eps, linears.kernel)
        kv_rows = a.heads * (a.nope_dim + a.value_dim)
        self.kv_b_proj = nn.Linear(a.latent_rank, kv_rows, bias=False)
        self.o_proj = nn.Linear(a.heads * a.value_dim, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor, turn: Rotation, cache: LatentCache | None = None) -> Tensor:
        """[B, T, D]. With a cache, x follows what is in it, and is added to it."""
        q_BTHQ, kv_BTC = self._projected(x_BTD)
        kernel = self.linears.kernel
        if (
            kernel is not None
            and x_BTD.shape[:2].numel() == 1
            and kernel.norms(x_BTD, self.kv_b_proj.weight)
        ):
            o_BTX = self._of_one(kernel, q_BTHQ, kv_BTC, turn, cache)
        else:
            o_BTX = self._of_many(q_BTHQ, kv_BTC, turn, cache)
        return self.linears([o_BTX], [self.o_proj.weight])[0]

    def _projected(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Queries, and the latent with the key beside it; neither is normalised or rotated yet."""
        a = self.shape
        first = self.q_proj if a.query_rank is None else self.q_a_proj
        q, kv_BTC = self.linears([x_BTD] * 2, [first.weight, self.kv_a_proj_with_mqa.weight])
        if a.query_rank is not None:
            q = self.linears([self.q_a_layernorm(q)], [self.q_b_proj.weight])[0]
        return q.unflatten(-1, (a.heads, a.query_dim)), kv_BTC

    def _of_many(
        self, q_BTHQ: Tensor, kv_BTC: Tensor, turn: Rotation, cache: LatentCache | None
    ) -> Tensor:
        a = self.shape
        q_nope_BTHN, q_rope_BTHP = q_BTHQ.split((a.nope_dim, a.rope_dim), -1)
        latent_BTL, key_BTP = kv_BTC.split((a.latent_rank, a.rope_dim), -1)
        seen_BSC = torch.cat((self.kv_a_layernorm(latent_BTL), rotate(key_BTP, turn)), -1)
        if cache is not None:
            seen_BSC = cache.extend(self.layer, seen_BSC)
        few = absorbed_is_cheaper(a, q_BTHQ.shape[1], seen_BSC.shape[1])
        form = absorbed if few else expanded
        kv_up_HXL = self.kv_b_proj.weight.unflatten(0, (a.heads, -1))
        o_BTHV = form(q_nope_BTHN, rotate(q_rope_BTHP, turn), seen_BSC, kv_up_HXL, self.scale)
        return o_BTHV.flatten(2)

    def _of_one(
        self,
        kernel: Kernel,
        q_BTHQ: Tensor,
        kv_BTC: Tensor,
        turn: Rotation,
        cache: LatentCache | None,
    ) -> Tensor:
        """The same for a single token, by the kernel."""
        norm = self.kv_a_layernorm
        tables = turn.cos_TI, turn.sin_TI
        seen_BSC = kernel.latent_row(kv_BTC, norm.weight, norm.eps, *tables)
        if cache is not None:
            seen_BSC = cache.extend(self.layer, seen_BSC)
        kv_up_HXL = self.kv_b_proj.weight.unflatten(0, (self.shape.heads, -1))
        return kernel.attend(q_BTHQ[0, 0], seen_BSC[0], kv_up_HXL, *tables, self.scale).view(
            1, 1, -1
        )
