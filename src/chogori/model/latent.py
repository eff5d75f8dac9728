"""The two forms of multi-head latent attention (arXiv 2405.04434, section 2.1), equal in value.

Every token is known by a row of C = L + P values: its latent c and its rotated key k. With the two
halves of W_kvb, key_up and value_up, and the scale s:

    expanded    score = (q_nope . key_up c_j + q_rope . k_j) s      o = sum_j p_j value_up c_j
    absorbed    score = (key_up^T q_nope . c_j + q_rope . k_j) s    o = value_up sum_j p_j c_j

Expanded is how the network is trained, and cheap for many new tokens; absorbed never makes keys and
values per head, and is cheap for few.

Dimension key:
  B batch    T new tokens    S tokens seen, the last T of which are the new ones    H heads
  N nope dim    P rope dim    Q = N + P    V value dim    L latent rank    C = L + P
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from chogori.model.config import AttentionShape


def absorbed_is_cheaper(shape: AttentionShape, new: int, seen: int) -> bool:
    """Counts the multiplications of a head in both forms. For K2 up to about 170 new tokens in a
    long context; never for a prompt read whole."""
    a = shape
    absorb = new * a.latent_rank * (a.nope_dim + a.value_dim)
    expand = seen * a.latent_rank * (a.nope_dim + a.value_dim)
    narrow = new * seen * (a.query_dim + a.value_dim)
    wide = new * seen * (a.cached_dim + a.latent_rank)
    return absorb + wide < expand + narrow


def expanded(
    q_nope_BTHN: Tensor, q_rope_BTHP: Tensor, seen_BSC: Tensor, kv_up_HXL: Tensor, scale: float
) -> Tensor:
    """[B, T, H, V]. `kv_up_HXL` is W_kvb by heads: N rows for the key, then V for the value."""
    heads, nope = q_nope_BTHN.shape[2:]
    new, seen = q_nope_BTHN.shape[1], seen_BSC.shape[1]
    latent_BSL, k_rope_BSP = _parted(seen_BSC, kv_up_HXL)
    kv_BSHX = functional.linear(latent_BSL, kv_up_HXL.flatten(0, 1)).unflatten(-1, (heads, -1))
    k_nope_BSHN, v_BSHV = kv_BSHX.split((nope, kv_BSHX.shape[-1] - nope), -1)
    k_rope_BSHP = k_rope_BSP[:, :, None].expand(-1, -1, heads, -1)
    q_BHTQ = torch.cat((q_nope_BTHN, q_rope_BTHP), -1).transpose(1, 2)
    k_BHSQ = torch.cat((k_nope_BSHN, k_rope_BSHP), -1).transpose(1, 2)
    # Padded to one width: only then does torch take the form that never holds all T x S scores.
    value_dim, width = v_BSHV.shape[-1], max(v_BSHV.shape[-1], q_BHTQ.shape[-1])
    o_BHTV = functional.scaled_dot_product_attention(
        _padded(q_BHTQ, width),
        _padded(k_BHSQ, width),
        _padded(v_BSHV.transpose(1, 2), width),
        attn_mask=None if new in (1, seen) else _visible(new, seen, seen_BSC.device),
        is_causal=new == seen,
        scale=scale,
    )
    return o_BHTV.transpose(1, 2)[..., :value_dim]


def absorbed(
    q_nope_BTHN: Tensor, q_rope_BTHP: Tensor, seen_BSC: Tensor, kv_up_HXL: Tensor, scale: float
) -> Tensor:
    """[B, T, H, V], as `expanded`. Softmax in float32."""
    batch, new, heads, nope = q_nope_BTHN.shape
    seen = seen_BSC.shape[1]
    key_up_HNL, value_up_HVL = kv_up_HXL[:, :nope], kv_up_HXL[:, nope:]
    q_latent_HML = q_nope_BTHN.flatten(0, 1).transpose(0, 1) @ key_up_HNL
    q_latent_BTHL = q_latent_HML.transpose(0, 1).unflatten(0, (batch, new))
    q_BtC = torch.cat((q_latent_BTHL, q_rope_BTHP), -1).flatten(1, 2)
    score_BTHS = (q_BtC @ seen_BSC.mT).unflatten(1, (new, heads)).float() * scale
    if new > 1:
        hidden_T1S = ~_visible(new, seen, seen_BSC.device)[:, None]
        score_BTHS = score_BTHS.masked_fill(hidden_T1S, float("-inf"))
    p_BtS = score_BTHS.softmax(-1).to(seen_BSC.dtype).flatten(1, 2)
    u_BtL = p_BtS @ _parted(seen_BSC, kv_up_HXL)[0]
    u_HML = u_BtL.unflatten(1, (new, heads)).flatten(0, 1).transpose(0, 1)
    return (u_HML @ value_up_HVL.mT).transpose(0, 1).unflatten(0, (batch, new))


def _parted(seen_BSC: Tensor, kv_up_HXL: Tensor) -> tuple[Tensor, Tensor]:
    rank = kv_up_HXL.shape[-1]
    return seen_BSC[..., :rank], seen_BSC[..., rank:]


def _visible(new: int, seen: int, device: torch.device) -> Tensor:
    """[T, S]: a token sees itself and what came before it."""
    return torch.ones(new, seen, dtype=torch.bool, device=device).tril(seen - new)


def _padded(x: Tensor, width: int) -> Tensor:
    return functional.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x
