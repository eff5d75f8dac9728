"""Every tensor of a published checkpoint: its name, its shape, its form, and its component.

The one authority on names and shapes: checkpoints are checked, written and counted by it. A
checkpoint has one of three formats:

    bf16    every tensor in bfloat16 (float16 and float32 are read, too)
    fp8     the matrices of the layers as float8_e4m3fn `weight` and float32 `weight_scale_inv`
    int4    the routed experts as `weight_packed`, `weight_scale` and `weight_shape`, all else bf16

The router's correction bias is float32 in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

from chogori.model.config import K2Config
from chogori.quant import GROUP_SIZE, fp8_blocks

Format = Literal["bf16", "fp8", "int4"]
Component = Literal[
    "embedding",
    "output head",
    "attention",
    "dense layers",
    "router",
    "shared experts",
    "routed experts",
    "norms",
]
COMPONENTS: tuple[Component, ...] = Component.__args__
FLOATS = frozenset({"BF16", "F16", "F32"})
DTYPE_BYTES = {"F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4, "I32": 4, "I64": 8}
"""The dtypes of safetensors that occur in such checkpoints."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of the network, whatever its form in a file."""

    name: str
    shape: tuple[int, ...]
    component: Component

    @property
    def count(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a file."""

    name: str
    dtypes: frozenset[str]
    """Those it may have; the first in `dtype` is written."""
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


def weights(config: K2Config) -> Iterator[Weight]:
    """Every tensor of the network, in the order in which it is used."""
    d = config.hidden_size
    yield Weight("model.embed_tokens.weight", (config.vocab_size, d), "embedding")
    for layer in range(config.layers):
        before = f"model.layers.{layer}"
        yield Weight(f"{before}.input_layernorm.weight", (d,), "norms")
        yield from _attention(config, f"{before}.self_attn")
        yield Weight(f"{before}.post_attention_layernorm.weight", (d,), "norms")
        if layer in config.expert_layers:
            yield from _mixture(config, f"{before}.mlp")
        else:
            yield from _swiglu(f"{before}.mlp", d, config.dense_width, "dense layers")
    yield Weight("model.norm.weight", (d,), "norms")
    yield Weight("lm_head.weight", (config.vocab_size, d), "output head")


def expert_name(layer: int, number: int) -> str:
    """What the names of a routed expert's three matrices begin with."""
    return f"model.layers.{layer}.mlp.experts.{number}"


def stored(weight: Weight, form: Format) -> tuple[Stored, ...]:
    """The tensors that hold `weight` in a checkpoint of this format."""
    if form == "int4" and weight.component == "routed experts":
        rows, columns = weight.shape
        return (
            Stored(f"{weight.name}_packed", frozenset({"I32"}), (rows, columns // 8), "I32"),
            Stored(f"{weight.name}_scale", FLOATS, (rows, columns // GROUP_SIZE), "BF16"),
            # int32 as published; compressed-tensors itself writes int64.
            Stored(f"{weight.name}_shape", frozenset({"I32", "I64"}), (2,), "I32"),
        )
    if form == "fp8" and _is_fp8(weight):
        rows, columns = weight.shape
        blocks = fp8_blocks(rows, columns)
        return (
            Stored(weight.name, frozenset({"F8_E4M3"}), weight.shape, "F8_E4M3"),
            Stored(f"{weight.name}_scale_inv", frozenset({"F32"}), blocks, "F32"),
        )
    dtype = "F32" if weight.name.endswith("e_score_correction_bias") else "BF16"
    return (Stored(weight.name, FLOATS, weight.shape, dtype),)


def _is_fp8(weight: Weight) -> bool:
    """Every matrix but the embedding, the head and the router."""
    return len(weight.shape) == 2 and weight.component not in ("embedding", "output head", "router")


def _attention(config: K2Config, name: str) -> Iterator[Weight]:
    a, d = config.attention, config.hidden_size
    queries = a.heads * a.query_dim
    sizes: dict[str, tuple[int, ...]]
    if a.query_rank is None:
        sizes = {"q_proj": (queries, d)}
    else:
        sizes = {
            "q_a_proj": (a.query_rank, d),
            "q_a_layernorm": (a.query_rank,),
            "q_b_proj": (queries, a.query_rank),
        }
    sizes |= {
        "kv_a_proj_with_mqa": (a.cached_dim, d),
        "kv_a_layernorm": (a.latent_rank,),
        "kv_b_proj": (a.heads * (a.nope_dim + a.value_dim), a.latent_rank),
        "o_proj": (d, a.heads * a.value_dim),
    }
    for field, shape in sizes.items():
        yield Weight(f"{name}.{field}.weight", shape, "norms" if len(shape) == 1 else "attention")


def _mixture(config: K2Config, name: str) -> Iterator[Weight]:
    e, d = config.experts, config.hidden_size
    yield Weight(f"{name}.gate.weight", (e.routed, d), "router")
    yield Weight(f"{name}.gate.e_score_correction_bias", (e.routed,), "router")
    for number in range(e.routed):
        yield from _swiglu(f"{name}.experts.{number}", d, e.width, "routed experts")
    yield from _swiglu(f"{name}.shared_experts", d, e.width * e.shared, "shared experts")


def _swiglu(name: str, hidden_size: int, width: int, component: Component) -> Iterator[Weight]:
    yield Weight(f"{name}.gate_proj.weight", (width, hidden_size), component)
    yield Weight(f"{name}.up_proj.weight", (width, hidden_size), component)
    yield Weight(f"{name}.down_proj.weight", (hidden_size, width), component)
