"""The sizes of a network, and their names in a published config.json.

One value for each part of the network, next to the words of the paper. `read_config` takes the
`config.json` of Kimi K2, K2 Thinking and K2.5 (whose text network lies under `text_config`),
Moonlight and DeepSeek-V3, and refuses what this network cannot compute rather than guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chogori.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """Multi-head latent attention."""

    heads: int
    query_rank: int | None
    """None: queries come straight from the hidden state (Moonlight)."""
    latent_rank: int
    nope_dim: int
    """Per head, without position."""
    rope_dim: int
    """Per query head, rotated; the rotated key is shared by all heads."""
    value_dim: int

    @property
    def query_dim(self) -> int:
        return self.nope_dim + self.rope_dim

    @property
    def cached_dim(self) -> int:
        """Values that one token leaves in the cache of one layer: latent and rotated key."""
        return self.latent_rank + self.rope_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertShape:
    """The mixture of experts."""

    routed: int
    chosen: int
    """Routed experts that each token visits."""
    width: int
    shared: int
    """Shared experts, computed as one of `shared * width`."""
    scaling: float
    """What the weights of the chosen experts are multiplied by."""
    normalise: bool = True
    groups: int = 1
    kept_groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Yarn:
    """How rotary frequencies are stretched beyond the context of pre-training."""

    factor: float
    original_context: int
    beta_fast: float = 1.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class K2Config:
    """A whole text network."""

    vocab_size: int
    hidden_size: int
    layers: int
    dense_layers: int
    """The first so many layers have a dense feed-forward network instead of experts."""
    dense_width: int
    attention: AttentionShape
    experts: ExpertShape
    context_tokens: int
    rope_theta: float
    yarn: Yarn | None
    norm_eps: float
    latent_norm_eps: float | None = None
    """Of the norms inside attention; None: `norm_eps`. Published code differs on it (transformers
    has 1e-6 there, vLLM and SGLang the config's), and training is not documented."""

    @property
    def expert_layers(self) -> range:
        return range(self.dense_layers, self.layers)


_ONLY = {
    "hidden_act": "silu",
    "attention_bias": False,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "moe_layer_freq": 1,
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 0,
}
"""The one value of each field that this network computes; absent means that value."""


def read_config(published: Mapping[str, Any]) -> K2Config:
    """The network of a config.json. Raises `CheckpointError`."""
    text: Mapping[str, Any] = published.get("text_config", published)
    _refuse_others(text)
    try:
        config = _config(text)
    except KeyError as error:
        raise CheckpointError(
            f"config.json has no {error.args[0]!r}; expected the fields of a DeepseekV3ForCausalLM "
            "network, such as that of Kimi K2"
        ) from error
    _refuse_unfit(config)
    return config


def write_config(config: K2Config) -> dict[str, Any]:
    """The config.json of `config`, under the published names."""
    a, e = config.attention, config.experts
    published: dict[str, Any] = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "kimi_k2",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "first_k_dense_replace": config.dense_layers,
        "intermediate_size": config.dense_width,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.heads,
        "q_lora_rank": a.query_rank,
        "kv_lora_rank": a.latent_rank,
        "qk_nope_head_dim": a.nope_dim,
        "qk_rope_head_dim": a.rope_dim,
        "v_head_dim": a.value_dim,
        "n_routed_experts": e.routed,
        "num_experts_per_tok": e.chosen,
        "moe_intermediate_size": e.width,
        "n_shared_experts": e.shared,
        "routed_scaling_factor": e.scaling,
        "norm_topk_prob": e.normalise,
        "n_group": e.groups,
        "topk_group": e.kept_groups,
        "max_position_embeddings": config.context_tokens,
        "rope_theta": config.rope_theta,
        "rope_scaling": None if config.yarn is None else _write_yarn(config.yarn),
        "rms_norm_eps": config.norm_eps,
        "dtype": "bfloat16",
        **_ONLY,
    }
    if config.latent_norm_eps is not None:
        published["latent_norm_eps"] = config.latent_norm_eps
    return published


