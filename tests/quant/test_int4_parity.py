"""INT4 bit for bit as compressed-tensors 0.20 has it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chogori.quant import MINMAX, dequantize, pack, quantize, unpack

pytest.importorskip("compressed_tensors", reason="pip install compressed-tensors==0.20.0")

shapes = st.tuples(st.integers(1, 40), st.integers(1, 12).map(lambda n: 32 * n))
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
draws = given(shapes, st.integers(0, 2**31))


@pytest.fixture(scope="module")
def arguments() -> Any:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy

    group = QuantizationStrategy.GROUP
    return QuantizationArgs(num_bits=4, symmetric=True, strategy=group, group_size=32)


def drawn_codes(shape: tuple[int, int], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-8, 8, shape, generator=generator, dtype=torch.int8)


def drawn_weight(shape: tuple[int, int], seed: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight_RC = torch.randn(shape, generator=generator).to(dtype)
    weight_RC[0, :32] = 0
    return weight_RC


@settings(max_examples=25)
@draws
def test_packing_and_unpacking(shape: tuple[int, int], seed: int) -> None:
    from compressed_tensors.compressors.pack_quantized.helpers import (
        pack_to_int32,
        unpack_from_int32,
    )

    codes_RC = drawn_codes(shape, seed)
    words_RW = pack_to_int32(codes_RC, 4)
    assert torch.equal(pack(codes_RC), words_RW)
    assert torch.equal(unpack(words_RW), unpack_from_int32(words_RW, 4, torch.Size(shape)))


@dtypes
@settings(max_examples=25)
@draws
def test_dequantizing(
    arguments: Any, dtype: torch.dtype, shape: tuple[int, int], seed: int
) -> None:
    from compressed_tensors.quantization.lifecycle.forward import dequantize as theirs

    made = quantize(drawn_weight(shape, seed, dtype))
    expected_RC = theirs(unpack(made.words_RW), made.scale_RG, None, arguments)
    assert torch.equal(dequantize(made), expected_RC)


@dtypes
@settings(max_examples=25)
@draws
def test_scales_of_the_minmax_observer(
    arguments: Any, dtype: torch.dtype, shape: tuple[int, int], seed: int
) -> None:
    from compressed_tensors.quantization.utils import calculate_qparams

    weight_RC = drawn_weight(shape, seed, dtype)
    groups_RGS = weight_RC.unflatten(-1, (-1, 32))
    scale_RG, _ = calculate_qparams(groups_RGS.amin(-1), groups_RGS.amax(-1), arguments)
    assert torch.equal(quantize(weight_RC, MINMAX).scale_RG, scale_RG)


@settings(max_examples=25)
@draws
def test_codes_of_float32_weights(arguments: Any, shape: tuple[int, int], seed: int) -> None:
    """Of bfloat16 weights they divide in bfloat16, which moves a quotient by up to 1/64."""
    from compressed_tensors.quantization.lifecycle.forward import quantize as theirs

    weight_RC = drawn_weight(shape, seed, torch.float32)
    made = quantize(weight_RC, MINMAX)
    zero_RG = torch.zeros_like(made.scale_RG)
    codes_RC = theirs(weight_RC, made.scale_RG, zero_RG, arguments, dtype=torch.int8)
    assert torch.equal(unpack(made.words_RW), codes_RC)
