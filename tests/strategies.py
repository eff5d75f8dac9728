"""Hypothesis strategies for the system's own words, leaning towards what breaks them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis import strategies as st

from chogori.chat import (
    Delta,
    Message,
    MessageBuilder,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    assistant,
    system,
    user,
)

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]

# Line ends, quotes and markup; what formats, fences and templates are made of; wide characters.
TROUBLE = [
    *'\n\r\t\x0b\x1c\x85\u2028\u2029"\\<|>{}`:',
    *("\r\n", "data:", "```", "```python\n", "\n```", "Answer:"),
    *("é", "漢", "😀", "e\u0301", "\x00", "1,000"),
]
texts = st.lists(st.sampled_from(TROUBLE) | st.text(max_size=5), max_size=8).map("".join)
names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9**9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
arguments = st.dictionaries(texts, json_values, max_size=4).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)
tool_calls = st.builds(ToolCall, id=names, name=names, arguments=arguments | texts)
replies = st.builds(
    assistant,
    texts,
    reasoning=st.none() | texts,
    calls=st.lists(tool_calls, max_size=3),
)
tool_results = st.builds(
    lambda text, name: Message("tool", user(text).content, tool_call_id=name), texts, names
)
messages = st.one_of(st.builds(system, texts), st.builds(user, texts), replies, tool_results)


def cut(whole: T, draw: Draw) -> list[T]:
    """`whole`, text or bytes, in pieces; some of them empty."""
    sized: Any = whole
    places: list[int] = sorted(draw(st.lists(st.integers(0, len(sized)), max_size=12)))
    ends = [0, *places, len(sized)]
    return [sized[start:stop] for start, stop in pairwise(ends)]


@st.composite
def streams(draw: st.DrawFn, message: Message) -> list[Delta]:
    """`message` as some model might stream it; parallel calls interleave."""
    deltas: list[Delta] = []
    if message.reasoning is not None:
        deltas += [ReasoningDelta(piece) for piece in cut(message.reasoning, draw)]
    deltas += [TextDelta(piece) for piece in cut(message.text, draw)]
    lanes: list[list[Delta]] = [
        [
            ToolCallDelta(index, call.id, call.name),
            *(ToolCallDelta(index, arguments=piece) for piece in cut(call.arguments, draw)),
        ]
        for index, call in enumerate(message.tool_calls)
    ]
    while lanes := [lane for lane in lanes if lane]:
        deltas.append(draw(st.sampled_from(lanes)).pop(0))
    return deltas


def folded(deltas: Sequence[Delta]) -> Message:
    """The message that deltas build."""
    builder = MessageBuilder()
    for delta in deltas:
        builder.add(delta)
    return builder.message