def _config(text: Mapping[str, Any]) -> K2Config:
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    return K2Config(
        vocab_size=_whole(text, "vocab_size"),
        hidden_size=_whole(text, "hidden_size"),
        layers=_whole(text, "num_hidden_layers"),
        dense_layers=_whole(text, "first_k_dense_replace", least=0),
        dense_width=_whole(text, "intermediate_size"),
        attention=AttentionShape(
            heads=_whole(text, "num_attention_heads"),
            query_rank=None if text["q_lora_rank"] is None else _whole(text, "q_lora_rank"),
            latent_rank=_whole(text, "kv_lora_rank"),
            nope_dim=_whole(text, "qk_nope_head_dim"),
            rope_dim=_whole(text, "qk_rope_head_dim"),
            value_dim=_whole(text, "v_head_dim"),
        ),
        experts=ExpertShape(
            routed=_whole(text, "n_routed_experts"),
            chosen=_whole(text, "num_experts_per_tok"),
            width=_whole(text, "moe_intermediate_size"),
            shared=_whole(text, "n_shared_experts", least=0),
            scaling=_positive(text, "routed_scaling_factor"),
            normalise=bool(text.get("norm_topk_prob", True)),
            groups=_whole(text, "n_group") if text.get("n_group") else 1,
            kept_groups=_whole(text, "topk_group") if text.get("topk_group") else 1,
        ),
        context_tokens=_whole(text, "max_position_embeddings"),
        rope_theta=_positive(text if text.get("rope_theta") else scaling, "rope_theta"),
        yarn=_read_yarn(scaling, text["max_position_embeddings"]),
        norm_eps=_positive(text, "rms_norm_eps"),
        latent_norm_eps=(
            None if text.get("latent_norm_eps") is None else _positive(text, "latent_norm_eps")
        ),
    )


def _whole(text: Mapping[str, Any], field: str, *, least: int = 1) -> int:
    found = text[field]
    if type(found) is not int or found < least:
        raise CheckpointError(
            f"config.json has {field} = {found!r}; expected a whole number from {least}"
        )
    return found


def _positive(text: Mapping[str, Any], field: str) -> float:
    found = text[field]
    if type(found) not in (int, float) or not 0 < found < math.inf:
        raise CheckpointError(f"config.json has {field} = {found!r}; expected a number above 0")
    return found


def _refuse_unfit(config: K2Config) -> None:
    """Refuse numbers that are each right and do not go together."""
    e = config.experts
    fits = {
        f"first_k_dense_replace = {config.dense_layers} of num_hidden_layers = {config.layers}": (
            config.dense_layers <= config.layers
        ),
        f"qk_rope_head_dim = {config.attention.rope_dim}, which is no even number": (
            config.attention.rope_dim % 2 == 0
        ),
        f"n_group = {e.groups}, which does not divide n_routed_experts = {e.routed} into groups "
        "of two at least": e.groups == 1 or (e.routed % e.groups == 0 and e.routed > e.groups),
        f"topk_group = {e.kept_groups} of n_group = {e.groups}": e.kept_groups <= e.groups,
        f"num_experts_per_tok = {e.chosen} of n_routed_experts = {e.routed}, of which "
        f"{e.kept_groups} of {e.groups} groups are kept": (
            e.chosen <= e.routed // e.groups * e.kept_groups
        ),
    }
    for what, is_fit in fits.items():
        if not is_fit:
            raise CheckpointError(f"config.json has {what}: there is no such network")


def _read_yarn(scaling: Mapping[str, Any], context_tokens: int) -> Yarn | None:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    if kind != "yarn":
        raise CheckpointError(
            f"config.json scales its rotary positions by {kind!r}; expected 'yarn' or none"
        )
    told = {"original_max_position_embeddings": context_tokens, **scaling}
    try:
        return Yarn(
            factor=_positive(told, "factor"),
            original_context=_whole(told, "original_max_position_embeddings"),
            beta_fast=float(scaling.get("beta_fast", 32)),
            beta_slow=float(scaling.get("beta_slow", 1)),
            mscale=float(scaling.get("mscale", 1)),
            mscale_all_dim=float(scaling.get("mscale_all_dim", 0)),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config.json has a rope_scaling without numbers: {error}") from error


def _write_yarn(yarn: Yarn) -> dict[str, Any]:
    return {
        "type": "yarn",
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_context,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
        "mscale": yarn.mscale,
        "mscale_all_dim": yarn.mscale_all_dim,
    }


def _refuse_others(text: Mapping[str, Any]) -> None:
    for field, only in _ONLY.items():
        found = text.get(field, only)
        if found is not None and found != only:
            raise CheckpointError(
                f"config.json has {field} = {found!r}; this network computes {only!r} only"
            )
