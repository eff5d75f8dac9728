"""The network against transformers' DeepseekV3ForCausalLM, and against the slow obvious one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from chogori.model import K2, K2Config, LatentCache, load, nano, save
from reference.drawn_networks import configs, drawn, router_margin, state_of
from reference.k2_by_hand import logits as logits_by_hand
from reference.peer import peer_logits

torch.set_num_threads(1)
seeds = st.integers(0, 2**20)
lengths = st.integers(1, 40)
heavy = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
NEAR_TIE = 1e-5
"""Two experts so near to each other may change places by a rounding."""
OF_SCALE = 1e-4
"""Of the largest logit: float32 rounds to 6e-8, and a few hundred additions in three layers, in
another order on each side, make some hundred roundings of it."""


def prompt(config: K2Config, length: int, seed: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, length), generator=generator)


def assume_no_near_tie(network: K2, ids_BT: torch.Tensor) -> None:
    margin = router_margin(network, ids_BT)
    event("near tie, rejected" if margin < NEAR_TIE else "compared")
    assume(margin >= NEAR_TIE)


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= OF_SCALE * expected.abs().max()


@settings(heavy, max_examples=6)
@given(configs(), lengths, seeds)
def test_a_saved_checkpoint_gives_transformers_the_same_logits(
    config: K2Config, length: int, seed: int
) -> None:
    compare_with_transformers(config, length, seed)


@pytest.mark.slow
@settings(heavy, max_examples=64)
@given(configs(), lengths, seeds)
def test_so_do_64_of_them(config: K2Config, length: int, seed: int) -> None:
    compare_with_transformers(config, length, seed)


def compare_with_transformers(config: K2Config, length: int, seed: int) -> None:
    pytest.importorskip("transformers", reason="pip install transformers")
    ids_BT = prompt(config, length, seed, batch=2)
    with TemporaryDirectory() as folder:
        save(drawn(config, seed), Path(folder), shard_bytes=20_000)
        # What is compared is what was written: bfloat16 weights, computed in float32.
        network = load(Path(folder), dtype=torch.float32)
        assume_no_near_tie(network, ids_BT)
        assert_near(network(ids_BT), peer_logits(Path(folder), ids_BT, config))


@settings(heavy, max_examples=25)
@given(configs(), st.integers(1, 12), seeds)
def test_the_network_is_the_one_written_by_hand(config: K2Config, length: int, seed: int) -> None:
    network, ids_BT = drawn(config, seed), prompt(config, length, seed)
    assume_no_near_tie(network, ids_BT)
    by_hand_TV = logits_by_hand(state_of(network), config, ids_BT[0].tolist())
    assert_near(network(ids_BT)[0], by_hand_TV)


@settings(heavy, max_examples=40)
@given(configs(), st.lists(st.integers(1, 9), min_size=1, max_size=5), seeds)
def test_reading_in_pieces_is_reading_at_once(
    config: K2Config, pieces: list[int], seed: int
) -> None:
    network, ids_BT = drawn(config, seed), prompt(config, sum(pieces), seed)
    assume_no_near_tie(network, ids_BT)
    cache = LatentCache(config, dtype=torch.float32)
    logits = [network(piece, cache) for piece in ids_BT.split(pieces, 1)]
    assert cache.length == sum(pieces)
    assert_near(torch.cat(logits, 1), network(ids_BT))


@settings(heavy, max_examples=20)
@given(configs(), st.integers(1, 20), st.integers(1, 5), seeds)
def test_a_cut_cache_reads_on_as_if_less_had_been_read(
    config: K2Config, kept: int, more: int, seed: int
) -> None:
    network, ids_BT = drawn(config, seed), prompt(config, kept + more, seed)
    assume_no_near_tie(network, ids_BT)
    cache = LatentCache(config, dtype=torch.float32)
    network(torch.cat((ids_BT[:, :kept], prompt(config, 7, seed + 1)), 1), cache)
    cache.cut(kept)
    assert_near(network(ids_BT[:, kept:], cache), network(ids_BT)[:, kept:])


@settings(heavy, max_examples=20)
@given(configs(), lengths, seeds)
def test_a_batch_is_its_sequences(config: K2Config, length: int, seed: int) -> None:
    network, ids_BT = drawn(config, seed), prompt(config, length, seed, batch=3)
    assume_no_near_tie(network, ids_BT)
    alone = torch.cat([network(ids_T[None]) for ids_T in ids_BT])
    assert_near(network(ids_BT), alone)


@settings(heavy, max_examples=10)
@given(configs(), st.integers(2, 20), seeds)
def test_a_token_does_not_see_what_follows_it(config: K2Config, length: int, seed: int) -> None:
    network, ids_BT = drawn(config, seed), prompt(config, length, seed)
    other_BT = ids_BT.clone()
    other_BT[:, -1] = (other_BT[:, -1] + 1) % config.vocab_size
    assume_no_near_tie(network, ids_BT)
    assert_near(network(other_BT)[:, :-1], network(ids_BT)[:, :-1])


def test_bfloat16_stays_near_float32() -> None:
    ids_BT = prompt(nano(), 30, 0)
    network = K2(nano()).draw_(0).requires_grad_(False)
    expected = network(ids_BT)
    found = network.to(torch.bfloat16)(ids_BT).float()
    # Eight bits of mantissa through three layers; a near tie of the router may move a token more.
    assert (found - expected).abs().median() <= 0.02 * expected.abs().max()


def test_only_the_experts_that_were_chosen_are_taken_and_get_gradients() -> None:
    network = K2(nano()).draw_(0)
    network(prompt(nano(), 2, 0)).sum().backward()
    gradient_EFD = network.get_parameter("model.layers.1.mlp.experts.gate_proj").grad
    assert gradient_EFD is not None
    taken = gradient_EFD.flatten(1).any(-1).sum()
    assert 4 <= taken <= 8, "two tokens visit four experts each"


def test_every_weight_is_trained_but_the_correction_bias() -> None:
    network = K2(nano()).draw_(0)
    network(prompt(nano(), 60, 0)).square().mean().backward()
    without = {name for name, weight in network.named_parameters() if weight.grad is None}
    assert without == {f"model.layers.{n}.mlp.gate.e_score_correction_bias" for n in (1, 2)}
