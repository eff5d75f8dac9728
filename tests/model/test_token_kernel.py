"""One token through the compiled kernel: what the plain functions make of it in float32."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from chogori.model import K2, K2Config, LatentCache, nano
from chogori.model.latent import absorbed
from chogori.model.norm import RMSNorm
from chogori.model.rope import Rotation, rotate, rotation
from chogori.quant import Kernel, build_kernel, linears_of
from chogori.quant import kernel as kernel_module
from reference.drawn_networks import configs, drawn

torch.set_num_threads(1)
ROUNDED = 2**-7
"""What is rounded to bfloat16 twice, of the largest value."""
seeds = st.integers(0, 2**20)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    if not any(map(shutil.which, kernel_module.COMPILERS)):
        pytest.skip("there is no C compiler here: apt-get install gcc")
    kernel = build_kernel(tmp_path_factory.mktemp("kernel"))
    assert kernel is not None
    return kernel


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.bfloat16
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= ROUNDED * expected.abs().max()


@given(rows=st.integers(1, 20), columns=st.integers(1, 100), seed=seeds)
def test_a_norm(kernel: Kernel, rows: int, columns: int, seed: int) -> None:
    x, weight_C = numbers(2, rows, columns, seed=seed), numbers(columns, seed=seed + 1)
    norm = RMSNorm(columns, 1e-5).requires_grad_(False)
    norm.weight.copy_(weight_C)
    assert_near(kernel.rms_norm(x, weight_C, 1e-5), norm(x.float()))


@given(config=configs(), seen=st.integers(1, 70), seed=seeds)
def test_a_row_of_the_cache_and_attention_over_it(
    kernel: Kernel, config: K2Config, seen: int, seed: int
) -> None:
    a = config.attention
    turn = rotation(config, torch.tensor([seen - 1]))
    tables = turn.cos_TI, turn.sin_TI
    kv_BTC, weight_L = numbers(1, 1, a.cached_dim, seed=seed), numbers(a.latent_rank, seed=seed + 1)
    row_BTC = kernel.latent_row(kv_BTC, weight_L, 1e-6, *tables)
    assert_near(row_BTC, _row(kv_BTC.float(), weight_L.float(), turn))

    q_BTHQ = numbers(1, 1, a.heads, a.query_dim, seed=seed + 2)
    seen_BSC = numbers(1, seen, a.cached_dim, seed=seed + 3)
    up_HXL = numbers(a.heads, a.nope_dim + a.value_dim, a.latent_rank, seed=seed + 4)
    nope, rope = q_BTHQ.float().split((a.nope_dim, a.rope_dim), -1)
    rope = rotate(rope, turn).bfloat16().float()
    o_BTHV = absorbed(nope, rope, seen_BSC.float(), up_HXL.float(), 0.1)
    found_HV = kernel.attend(q_BTHQ[0, 0], seen_BSC[0], up_HXL, *tables, 0.1)
    assert_near(found_HV, o_BTHV[0, 0])


def _row(kv_BTC: Tensor, weight_L: Tensor, turn: Rotation) -> Tensor:
    norm = RMSNorm(len(weight_L), 1e-6).requires_grad_(False)
    norm.weight.copy_(weight_L)
    latent_BTL, key_BTP = kv_BTC.split((len(weight_L), kv_BTC.shape[-1] - len(weight_L)), -1)
    return torch.cat((norm(latent_BTL), rotate(key_BTP, turn)), -1)


def test_a_network_decodes_with_it_as_without(kernel: Kernel) -> None:
    ids_BT = torch.randint(4096, (1, 24), generator=torch.Generator().manual_seed(0))
    config = replace(nano(), yarn=None)
    found: list[Tensor] = []
    exact = drawn(config, 0)
    for linears in (linears_of(kernel), None):
        network = K2(config, linears=linears).requires_grad_(False)
        network.load_state_dict(exact.state_dict())
        network.to(torch.bfloat16)
        cache = LatentCache(config, dtype=torch.bfloat16)
        logits = [network(piece, cache) for piece in ids_BT.split([8, *[1] * 16], 1)]
        found.append(torch.cat(logits, 1).float())
    expected = exact(ids_BT)
    with_kernel, without = ((each - expected).abs().median() for each in found)
    # Eight bits through three layers; nearer to the truth, if anything, than torch's own products.
    assert with_kernel <= 0.03 * expected.abs().max()
    assert with_kernel <= 1.5 * without
