"""What comes over a wire, leaning towards trouble: markers, line ends, surrogates, cuts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis import strategies as st

from chogori.chat import Delta, Message, MessageBuilder

T = TypeVar("T")

TROUBLE = [
    "\n",
    "\r",
    "\r\n",
    "\x85",
    "\u2028",
    "\x0b",
    '"',
    "\\",
    "<",
    "|",
    "data:",
    ":",
    "é",
    "漢",
    "😀",
]
MARKERS = [
    "<think>",
    "</think>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
    "functions.add:0",
    '{"a": 1}',
    "<|tool_c",
    " ",
]

texts = st.lists(st.sampled_from(TROUBLE) | st.text(max_size=5), max_size=8).map("".join)
marked_texts = st.lists(
    st.sampled_from(MARKERS) | st.sampled_from(TROUBLE) | st.text(max_size=3), max_size=12
).map("".join)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9**9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
arguments = st.dictionaries(texts, json_values, max_size=4).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)


def cut(whole: T, draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[T]:
    """`whole`, text or bytes, in pieces; some of them empty."""
    sized: Any = whole
    places: list[int] = sorted(draw(st.lists(st.integers(0, len(sized)), max_size=12)))
    ends = [0, *places, len(sized)]
    return [sized[start:stop] for start, stop in pairwise(ends)]


def folded(deltas: Sequence[Delta]) -> Message:
    """The message that deltas build."""
    builder = MessageBuilder()
    for delta in deltas:
        builder.add(delta)
    return builder.message
