"""Experts under a byte budget: the same answers, in less memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chogori.errors import ConfigError
from chogori.model import K2, Checkpoint, HotExperts, LatentCache, load, nano, save
from chogori.model.loading import resident_bytes
from chogori.quant import TorchLinears
from reference.drawn_networks import drawn

EXPERTS = 16


@pytest.fixture(scope="module", params=["bf16", "int4"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    save(drawn(nano(), 0), folder, form=request.param)
    return folder


def greedy(network: K2, ids: list[int], count: int) -> list[int]:
    cache = LatentCache(network.config, dtype=torch.bfloat16)
    said: list[int] = []
    given_ids = ids
    while len(said) < count:
        logits_BV = network.next_logits(torch.tensor([given_ids]), cache)
        given_ids = [int(logits_BV.argmax())]
        said += given_ids
    return said


def least_memory(folder: Path) -> int:
    others, expert = resident_bytes(Checkpoint(folder))
    # Torch's own copy of the codes, where there is no kernel, is larger by an eighth and a bit.
    return others + int(EXPERTS * expert * 1.2)


def test_a_small_memory_gives_the_same_tokens(folder: Path) -> None:
    whole = greedy(load(folder), [1, 2, 3], 24)
    assert greedy(load(folder, memory_bytes=least_memory(folder)), [1, 2, 3], 24) == whole


def test_too_small_a_memory_is_refused_with_what_would_do(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"1\.0 KB of memory are too little.*give at least"):
        load(folder, memory_bytes=1000)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 2), st.sets(st.integers(0, 15), max_size=4))))
def test_the_hot_experts_never_take_more_than_the_budget(
    folder: Path, asked: list[tuple[int, set[int]]]
) -> None:
    checkpoint = Checkpoint(folder)
    one = HotExperts(checkpoint, TorchLinears(), dtype=torch.bfloat16)
    one.take(1, [0])
    hot = HotExperts(checkpoint, TorchLinears(), dtype=torch.bfloat16, budget_bytes=6 * one.nbytes)
    recent: list[tuple[int, int]] = []
    for layer, numbers in asked:
        reads = hot.reads
        taken = hot.take(layer, sorted(numbers))
        assert len(taken) == len(numbers)
        assert hot.nbytes <= 6 * one.nbytes
        wanted = [(layer, number) for number in sorted(numbers)]
        # The last two of those asked for before are surely still there.
        assert hot.reads - reads <= len([each for each in wanted if each not in recent[-2:]])
        recent = [each for each in recent if each not in wanted] + wanted


def test_without_a_budget_each_expert_is_read_once(folder: Path) -> None:
    hot = HotExperts(Checkpoint(folder), TorchLinears(), dtype=torch.bfloat16)
    for _ in range(3):
        hot.take(1, range(EXPERTS))
        hot.take(2, [3, 4])
    assert hot.reads == EXPERTS + 2
