"""The sizes of the published networks, and of small ones that take every path of the same code.

K2 and its successors share every shape; they differ in context, YaRN and the epsilon of their norms
(config.json of Kimi-K2-Instruct, Kimi-K2-Thinking, Kimi-K2.5 and Moonlight-16B-A3B).
"""

from __future__ import annotations

from dataclasses import replace

from chogori.model.config import AttentionShape, ExpertShape, K2Config, Yarn


def k2_1t() -> K2Config:
    """Kimi K2 (Base and Instruct, July 2025): 1.03 T parameters, 32.9 B of them active."""
    return K2Config(
        vocab_size=163_840,
        hidden_size=7168,
        layers=61,
        dense_layers=1,
        dense_width=18_432,
        attention=AttentionShape(
            heads=64, query_rank=1536, latent_rank=512, nope_dim=128, rope_dim=64, value_dim=128
        ),
        experts=ExpertShape(routed=384, chosen=8, width=2048, shared=1, scaling=2.827),
        context_tokens=131_072,
        rope_theta=50_000.0,
        yarn=Yarn(factor=32.0, original_context=4096),
        norm_eps=1e-6,
    )


def k2_thinking() -> K2Config:
    """Kimi K2 Thinking: twice the context, a larger epsilon."""
    yarn = Yarn(factor=64.0, original_context=4096)
    return replace(k2_1t(), context_tokens=262_144, yarn=yarn, norm_eps=1e-5)


def k2_5_text() -> K2Config:
    """The text network of Kimi K2.5: YaRN blends frequencies where K2 switches between them."""
    yarn = Yarn(factor=64.0, original_context=4096, beta_fast=32.0)
    return replace(k2_thinking(), yarn=yarn)


def moonlight_16b() -> K2Config:
    """Moonlight-16B-A3B: no query rank, two shared experts, no YaRN."""
    return K2Config(
        vocab_size=163_840,
        hidden_size=2048,
        layers=27,
        dense_layers=1,
        dense_width=11_264,
        attention=AttentionShape(
            heads=16, query_rank=None, latent_rank=512, nope_dim=128, rope_dim=64, value_dim=128
        ),
        experts=ExpertShape(routed=64, chosen=6, width=1408, shared=2, scaling=2.446),
        context_tokens=8192,
        rope_theta=50_000.0,
        yarn=None,
        norm_eps=1e-5,
    )


def mini_225m() -> K2Config:
    """225 M parameters, 64 M of them active: for measuring on a laptop."""
    return K2Config(
        vocab_size=20_480,
        hidden_size=512,
        layers=11,
        dense_layers=1,
        dense_width=2048,
        attention=AttentionShape(
            heads=8, query_rank=256, latent_rank=128, nope_dim=64, rope_dim=32, value_dim=64
        ),
        experts=ExpertShape(routed=32, chosen=4, width=384, shared=1, scaling=2.827),
        context_tokens=32_768,
        rope_theta=50_000.0,
        yarn=Yarn(factor=8.0, original_context=4096),
        norm_eps=1e-5,
    )


def mini_many_experts() -> K2Config:
    """Over 4 GB at INT4 with little beside its experts: for running with less memory than that."""
    return replace(
        mini_225m(),
        vocab_size=4096,
        layers=9,
        experts=ExpertShape(routed=384, chosen=8, width=1536, shared=1, scaling=2.827),
    )


def nano(vocab_size: int = 4096) -> K2Config:
    """What ships as `k2:nano`: a few megabytes, every code path."""
    return K2Config(
        vocab_size=vocab_size,
        hidden_size=128,
        layers=3,
        dense_layers=1,
        dense_width=256,
        attention=AttentionShape(
            heads=4, query_rank=64, latent_rank=32, nope_dim=32, rope_dim=16, value_dim=32
        ),
        experts=ExpertShape(routed=16, chosen=4, width=128, shared=1, scaling=2.827),
        context_tokens=8192,
        rope_theta=50_000.0,
        yarn=Yarn(factor=8.0, original_context=1024),
        norm_eps=1e-5,
    )
