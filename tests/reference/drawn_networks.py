"""Small networks for Hypothesis: every size that the code distinguishes, and weights that matter.

Matrices are drawn wide enough that attention is not flat and routers differ between tokens, the
gains of norms are not one, and correction biases do change who is chosen.
"""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from chogori.model import K2, AttentionShape, ExpertShape, K2Config, Yarn
from chogori.model.layout import weights
from chogori.model.saving import matrix_of
from chogori.quant import Int4Weight, dequantize


@st.composite
def configs(draw: Any, *, columns: int = 8) -> K2Config:
    """`columns` divides every width, 32 for those that are to be quantized."""
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    routed = draw(st.sampled_from([8, 12, 16]))
    kept = draw(st.integers(1, groups))
    layers = draw(st.integers(1, 3))
    eps = draw(st.sampled_from([1e-6, 1e-5]))
    return K2Config(
        vocab_size=draw(st.integers(3, 40)),
        hidden_size=columns * draw(st.integers(1, 4)),
        layers=layers,
        dense_layers=draw(st.integers(0, layers)),
        dense_width=columns * draw(st.integers(1, 3)),
        attention=AttentionShape(
            heads=draw(st.integers(1, 4)),
            query_rank=draw(st.none() | st.integers(4, 16)),
            latent_rank=draw(st.integers(4, 24)),
            nope_dim=draw(st.sampled_from([4, 8, 12])),
            rope_dim=draw(st.sampled_from([2, 4, 8])),
            value_dim=draw(st.sampled_from([4, 8, 24])),
        ),
        experts=ExpertShape(
            routed=routed,
            chosen=draw(st.integers(1, min(4, routed // groups * kept))),
            width=columns * draw(st.integers(1, 3)),
            shared=draw(st.integers(1, 2)),
            scaling=draw(st.sampled_from([1.0, 2.827])),
            normalise=draw(st.booleans()),
            groups=groups,
            kept_groups=kept,
        ),
        context_tokens=64,
        rope_theta=draw(st.sampled_from([10_000.0, 50_000.0])),
        yarn=draw(st.none() | yarns()),
        norm_eps=eps,
        latent_norm_eps=1e-6,  # what transformers has, whatever the config says
    )


@st.composite
def yarns(draw: Any) -> Yarn:
    """Also for prompts that are longer than the original context."""
    return Yarn(
        factor=draw(st.sampled_from([1.0, 4.0, 32.0, 64.0])),
        original_context=draw(st.sampled_from([8, 16, 64])),
        beta_fast=draw(st.sampled_from([1.0, 32.0])),
        mscale=1.0,
        mscale_all_dim=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


def drawn(config: K2Config, seed: int) -> K2:
    """A network with weights that matter."""
    network = K2(config).draw_(seed, deviation=0.3).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, weight in network.named_parameters():
        if name.endswith("e_score_correction_bias"):
            weight.uniform_(-0.2, 0.2, generator=generator)
        elif "norm" in name:
            weight.uniform_(0.5, 1.5, generator=generator)
    return network


def state_of(network: K2) -> dict[str, torch.Tensor]:
    """The weights under their published names."""
    found: dict[str, torch.Tensor] = {}
    for weight in weights(network.config):
        matrix = matrix_of(network, weight)
        found[weight.name] = dequantize(matrix) if isinstance(matrix, Int4Weight) else matrix
    return found


def router_margin(network: K2, ids_BT: torch.Tensor) -> float:
    """How near any token was to another choice of experts: below 1e-5 a rounding may decide."""
    margins = [1.0]

    def watch(router: Any, args: tuple[torch.Tensor], _: Any) -> None:
        affinity_NE = torch.sigmoid(args[0].float() @ router.weight.float().T)
        choice_NE = affinity_NE + router.e_score_correction_bias
        shape = router.shape
        if shape.groups > 1:
            score_NG = choice_NE.unflatten(-1, (shape.groups, -1)).topk(2).values.sum(-1)
            margins.append(_gap(score_NG, shape.kept_groups))
            choice_NE = router._within_best_groups(choice_NE)
        margins.append(_gap(choice_NE, shape.chosen))

    routers = [module for module in network.modules() if type(module).__name__ == "Router"]
    hooks = [router.register_forward_hook(watch) for router in routers]
    network(ids_BT)
    for hook in hooks:
        hook.remove()
    return min(margins)


def _gap(score_NE: torch.Tensor, kept: int) -> float:
    if kept >= score_NE.shape[-1]:
        return 1.0
    best = score_NE.topk(kept + 1).values
    return (best[:, -2] - best[:, -1]).min().item()
