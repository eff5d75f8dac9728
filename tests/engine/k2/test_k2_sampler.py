"""Drawing tokens: the cuts against their definitions, and the draws against the distribution."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chogori.engine.k2 import Sampler, Sampling
from chogori.engine.k2.sampler import allowed, checked

logits = st.lists(
    st.sampled_from([0.0, 1.0, -3.0, 5.0]) | st.floats(-20, 20, width=32), min_size=1, max_size=12
)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_p=st.sampled_from([0.01, 0.5, 0.95, 1.0]),
    top_k=st.integers(0, 6),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 5),
)


def allowed_by_hand(p: list[float], sampling: Sampling) -> set[int]:
    order = sorted(range(len(p)), key=lambda id: -p[id])
    kept: list[int] = []
    for id in order:
        is_far_down = sampling.top_k and len(kept) >= sampling.top_k
        is_full = sum(p[other] for other in kept) >= sampling.top_p
        if kept and (is_far_down or is_full or p[id] < sampling.min_p * p[order[0]]):
            break
        kept.append(id)
    return set(kept)


@given(logits, samplings)
def test_the_three_cuts_are_what_they_are_defined_to_be(
    values: list[float], sampling: Sampling
) -> None:
    p_V = torch.tensor(values).double().softmax(-1)
    found = set(allowed(p_V, sampling).nonzero().flatten().tolist())
    by_hand = allowed_by_hand(p_V.tolist(), sampling)
    # Sums of float64 in another order may differ at the very edge of top_p.
    edge = abs(sum(p_V[list(found & by_hand)].tolist()) - sampling.top_p) < 1e-12
    assert found == by_hand or edge


@given(logits, samplings)
def test_what_is_drawn_is_allowed_and_the_same_for_the_same_seed(
    values: list[float], sampling: Sampling
) -> None:
    logits_V = torch.tensor(values)
    id = Sampler(sampling).draw(logits_V).id
    assert allowed((logits_V / sampling.temperature).softmax(-1), sampling)[id]
    assert Sampler(sampling).draw(logits_V).id == id


@given(logits)
def test_without_temperature_the_first_of_the_likeliest_is_taken(values: list[float]) -> None:
    assert Sampler(Sampling()).draw(torch.tensor(values)).id == values.index(max(values))


@given(logits, st.integers(0, 15))
def test_logprobs_are_those_of_the_model_whatever_is_cut(values: list[float], count: int) -> None:
    sampling = Sampling(temperature=3.0, top_k=1, logprobs=count, seed=0)
    drawn = Sampler(sampling).draw(torch.tensor(values))
    total = math.log(sum(math.exp(value) for value in values))
    assert drawn.logprob == pytest.approx(max(values) - total, abs=1e-4)
    assert len(drawn.alternatives) == min(count, len(values))
    for id, logprob in drawn.alternatives:
        assert logprob == pytest.approx(values[id] - total, abs=1e-4)


def test_draws_follow_the_distribution() -> None:
    sampler = Sampler(Sampling(temperature=1.0, seed=0))
    p = [0.5, 0.3, 0.15, 0.05]
    logits_V = torch.tensor(p).log()
    drawn = [sampler.draw(logits_V).id for _ in range(4000)]
    for id, expected in enumerate(p):
        # Four standard deviations of a share among 4000.
        room = 4 * math.sqrt(expected * (1 - expected) / 4000)
        assert drawn.count(id) / 4000 == pytest.approx(expected, abs=room)


def test_penalties_fall_on_what_was_drawn() -> None:
    logits_V = torch.tensor([2.0, 1.5, 1.0])
    presence = Sampler(Sampling(presence_penalty=1.2))
    assert [presence.draw(logits_V).id for _ in range(4)] == [0, 1, 2, 0]
    frequency = Sampler(Sampling(frequency_penalty=0.3))
    assert [frequency.draw(logits_V).id for _ in range(4)] == [0, 0, 1, 0]


def test_no_logprobs_are_made_where_none_are_wanted() -> None:
    assert Sampler(Sampling()).draw(torch.zeros(3)).logprob is None


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Sampling(temperature=-1), "temperature is -1; it must be 0 or more"),
        (Sampling(top_p=0), "top_p is 0; it must be above 0 and at most 1"),
        (Sampling(top_k=-1), "top_k is -1; it must be 0 (all) or more"),
        (Sampling(min_p=2), "min_p is 2; it must be from 0 to 1"),
    ],
)
def test_values_that_mean_nothing_are_named(sampling: Sampling, said: str) -> None:
    assert list(checked(sampling)) == [said]
