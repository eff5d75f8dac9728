"""What is known of a model by its name; the figures are those of `spec/k2.md` 7.4 and 9.2."""

from __future__ import annotations

import pytest

from chogori.chat import profile_for


@pytest.mark.parametrize(
    ("name", "temperature", "retention", "thinking", "needs_reasoning"),
    [
        ("kimi-k2-thinking", 1.0, "chain", "forced", True),
        ("moonshotai/Kimi-K2-Thinking", 1.0, "chain", "forced", True),
        ("kimi_k2_thinking_turbo", 1.0, "chain", "forced", True),
        ("kimi-k2.5", 1.0, "chain", "switchable", True),
        ("moonshotai/Kimi-K2.6", 1.0, "all", "switchable", True),
        ("kimi-k2.7-code", 1.0, "all", "switchable", True),
        ("kimi-k2-0905-preview", 0.6, "chain", "off", False),
    ],
)
def test_kimi_is_known_by_every_name_it_goes_by(
    name: str, temperature: float, retention: str, thinking: str, needs_reasoning: bool
) -> None:
    profile = profile_for(name, spec="https://api.moonshot.ai/v1#x")
    assert (profile.name, profile.spec) == (name, "https://api.moonshot.ai/v1#x")
    assert profile.context_tokens == 262_144
    assert profile.native_tools
    found = (profile.temperature, profile.retention, profile.thinking, profile.needs_reasoning)
    assert found == (temperature, retention, thinking, needs_reasoning)


def test_an_unknown_model_gets_cautious_defaults() -> None:
    profile = profile_for("somebody/llama-9")
    assert profile.name == "somebody/llama-9"
    assert profile.price is None
    assert profile.temperature is None
    assert profile.agreement == 1
    assert not profile.sees_images


@pytest.mark.parametrize("name", ["kimi-k2.5", "kimi-k2.6", "kimi-k2-thinking", "kimi-k2"])
def test_what_is_cached_costs_least_and_what_is_written_most(name: str) -> None:
    price = profile_for(name).price
    assert price is not None
    assert 0 < price.cached < price.prompt < price.completion
