"""The K2 text network (arXiv 2507.20534): DeepSeek-V3's architecture in Kimi's sizes.

    h = embed(ids)
    in each layer:  h = h + attention(norm(h))    h = h + feed_forward(norm(h))
    logits = head(norm(h))

The feed-forward network of the first layers is dense; that of the others is a mixture: the chosen
routed experts, weighted, and the shared expert. Modules carry the published names, so the
state dict is a published checkpoint, routed experts excepted (`layout`).

Dimension key:
  B batch    T tokens    D hidden size    V vocabulary    N = B * T
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from chogori.model.attention import LatentAttention
from chogori.model.cache import LatentCache
from chogori.model.config import K2Config
from chogori.model.experts import ExpertBank, OwnExperts, visit
from chogori.model.feed_forward import SwiGLU
from chogori.model.norm import RMSNorm
from chogori.model.rope import Rotation, rotation
from chogori.model.router import Router
from chogori.quant import Linears, TorchLinears

Banks = Callable[[int], ExpertBank]
"""The routed experts of a layer, by its number."""


class Mixture(nn.Module):
    """The routed experts that each token chose, and the shared one."""

    def __init__(self, config: K2Config, experts: ExpertBank, linears: Linears) -> None:
        super().__init__()
        self.gate = Router(config.hidden_size, config.experts)
        self.experts = experts
        shared_width = config.experts.width * config.experts.shared
        self.shared_experts = SwiGLU(config.hidden_size, shared_width, linears)
        self.linears = linears

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_ND = x_BTD.flatten(0, 1)
        chosen_NK, weight_NK = self.gate(x_ND)
        routed_ND = visit(self.experts, self.linears, x_ND, chosen_NK, weight_NK)
        return routed_ND.to(x_BTD.dtype).view_as(x_BTD) + self.shared_experts(x_BTD)


class Layer(nn.Module):
    """Attention, then a feed-forward network, each on the normalised stream and added to it."""

    def __init__(self, config: K2Config, attention: LatentAttention, mlp: nn.Module) -> None:
        super().__init__()
        kernel = attention.linears.kernel
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps, kernel)
        self.self_attn = attention
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps, kernel)
        self.mlp = mlp

    def forward(self, h_BTD: Tensor, turn: Rotation, cache: LatentCache | None) -> Tensor:
        h_BTD = h_BTD + self.self_attn(self.input_layernorm(h_BTD), turn, cache)
        return h_BTD + self.mlp(self.post_attention_layernorm(h_BTD))


class Trunk(nn.Module):
    """From ids to the normalised hidden states of the last layer."""

    def __init__(self, config: K2Config, banks: Banks, linears: Linears) -> None:
        super().__init__()
        self.config = config
        # Not drawn here: on the meta device, drawing imports 160 MB of Torch.
        self.embed_tokens = nn.Embedding.from_pretrained(
            torch.empty(config.vocab_size, config.hidden_size), freeze=False
        )
        self.layers = nn.ModuleList(
            Layer(
                config,
                LatentAttention(config, number, linears),
                _mlp(config, number, banks, linears),
            )
            for number in range(config.layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.norm_eps, linears.kernel)

    def forward(self, ids_BT: Tensor, cache: LatentCache | None = None) -> Tensor:
        first = 0 if cache is None else cache.length
        position_T = torch.arange(first, first + ids_BT.shape[1], device=ids_BT.device)
        turn = rotation(self.config, position_T)
        h_BTD = self.embed_tokens(ids_BT)
        for layer in self.layers:
            h_BTD = layer(h_BTD, turn, cache)
        if cache is not None:
            cache.advance(ids_BT.shape[1])
        return self.norm(h_BTD)


class K2(nn.Module):
    """The whole network. Its experts are parameters of its own, or come from `banks`.

    Made by hand its weights are undefined: `draw_` draws them, `checkpoint.load` reads them.
    """

    def __init__(
        self, config: K2Config, *, banks: Banks | None = None, linears: Linears | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.linears = linears or TorchLinears()
        self.model = Trunk(config, banks or (lambda layer: OwnExperts(config)), self.linears)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, ids_BT: Tensor, cache: LatentCache | None = None) -> Tensor:
        """Logits of every position, [B, T, V]."""
        return self._logits(self.model(ids_BT, cache))

    def next_logits(self, ids_BT: Tensor, cache: LatentCache | None = None) -> Tensor:
        """Logits of the last position alone, [B, V]: of a long prompt nobody wants the others."""
        return self._logits(self.model(ids_BT, cache)[:, -1])

    def mixture(self, layer: int) -> Mixture:
        """The mixture of an expert layer."""
        block = self.model.layers[layer]
        assert isinstance(block, Layer), "the trunk is made of layers"
        assert isinstance(block.mlp, Mixture), f"layer {layer} has experts"
        return block.mlp

    def _logits(self, h_BxD: Tensor) -> Tensor:
        return self.linears([h_BxD], [self.lm_head.weight])[0]

    @torch.no_grad()
    def draw_(self, seed: int, deviation: float = 0.02) -> K2:
        """Draw fresh weights: normal matrices, norms of one, router biases of zero."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith("e_score_correction_bias"):
                weight.zero_()
            elif "norm" in name:
                weight.fill_(1)
            else:
                weight.normal_(0, deviation, generator=generator)
        return self


def _mlp(config: K2Config, layer: int, banks: Banks, linears: Linears) -> nn.Module:
    if layer < config.dense_layers:
        return SwiGLU(config.hidden_size, config.dense_width, linears)
    return Mixture(config, banks(layer), linears)
