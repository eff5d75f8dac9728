"""Block-scaled FP8, against a double loop."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chogori.quant import dequantize_fp8, fp8_blocks


@settings(max_examples=20)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_every_block_has_its_own_factor(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes_RC = torch.randn(rows, columns, generator=generator).to(torch.float8_e4m3fn)
    factor_rc = torch.rand(fp8_blocks(rows, columns), generator=generator) + 0.5
    weight_RC = dequantize_fp8(codes_RC, factor_rc, torch.float32)
    for r in range(factor_rc.shape[0]):
        for c in range(factor_rc.shape[1]):
            block = slice(128 * r, 128 * r + 128), slice(128 * c, 128 * c + 128)
            assert torch.equal(weight_RC[block], codes_RC[block].float() * factor_rc[r, c])


def test_the_published_shapes_of_factors() -> None:
    assert fp8_blocks(576, 7168) == (5, 56)
    assert fp8_blocks(12_288, 1536) == (96, 12)
    assert fp8_blocks(2048, 7168) == (16, 56)
