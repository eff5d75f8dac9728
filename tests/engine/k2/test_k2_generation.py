"""One sequence at a time: what is in the cache changes what is computed, never what is said."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chogori.engine.k2 import Engine, Sampling
from chogori.engine.k2 import generation as generation_module
from chogori.engine.k2.generation import common_prefix
from chogori.engine.stopping import StopText
from chogori.errors import ContextTooLong
from chogori.model import K2, nano
from reference.drawn_networks import drawn
from strategies import cut, texts

torch.set_num_threads(1)
NETWORK: K2 = drawn(nano(vocab_size=50), 3)
prompts = st.lists(st.integers(0, 3), min_size=1, max_size=12)
"""Few ids, so that prompts share prefixes."""


def engine(context_tokens: int = 64) -> Engine:
    return Engine(NETWORK, context_tokens=context_tokens)


def said_slowly(prompt: list[int], count: int) -> list[int]:
    """Greedy, every token from scratch."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(NETWORK(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@settings(max_examples=25)
@given(st.lists(prompts, min_size=1, max_size=4))
def test_a_kept_cache_never_changes_what_is_said(asked: list[list[int]]) -> None:
    kept = engine()
    for prompt in asked:
        said = [drawn.id for drawn in kept.generate(prompt, limit=4)]
        assert said == said_slowly(prompt, 4)


def test_a_step_reads_only_what_it_adds() -> None:
    kept = engine()
    said = [drawn.id for drawn in kept.generate([1, 2, 3], limit=4)]
    assert kept.reused == 0
    list(kept.generate([1, 2, 3, *said, 7, 8], limit=1))
    # The last token that was said was never read.
    assert kept.reused == 3 + 3
    list(kept.generate([1, 2, 9], limit=1))
    assert kept.reused == 2
    list(kept.generate([1, 2, 9], limit=1))
    assert kept.reused == 2, "the last token is read for its logits"


def test_a_generation_that_is_closed_leaves_a_cache_that_is_right() -> None:
    kept = engine()
    begun = kept.generate([1, 2, 3], limit=10)
    first = [next(begun).id, next(begun).id]
    begun.close()
    assert [drawn.id for drawn in kept.generate([1, 2, 3], limit=4)][:2] == first


def test_long_prompts_are_read_in_slices() -> None:
    length = generation_module.SLICE_TOKENS + 37
    prompt = torch.randint(50, (length,), generator=torch.Generator().manual_seed(0)).tolist()
    found = Engine(NETWORK, context_tokens=2 * length).read(prompt)
    with torch.no_grad():
        expected = NETWORK.next_logits(torch.tensor([prompt]))[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_it_ends_at_a_stop_id_at_the_limit_and_with_the_context() -> None:
    free = [drawn.id for drawn in engine().generate([1, 2, 3], limit=6)]
    stop = free[2]
    stopped = [drawn.id for drawn in engine().generate([1, 2, 3], stop_ids=frozenset({stop}))]
    assert stopped == free[: free.index(stop) + 1]
    assert len(list(engine(10).generate([1, 2, 3]))) == 7


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    with pytest.raises(ContextTooLong, match="is 8 tokens long and this model reads 8"):
        next(engine(8).generate([1] * 8))


def test_the_same_seed_draws_the_same_reply() -> None:
    warm = Sampling(temperature=2.0, seed=5)
    once = [drawn.id for drawn in engine().generate([1, 2], warm, limit=8)]
    assert [drawn.id for drawn in engine().generate([1, 2], warm, limit=8)] == once


@given(prompts, prompts)
def test_the_common_prefix_is_common_and_longest(one: list[int], other: list[int]) -> None:
    length = common_prefix(one, other)
    assert one[:length] == other[:length]
    assert one[: length + 1] != other[: length + 1] or length == min(len(one), len(other))


stop_strings = st.lists(texts.filter(bool) | st.sampled_from(["ab", "aab", "aabx"]), max_size=3)


@given(texts | st.text("abx"), stop_strings, st.data())
def test_text_stops_where_a_stop_string_begins_however_it_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    stop = StopText(stops)
    told = "".join(stop.feed(piece) for piece in cut(text, data.draw)) + stop.end()
    assert (told, stop.has_stopped) == stopped_by_hand(text, stops)


def stopped_by_hand(text: str, stops: list[str]) -> tuple[str, bool]:
    """Letter by letter."""
    for end in range(1, len(text) + 1):
        begun = [end - len(each) for each in stops if text[:end].endswith(each)]
        if begun:
            return text[: min(begun)], True
    return text, False
