"""Rotary tables against transformers', and the rotation against complex numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from chogori.model import K2Config, k2_1t, k2_5_text, k2_thinking, moonlight_16b
from chogori.model.rope import Rotation, frequencies, rotate, rotation, softmax_scale
from reference.peer import peer_config

POSITIONS = torch.tensor([0, 4_095, 131_071, 262_143])
published = pytest.mark.parametrize("make", [k2_1t, k2_thinking, k2_5_text, moonlight_16b])
Make = Callable[[], K2Config]


@published
def test_the_tables_are_those_of_published_code(make: Make) -> None:
    pytest.importorskip("transformers", reason="pip install transformers")
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RotaryEmbedding

    config = make()
    cos, sin = DeepseekV3RotaryEmbedding(peer_config(config))(torch.zeros(1), POSITIONS[None])
    ours = rotation(config, POSITIONS)
    pairs = config.attention.rope_dim // 2
    # They hold every pair twice, once for each half.
    torch.testing.assert_close(ours.cos_TI, cos[0, :, :pairs], rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.sin_TI, sin[0, :, :pairs], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "low", "high", "factor"),
    [(k2_1t, 19, 20, 32), (k2_thinking, 19, 20, 64), (k2_5_text, 8, 20, 64)],
)
def test_fast_pairs_stay_and_slow_ones_are_divided(
    make: Make, low: int, high: int, factor: int
) -> None:
    config = make()
    plain_I = frequencies(64, config.rope_theta, None)
    made_I = frequencies(64, config.rope_theta, config.yarn)
    torch.testing.assert_close(made_I[: low + 1], plain_I[: low + 1], rtol=1e-6, atol=0)
    torch.testing.assert_close(made_I[high:], plain_I[high:] / factor, rtol=1e-6, atol=0)
    between = slice(low + 1, high)
    assert (made_I[between] < plain_I[between]).all()
    assert (made_I[between] > plain_I[between] / factor).all()


def test_the_scale_of_scores_grows_with_the_stretched_context() -> None:
    assert softmax_scale(k2_1t()) == pytest.approx(0.1308608, abs=1e-7)
    assert softmax_scale(k2_thinking()) == pytest.approx(0.1446796, abs=1e-7)
    assert softmax_scale(moonlight_16b()) == pytest.approx(192**-0.5)


def test_rotating_is_multiplying_complex_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    x_BTHP = torch.randn(2, 3, 4, 8, generator=generator)
    angle_TI = torch.randn(3, 4, generator=generator)
    turned = rotate(x_BTHP, Rotation(angle_TI.cos(), angle_TI.sin()))
    complex_x = torch.view_as_complex(x_BTHP.unflatten(-1, (-1, 2)))
    by_hand = complex_x * torch.polar(torch.ones(3, 4), angle_TI)[:, None]
    torch.testing.assert_close(turned, torch.view_as_real(by_hand).flatten(-2))


def test_scores_depend_on_distance_alone() -> None:
    config = k2_5_text()
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 64, generator=generator).unbind(0)

    def score(at: int, before: int) -> float:
        q_at = rotate(q[None], rotation(config, torch.tensor([at])))
        k_at = rotate(k[None], rotation(config, torch.tensor([before])))
        return (q_at * k_at).sum().item()

    assert score(1000, 990) == pytest.approx(score(10, 0), abs=1e-3)
