"""The sizes of a network, and their names in a published config.json.

One value for each part of the network, next to the words of the paper. `read_config` takes the
`config.json` of Kimi K2, K2 Thinking and K2.5 (whose text network lies under `text_config`),
Moonlight and DeepSeek-V3, and refuses what this network cannot compute rather than guess.
"""

from __future__ import annotations

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
        return _config(text)
    except KeyError as error:
        raise CheckpointError(
            f"config.json has no {error.args[0]!r}; expected the fields of a DeepseekV3ForCausalLM "
            "network, such as that of Kimi K2"
        ) from error


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
        vocab_size=text["vocab_size"],
        hidden_size=text["hidden_size"],
        layers=text["num_hidden_layers"],
        dense_layers=text["first_k_dense_replace"],
        dense_width=text["intermediate_size"],
        attention=AttentionShape(
            heads=text["num_attention_heads"],
            query_rank=text["q_lora_rank"],
            latent_rank=text["kv_lora_rank"],
            nope_dim=text["qk_nope_head_dim"],
            rope_dim=text["qk_rope_head_dim"],
            value_dim=text["v_head_dim"],
        ),
        experts=ExpertShape(
            routed=text["n_routed_experts"],
            chosen=text["num_experts_per_tok"],
            width=text["moe_intermediate_size"],
            shared=text["n_shared_experts"],
            scaling=text["routed_scaling_factor"],
            normalise=text.get("norm_topk_prob", True),
            groups=text.get("n_group") or 1,
            kept_groups=text.get("topk_group") or 1,
        ),
        context_tokens=text["max_position_embeddings"],
        rope_theta=text.get("rope_theta") or scaling["rope_theta"],
        yarn=_read_yarn(scaling, text["max_position_embeddings"]),
        norm_eps=text["rms_norm_eps"],
        latent_norm_eps=text.get("latent_norm_eps"),
    )


def _read_yarn(scaling: Mapping[str, Any], context_tokens: int) -> Yarn | None:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    if kind != "yarn":
        raise CheckpointError(
            f"config.json scales its rotary positions by {kind!r}; expected 'yarn' or none"
        )
    return Yarn(
        factor=float(scaling["factor"]),
        original_context=scaling.get("original_max_position_embeddings", context_tokens),
        beta_fast=float(scaling.get("beta_fast", 32)),
        beta_slow=float(scaling.get("beta_slow", 1)),
        mscale=float(scaling.get("mscale", 1)),
        mscale_all_dim=float(scaling.get("mscale_all_dim", 0)),
    )


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
