"""The K2 text network the slow and obvious way: one token, one head, one expert at a time.

Everything in float64, nothing cached, RMSNorm, rotary pairs as complex
numbers, attention as sums over positions, the router as a sort. `state` has the published names.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from chogori.model import K2Config, Yarn

State = Mapping[str, Tensor]


def logits(state: State, config: K2Config, ids: list[int]) -> Tensor:
    """[T, V]."""
    state = {name: tensor.double() for name, tensor in state.items()}
    stream = [state["model.embed_tokens.weight"][id] for id in ids]
    for layer in range(config.layers):
        at = f"model.layers.{layer}"
        gain = state[f"{at}.input_layernorm.weight"]
        said = attention(state, config, at, [norm(x, gain, config.norm_eps) for x in stream])
        stream = [x + y for x, y in zip(stream, said, strict=True)]
        gain = state[f"{at}.post_attention_layernorm.weight"]
        form = swiglu if layer < config.dense_layers else mixture
        stream = [
            x + form(state, config, f"{at}.mlp", norm(x, gain, config.norm_eps)) for x in stream
        ]
    gain = state["model.norm.weight"]
    head = state["lm_head.weight"]
    return torch.stack([head @ norm(x, gain, config.norm_eps) for x in stream])


def norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return x / math.sqrt((x * x).mean().item() + eps) * gain


def swiglu(state: State, config: K2Config, at: str, x: Tensor) -> Tensor:
    gate = state[f"{at}.gate_proj.weight"] @ x
    up = state[f"{at}.up_proj.weight"] @ x
    return state[f"{at}.down_proj.weight"] @ (gate / (1 + torch.exp(-gate)) * up)


def mixture(state: State, config: K2Config, at: str, x: Tensor) -> Tensor:
    affinity = torch.sigmoid(state[f"{at}.gate.weight"] @ x)
    choice = affinity + state[f"{at}.gate.e_score_correction_bias"]
    chosen = choose(choice.tolist(), config)
    total = sum(affinity[e].item() for e in chosen) if config.experts.normalise else 1
    y = swiglu(state, config, f"{at}.shared_experts", x)
    for e in chosen:
        weight = config.experts.scaling * affinity[e].item() / total
        y = y + weight * swiglu(state, config, f"{at}.experts.{e}", x)
    return y


def choose(choice: list[float], config: K2Config) -> list[int]:
    size = len(choice) // config.experts.groups
    groups = [range(g * size, (g + 1) * size) for g in range(config.experts.groups)]

    def worth(group: range) -> float:
        return sum(sorted((choice[e] for e in group), reverse=True)[:2])

    kept = sorted(groups, key=worth, reverse=True)
    if config.experts.groups > 1:
        kept = kept[: config.experts.kept_groups]
    experts = [e for group in kept for e in group]
    return sorted(experts, key=lambda e: choice[e], reverse=True)[: config.experts.chosen]


def attention(state: State, config: K2Config, at: str, xs: list[Tensor]) -> list[Tensor]:
    a = config.attention
    eps = config.latent_norm_eps or config.norm_eps
    at = f"{at}.self_attn"
    kv_up = state[f"{at}.kv_b_proj.weight"].view(a.heads, a.nope_dim + a.value_dim, a.latent_rank)
    latents, rotated, queries = [], [], []
    for position, x in enumerate(xs):
        row = state[f"{at}.kv_a_proj_with_mqa.weight"] @ x
        latents.append(norm(row[: a.latent_rank], state[f"{at}.kv_a_layernorm.weight"], eps))
        rotated.append(turned(row[a.latent_rank :], position, config))
        queries.append(query(state, config, at, x))
    outputs = []
    for i in range(len(xs)):
        heads = []
        for h in range(a.heads):
            nope, rope = queries[i][h][: a.nope_dim], queries[i][h][a.nope_dim :]
            rope = turned(rope, i, config)
            scores = [
                (nope @ (kv_up[h, : a.nope_dim] @ latents[j]) + rope @ rotated[j]).item()
                for j in range(i + 1)
            ]
            p = torch.tensor([s * scale(config) for s in scores]).double().softmax(0)
            heads.append(sum(p[j] * (kv_up[h, a.nope_dim :] @ latents[j]) for j in range(i + 1)))
        outputs.append(state[f"{at}.o_proj.weight"] @ torch.cat(heads))
    return outputs


def query(state: State, config: K2Config, at: str, x: Tensor) -> Tensor:
    a = config.attention
    if a.query_rank is None:
        q = state[f"{at}.q_proj.weight"] @ x
    else:
        gain = state[f"{at}.q_a_layernorm.weight"]
        eps = config.latent_norm_eps or config.norm_eps
        q = state[f"{at}.q_b_proj.weight"] @ norm(state[f"{at}.q_a_proj.weight"] @ x, gain, eps)
    return q.view(a.heads, a.query_dim)


def turned(x: Tensor, position: int, config: K2Config) -> Tensor:
    pairs = []
    for i in range(len(x) // 2):
        number = complex(x[2 * i].item(), x[2 * i + 1].item())
        number *= cmath.exp(1j * position * frequency(i, config)) * table_gain(config.yarn)
        pairs += [number.real, number.imag]
    return torch.tensor(pairs).double()


def frequency(i: int, config: K2Config) -> float:
    dim, theta, yarn = config.attention.rope_dim, config.rope_theta, config.yarn
    plain = theta ** (-2 * i / dim)
    if yarn is None:
        return plain

    def pair(turns: float) -> float:
        around = yarn.original_context / (turns * 2 * math.pi)
        return dim * math.log(around) / (2 * math.log(theta))

    low = max(math.floor(pair(yarn.beta_fast)), 0)
    high = min(math.ceil(pair(yarn.beta_slow)), dim - 1)
    ramp = min(max((i - low) / ((high - low) or 0.001), 0), 1)
    return plain / yarn.factor * ramp + plain * (1 - ramp)


def mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1


def table_gain(yarn: Yarn | None) -> float:
    if yarn is None:
        return 1
    if not (yarn.mscale and yarn.mscale_all_dim):
        return mscale(yarn.factor, 1)
    return mscale(yarn.factor, yarn.mscale) / mscale(yarn.factor, yarn.mscale_all_dim)


def scale(config: K2Config) -> float:
    plain = config.attention.query_dim**-0.5
    if config.yarn is None or not config.yarn.mscale_all_dim:
        return plain
    return plain * mscale(config.yarn.factor, config.yarn.mscale_all_dim) ** 2
