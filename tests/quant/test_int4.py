"""INT4 against a reference written one number at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chogori.quant import (
    ABSMAX_7,
    RULES,
    Int4Weight,
    ScaleRule,
    dequantize,
    fake_quantize,
    pack,
    quantize,
    unpack,
)
from reference.int4_by_hand import pack_row, quantize_row

codes = st.integers(1, 4).flatmap(
    lambda rows: st.integers(1, 4).flatmap(
        lambda words: st.lists(
            st.lists(st.integers(-8, 7), min_size=8 * words, max_size=8 * words),
            min_size=rows,
            max_size=rows,
        )
    )
)
# Zeros, ties, extremes of the dtype, and ordinary numbers, in one group.
numbers = st.sampled_from([0.0, 1.0, -1.0, 7.5, 0.5, 1e-30, -1e30, 3e38]) | st.floats(
    -1e4, 1e4, width=16
)
groups = st.lists(numbers, min_size=32, max_size=32)
rules = pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def normal(rows: int, columns: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator).to(dtype)


@given(codes)
def test_pack_matches_the_layout_written_by_hand(rows: list[list[int]]) -> None:
    packed = pack(torch.tensor(rows, dtype=torch.int8))
    assert packed.tolist() == [pack_row(row) for row in rows]


@given(codes)
def test_unpack_undoes_pack(rows: list[list[int]]) -> None:
    codes_RC = torch.tensor(rows, dtype=torch.int8)
    assert torch.equal(unpack(pack(codes_RC)), codes_RC)


@rules
@given(groups)
def test_quantize_matches_the_rule_written_by_hand(rule: ScaleRule, group: list[float]) -> None:
    made = quantize(torch.tensor([group]), rule)
    by_hand, scale = quantize_row(group, rule)
    assert made.scale_RG.item() == pytest.approx(scale, rel=1e-6)
    # The hand divides in double precision, so a quotient at a tie may round the other way.
    off = (unpack(made.words_RW)[0] - torch.tensor(by_hand)).abs()
    ties = (torch.tensor(group).double() / scale - 0.5).frac().abs()
    assert ((off == 0) | ((off == 1) & ((ties < 1e-6) | (ties > 1 - 1e-6)))).all()


@rules
@dtypes
def test_no_weight_moves_by_more_than_half_a_step(rule: ScaleRule, dtype: torch.dtype) -> None:
    weight_RC = normal(16, 128, dtype)
    quantized = quantize(weight_RC, rule)
    moved_RGS = (dequantize(quantized) - weight_RC).float().abs().unflatten(-1, (-1, 32))
    half_a_step = 0.5 + 16 * torch.finfo(dtype).eps  # and what the dtype itself rounds away
    assert (moved_RGS <= half_a_step * quantized.scale_RG[..., None].float()).all()


@given(codes)
def test_dequantizing_is_code_times_scale(rows: list[list[int]]) -> None:
    codes_RC = torch.tensor(rows, dtype=torch.int8)
    scale_RG = torch.linspace(0.5, 2, len(rows))[:, None]
    weight = Int4Weight(pack(codes_RC), scale_RG)
    assert torch.equal(dequantize(weight), codes_RC * scale_RG)


def test_the_largest_weight_of_either_sign_is_kept_by_absmax_7() -> None:
    weight_RC = torch.tensor([[3.5, -3.5] + [0.0] * 30])
    assert torch.equal(dequantize(quantize(weight_RC, ABSMAX_7)), weight_RC)


@rules
def test_quantizing_with_the_stored_scale_finds_the_same_codes(rule: ScaleRule) -> None:
    made = quantize(normal(8, 64, torch.float32), rule)
    again_RGS = dequantize(made).unflatten(-1, (-1, 32)) / made.scale_RG[..., None]
    assert torch.equal(again_RGS.round().flatten(-2).to(torch.int8), unpack(made.words_RW))


@rules
def test_a_group_of_zeros_stays_zero(rule: ScaleRule) -> None:
    made = quantize(torch.zeros(1, 32, dtype=torch.bfloat16), rule)
    assert torch.equal(dequantize(made), torch.zeros(1, 32))
    assert (made.scale_RG > 0).all()


def test_ragged_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="40 columns do not divide into groups of 32"):
        quantize(torch.zeros(1, 40))


@rules
@dtypes
def test_fake_quantization_is_what_will_be_served(rule: ScaleRule, dtype: torch.dtype) -> None:
    weight_RC = normal(8, 64, dtype)
    assert torch.equal(fake_quantize(weight_RC, rule), dequantize(quantize(weight_RC, rule)))


@rules
def test_the_gradient_passes_fake_quantization_untouched(rule: ScaleRule) -> None:
    weight_RC = normal(4, 64, torch.float32).requires_grad_()
    upstream_RC = normal(4, 64, torch.float32, seed=1)
    fake_quantize(weight_RC, rule).backward(upstream_RC)
    assert weight_RC.grad is not None
    assert torch.equal(weight_RC.grad, upstream_RC)
