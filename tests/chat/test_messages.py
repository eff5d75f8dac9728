"""Deltas and the messages they build."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import (
    FilePart,
    Finished,
    ImagePart,
    Message,
    MessageBuilder,
    Part,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
    VideoPart,
    assistant,
    content_of,
    deltas_of,
    text_of,
    tool_result,
    user,
)
from strategies import folded, replies, streams, texts

parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, texts),
    st.builds(ImagePart, texts),
    st.builds(VideoPart, texts),
    st.builds(FilePart, texts, texts),
)
usages = st.builds(Usage, *[st.integers(0, 10**9)] * 4)


@given(st.data())
def test_a_message_does_not_depend_on_how_its_stream_was_cut(data: st.DataObject) -> None:
    message = data.draw(replies)
    assert folded(data.draw(streams(message))) == message


@given(replies, usages)
def test_the_deltas_of_a_message_fold_back_into_it(message: Message, usage: Usage) -> None:
    deltas = deltas_of(message, usage)
    assert folded(deltas) == message
    reason = "tool_calls" if message.tool_calls else "stop"
    assert deltas[-1] == Finished(reason, usage), "the last delta is always Finished"


@pytest.mark.parametrize("reasoning", [None, "", "hm"])
def test_no_reasoning_is_not_empty_reasoning(reasoning: str | None) -> None:
    message = assistant("yes", reasoning=reasoning)
    assert folded(deltas_of(message)).reasoning == reasoning
    assert message != assistant("yes", reasoning="other")


@given(st.permutations([0, 1, 2, 3]))
def test_calls_stand_by_their_index_whatever_came_first(order: list[int]) -> None:
    message = folded([ToolCallDelta(i, f"id-{i}", "add", "{}") for i in order])
    assert [call.id for call in message.tool_calls] == ["id-0", "id-1", "id-2", "id-3"]


def test_what_the_engine_adds_becomes_the_messages_extra() -> None:
    message = folded([TextDelta("4"), Finished("stop", extra={"field": "reasoning"})])
    assert message.extra == {"field": "reasoning"}
    assert deltas_of(message)[-1] == Finished("stop", extra={"field": "reasoning"})


def test_a_reply_is_empty_until_something_is_said() -> None:
    builder = MessageBuilder()
    assert builder.is_empty
    builder.add(Finished("stop"))
    assert builder.is_empty
    builder.add(ReasoningDelta(""))
    assert not builder.is_empty, "it reasoned nothing, which is something"


@given(st.lists(parts, max_size=5))
def test_content_is_its_parts_and_their_text(given_parts: list[Part]) -> None:
    content = content_of(given_parts)
    assert content == tuple(given_parts) == content_of(content)
    assert text_of(content) == "".join(p.text for p in given_parts if isinstance(p, TextPart))
    assert user(given_parts).content == content
    for part in given_parts:
        assert content_of(part) == (part,)


def test_the_empty_text_is_no_part() -> None:
    assert content_of("") == ()
    assert user("").content == ()
    assert user("x").content == (TextPart("x"),)


def test_a_result_names_the_call_it_answers() -> None:
    message = tool_result(ToolCall("call-7", "look", "{}"), [TextPart("a"), ImagePart("data:,")])
    assert (message.role, message.tool_call_id, message.name) == ("tool", "call-7", "look")
    assert message.text == "a"


@given(usages, usages, usages)
def test_usage_adds_up_in_any_order(one: Usage, two: Usage, three: Usage) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Usage() == one
