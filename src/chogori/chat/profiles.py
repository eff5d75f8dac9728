"""What is known of a model before it is asked: sizes, sampling, and what becomes of its reasoning.

The figures for Kimi are those of Moonshot's model cards and API reference (`context_length`, the
recommended temperatures, the values its API holds fixed). `profile_for` knows models by name;
what it does not know gets cautious defaults.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Retention = Literal["chain", "all", "none"]
"""Which reasoning goes back to the model: that of the current tool-calling chain, all, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens."""

    cached: float
    prompt: float
    completion: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of a model."""

    name: str
    spec: str = ""
    """The spec string that `chogori.load` made it from; "" when it was made by hand."""
    context_tokens: int = 32_768
    temperature: float | None = None
    top_p: float | None = None
    instant_temperature: float | None = None
    """The temperature when thinking is switched off, where that differs."""
    retention: Retention = "chain"
    needs_reasoning: bool = False
    """Whether a message that calls tools must carry its reasoning, even an empty one."""
    thinking: Literal["forced", "switchable", "off"] = "off"
    native_tools: bool = True
    """Whether the model was trained to call tools in a format of its own."""
    sees_images: bool = False
    fixed: tuple[str, ...] = ()
    """Options that the endpoint refuses to change."""
    preserves_thinking: bool = False
    """Whether the endpoint reads old reasoning only when told to (`thinking.keep = "all"`)."""
    agreement: int = 1
    """Independent solutions that must agree before an answer counts: 2 for small models."""
    price: Price | None = None


_K2_5_FIXED = ("top_p", "presence_penalty", "frequency_penalty")

_KNOWN: tuple[tuple[str, Profile], ...] = (
    (
        r"kimi-k2-thinking",
        Profile(
            name="kimi-k2-thinking",
            context_tokens=262_144,
            temperature=1.0,
            thinking="forced",
            needs_reasoning=True,
            price=Price(cached=0.15, prompt=0.60, completion=2.50),
        ),
    ),
    (
        r"kimi-k2\.[67]",
        Profile(
            name="kimi-k2.6",
            context_tokens=262_144,
            temperature=1.0,
            instant_temperature=0.6,
            top_p=0.95,
            thinking="switchable",
            retention="all",
            preserves_thinking=True,
            needs_reasoning=True,
            sees_images=True,
            fixed=_K2_5_FIXED,
            price=Price(cached=0.16, prompt=0.95, completion=4.00),
        ),
    ),
    (
        r"kimi-k2\.5",
        Profile(
            name="kimi-k2.5",
            context_tokens=262_144,
            temperature=1.0,
            instant_temperature=0.6,
            top_p=0.95,
            thinking="switchable",
            needs_reasoning=True,
            sees_images=True,
            fixed=_K2_5_FIXED,
            price=Price(cached=0.10, prompt=0.60, completion=3.00),
        ),
    ),
    (
        r"kimi-k2",
        Profile(
            name="kimi-k2",
            context_tokens=262_144,
            temperature=0.6,
            price=Price(cached=0.15, prompt=0.60, completion=2.50),
        ),
    ),
    (r"deepseek|qwen3|gpt-oss|glm|minimax", Profile(name="reasoning", context_tokens=131_072)),
)


def profile_for(name: str, *, spec: str = "") -> Profile:
    """The profile of the model called `name`, as endpoints call it."""
    plain = name.lower().replace("_", "-")
    for pattern, profile in _KNOWN:
        if re.search(pattern, plain):
            return replace(profile, name=name, spec=spec)
    return Profile(name=name, spec=spec)
