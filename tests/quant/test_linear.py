"""Products with INT4, bfloat16 and float32 matrices: every way there is gives the same product."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chogori.quant import (
    Int4Weight,
    Kernel,
    Linears,
    TorchLinears,
    build_kernel,
    dequantize,
    linears_of,
    pack,
)
from chogori.quant import kernel as kernel_module

sizes = st.tuples(
    st.integers(1, 5).map(lambda n: 16 * n),
    st.sampled_from([32, 64, 128, 256, 384]),
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.integers(0, 9),
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    if not any(map(shutil.which, kernel_module.COMPILERS)):
        pytest.skip("there is no C compiler here: apt-get install gcc")
    kernel = build_kernel(tmp_path_factory.mktemp("kernel"))
    assert kernel is not None, "what the compiler made agrees with the plain functions"
    return kernel


PROCESSORS = {"x86-64": (), "x86-64-v3": ("avx2", "fma", "bmi2"), "native": ()}
"""What can be compiled for, and the flags of a processor that then runs it."""


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_way_of_multiplying_a_row_gives_the_same(processor: str, tmp_path: Path) -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if processor != "native" and platform.machine() != "x86_64":
        pytest.skip(f"this is no x86: {platform.machine()}")
    if missing := [f for f in PROCESSORS[processor] if f not in cpuinfo.read_text().split()]:
        pytest.skip(f"this processor has no {missing[0]}")
    flags = [f"-march={processor}" if f == "-march=native" else f for f in kernel_module.FLAGS]
    made = build_kernel(tmp_path, flags=flags)
    assert made is not None, "a kernel that does not agree with the plain functions is not taken"
    assert processor == "native" or made.way == {"x86-64": "plain"}.get(processor, "AVX2")
    for seed in range(4):
        inputs, weights = drawn(48, 384, [1, 2, 3, 4, 5, 9], seed, torch.bfloat16)
        for x, weight, y in zip(inputs, weights, made.products(inputs, weights), strict=True):
            exact = x.double() @ dequantize(weight, torch.float64).T
            assert (y - exact).abs().max() <= 2**-8 * exact.abs().max()
            assert torch.equal(made.dequantize(weight), dequantize(weight))


@settings(max_examples=30)
@given(st.integers(0, 99), st.floats(0, 5), st.sampled_from([1.0, 2.0**60, 2.0**-60]))
def test_numbers_of_very_different_size_stand_side_by_side(
    kernel: Kernel, seed: int, spread: float, size: float
) -> None:
    inputs, weights = drawn(16, 256, [3], seed, torch.bfloat16)
    generator = torch.Generator().manual_seed(seed)
    factors = torch.exp(spread * torch.randn(256, generator=generator))
    x = (inputs[0].double() * factors * size).bfloat16()
    exact = x.double() @ dequantize(weights[0], torch.float64).T
    (y,) = kernel.products([x], weights)
    # Rounded to 8 bits; x may be off by 2^-16 of the largest in its group, by 128 columns at once.
    largest = (x.double().abs().amax(-1) * dequantize(weights[0]).abs().max())[:, None]
    assert ((y - exact).abs() <= 2**-8 * exact.abs() + 2**-9 * largest).all()


def test_what_is_no_number_is_none_afterwards(kernel: Kernel) -> None:
    inputs, weights = drawn(16, 256, [2], 0, torch.bfloat16)
    for wrong in (float("nan"), float("inf")):
        inputs[0][1, 40] = wrong
        (y,) = kernel.products(inputs, weights)
        assert y[0].isfinite().all()
        assert not y[1].isfinite().any()


def drawn(
    rows: int, columns: int, tokens: list[int], seed: int, dtype: torch.dtype
) -> tuple[list[Tensor], list[Int4Weight]]:
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(n, columns, generator=generator).to(dtype) for n in tokens]
    weights = [
        Int4Weight(
            pack(torch.randint(-8, 8, (rows, columns), generator=generator, dtype=torch.int8)),
            torch.rand(rows, columns // 32, generator=generator).bfloat16(),
        )
        for _ in tokens
    ]
    return inputs, weights


def agree(linears: Linears, inputs: list[Tensor], weights: list[Int4Weight]) -> None:
    prepared = [linears.prepare(weight) for weight in weights]
    for x, weight, y in zip(inputs, weights, linears(inputs, prepared), strict=True):
        exact = x.double() @ dequantize(weight, torch.float64).T
        # The result is rounded to 8 bits; dequantizing to bfloat16 rounds each weight to 8, too.
        room = 2**-6 if x.dtype == torch.bfloat16 else 1e-5
        assert y.dtype == x.dtype
        assert (y - exact).abs().max() <= room * exact.abs().max()


@settings(max_examples=20)
@given(sizes)
def test_torch_alone(size: tuple[int, int, list[int], int]) -> None:
    agree(TorchLinears(), *drawn(*size, torch.bfloat16))
    agree(TorchLinears(), *drawn(*size, torch.float32))


@settings(max_examples=20)
@given(size=sizes)
def test_the_compiled_kernel(kernel: Kernel, size: tuple[int, int, list[int], int]) -> None:
    agree(linears_of(kernel), *drawn(*size, torch.bfloat16))
    agree(linears_of(kernel), *drawn(*size, torch.float32))


@settings(max_examples=20)
@given(size=sizes)
def test_a_plain_matrix_goes_through_the_kernel_and_comes_out_the_same(
    kernel: Kernel, size: tuple[int, int, list[int], int]
) -> None:
    inputs, weights = drawn(*size, torch.bfloat16)
    # Codes and plain matrices at once, as they stand side by side in a layer.
    matrices = [
        dequantize(weight) if at % 2 else weight for at, weight in enumerate([*weights, *weights])
    ]
    for x, matrix, y in zip(
        inputs * 2, matrices, linears_of(kernel)(inputs * 2, matrices), strict=True
    ):
        whole = matrix if isinstance(matrix, Tensor) else dequantize(matrix, torch.float64)
        exact = x.double() @ whole.double().T
        assert y.dtype == x.dtype
        assert (y - exact).abs().max() <= 2**-6 * exact.abs().max()


@contextmanager
def threads_of(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 300),
    tokens=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    threads=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_a_float32_matrix_of_any_size_goes_through_the_kernel_and_comes_out_the_same(
    kernel: Kernel, rows: int, columns: int, tokens: list[int], threads: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # The inputs are columns of something wider, and so do not lie one after the other.
    inputs = [torch.randn(n, columns + 3, generator=generator)[:, 1:-2] for n in tokens]
    matrices = [torch.randn(rows, columns, generator=generator) for _ in tokens]
    assert all(kernel.takes(matrix) for matrix in matrices)
    with threads_of(threads):
        made = kernel.products(inputs, matrices) + linears_of(kernel)(inputs, matrices)
    for x, matrix, y in zip(inputs * 2, matrices * 2, made, strict=True):
        # What rounding can do grows with the terms, not with what they cancel to.
        room_TR = 1e-6 * (x.double().abs() @ matrix.double().abs().T)
        assert y.dtype == torch.float32
        assert ((y - x.double() @ matrix.double().T).abs() <= room_TR).all()


def test_a_matrix_that_does_not_lie_in_one_piece_is_multiplied_by_torch(kernel: Kernel) -> None:
    generator = torch.Generator().manual_seed(0)
    x, wide = torch.randn(2, 40, generator=generator), torch.randn(48, 80, generator=generator)
    for matrix in (wide[:, ::2], wide[:40].T):
        assert not kernel.takes(matrix)
        assert torch.equal(linears_of(kernel)([x], [matrix])[0], x @ matrix.T)


def test_matrices_that_are_trained_do_not_go_through_the_kernel(kernel: Kernel) -> None:
    (x,), (weight,) = drawn(32, 64, [1], 0, torch.bfloat16)
    matrix = dequantize(weight).requires_grad_(True)
    linears_of(kernel)([x], [matrix])[0].sum().backward()
    assert matrix.grad is not None
    x.requires_grad_(True)
    linears_of(kernel)([x], [dequantize(weight)])[0].sum().backward()
    assert x.grad is not None


def test_the_kernel_dequantizes_bit_for_bit(kernel: Kernel) -> None:
    _, (weight,) = drawn(48, 256, [1], 0, torch.bfloat16)
    assert torch.equal(kernel.dequantize(weight), dequantize(weight))


def test_a_kernel_is_compiled_once(kernel: Kernel, tmp_path: Path) -> None:
    build_kernel(tmp_path)
    (made,) = tmp_path.iterdir()
    before = made.stat().st_mtime_ns
    build_kernel(tmp_path)
    assert [made] == list(tmp_path.iterdir())
    assert made.stat().st_mtime_ns == before


def test_where_a_kernel_cannot_be_kept_there_is_none(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert build_kernel(occupied) is None


def test_a_file_that_is_no_library_is_no_kernel(tmp_path: Path, kernel: Kernel) -> None:
    (tmp_path / kernel.path.name).write_bytes(b"no library")
    assert build_kernel(tmp_path) is None
