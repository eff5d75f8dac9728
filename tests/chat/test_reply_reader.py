"""Replies of Kimi models taken apart as they stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import Message, ToolCall, ToolCallDelta, ToolSpec, assistant
from chogori.chat.markers import (
    ARGUMENTS_BEGIN,
    CALL_BEGIN,
    CALL_END,
    REPLY_MARKERS,
    SECTION_BEGIN,
    SECTION_END,
    THINK_BEGIN,
    THINK_END,
    Marker,
)
from chogori.chat.reply_reader import ReplyReader
from chogori.chat.templates import K2_THINKING, Piece
from chogori.chat.token_reader import TokenReader
from kimi_strategies import NANO_TOKENIZER, kimi_texts
from strategies import arguments, cut, folded, names, texts

CALLING = (
    *(marker.text for marker in REPLY_MARKERS[2:]),
    "<|tool_call_section_begin|>",
    "<|tool_call_section_end|>",
)
TOOLS = (
    ToolSpec("f", "", {"type": "object", "properties": {"a": {}, "b": {}}}),
    ToolSpec("weather.now", "", {"type": "object", "properties": {"city": {}}}),
)

pieces: st.SearchStrategy[Piece] = (
    st.sampled_from(REPLY_MARKERS) | kimi_texts | st.sampled_from(["functions.f:0", '{"a": 1}'])
)
streams = st.lists(pieces, max_size=12)
switches = st.fixed_dictionaries({"reasons": st.booleans()})
WELL_FORMED = (
    *(SECTION_BEGIN, CALL_BEGIN, "functions.f:0", ARGUMENTS_BEGIN, '{"a": 1}', CALL_END),
    SECTION_END,
)
CALLED = ToolCall("functions.f:0", "f", '{"a": 1}')


def read(stream: Sequence[Piece], *, cut_short: bool = False, **options: Any) -> Message:
    """The message of a stream."""
    reader = ReplyReader(**options)
    deltas = [
        delta
        for piece in stream
        for delta in (reader.mark(piece) if isinstance(piece, Marker) else reader.feed(piece))
    ]
    return folded([*deltas, *reader.end(cut_short=cut_short)])


def written_out(stream: Sequence[Piece]) -> str:
    return "".join(piece.text if isinstance(piece, Marker) else piece for piece in stream)


@given(streams, switches, st.booleans(), st.data())
def test_a_reply_does_not_depend_on_how_it_was_cut(
    stream: list[Piece], options: dict[str, Any], cut_short: bool, data: st.DataObject
) -> None:
    whole = read(stream, cut_short=cut_short, tools=TOOLS, **options)
    in_pieces: list[Piece] = []
    for piece in stream:
        in_pieces += [piece] if isinstance(piece, Marker) else cut(piece, data.draw)
    assert read(in_pieces, cut_short=cut_short, tools=TOOLS, **options) == whole


@given(streams, switches, st.data())
def test_a_reply_in_which_markers_are_written_out_does_not_depend_on_how_it_was_cut(
    stream: list[Piece], options: dict[str, Any], data: st.DataObject
) -> None:
    text = written_out(stream)
    whole = read([text], tools=TOOLS, **options)
    assert read(cut(text, data.draw), tools=TOOLS, **options) == whole
    assert read(list(text), tools=TOOLS, **options) == whole


@given(streams, switches, st.booleans())
def test_no_marker_of_a_call_comes_out_as_text(
    stream: list[Piece], options: dict[str, Any], is_text: bool
) -> None:
    message = read([written_out(stream)] if is_text else stream, tools=TOOLS, **options)
    told = [message.text, message.reasoning or ""]
    if is_text:
        told += [call.arguments for call in message.tool_calls]
    assert [name for name in CALLING for text in told if name in text] == []


@given(st.lists(pieces.filter(lambda piece: piece != THINK_END), max_size=12), streams)
def test_calls_that_are_rehearsed_in_reasoning_are_never_told(
    thought: list[Piece], said: list[Piece]
) -> None:
    thought = [
        piece if isinstance(piece, Marker) else piece.replace("</", "< /") for piece in thought
    ]
    message = read([*thought, THINK_END, *said], reasons=True, tools=TOOLS)
    assert message.tool_calls == read([THINK_BEGIN, THINK_END, *said], tools=TOOLS).tool_calls


plain = texts.map(lambda text: text.replace("<", "[").strip())
replies = st.builds(
    lambda text, reasoning, given: assistant(
        text,
        reasoning=reasoning,
        calls=[
            ToolCall(f"functions.{name}:{at}", name, text) for at, (name, text) in enumerate(given)
        ],
    ),
    plain,
    plain,
    st.lists(st.tuples(names, arguments), max_size=3),
)


@given(replies, st.integers(1, 5))
def test_what_a_template_writes_is_read_back_token_by_token(reply: Message, width: int) -> None:
    ids: list[int] = []
    for piece in K2_THINKING.body(reply, reasons=True):
        is_marker = isinstance(piece, Marker)
        ids += [NANO_TOKENIZER.id_of(piece)] if is_marker else NANO_TOKENIZER.encode(piece)
    reader = TokenReader(NANO_TOKENIZER, reasons=True)
    deltas = [
        delta for at in range(0, len(ids), width) for delta in reader.feed(ids[at : at + width])
    ]
    assert folded([*deltas, *reader.end()]) == reply
    assert reader.has_calls == bool(reply.tool_calls)


def test_tokens_that_belong_to_no_reply_are_left_out() -> None:
    ids = NANO_TOKENIZER.encode("é[BOS]<|im_user|>è<|im_end|>", special=True)
    reader = TokenReader(NANO_TOKENIZER)
    deltas = [delta for id in ids for delta in reader.feed([id])]
    assert folded([*deltas, *reader.end()]) == assistant("éè")


def test_names_of_tokens_that_are_written_as_text_stay() -> None:
    reader = TokenReader(NANO_TOKENIZER)
    deltas = reader.feed(NANO_TOKENIZER.encode("write <|im_end|> and <think>"))
    assert folded([*deltas, *reader.end()]) == assistant("write <|im_end|> and <think>")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("<think>why</think>so", {}, assistant("so", reasoning="why")),
        ("why</think>\n\nso", {"reasons": True}, assistant("so", reasoning="why")),
        ("why</thinking>so", {"reasons": True}, assistant("so", reasoning="why")),
        (" \n<think>why</think>so", {"reasons": True}, assistant("so", reasoning="why")),
        ("</think>so", {"reasons": True}, assistant("so", reasoning="")),
        ("all of it", {"reasons": True}, assistant(reasoning="all of it")),
        ("", {"reasons": True}, assistant(reasoning="")),
        ("", {}, assistant()),
        ("so", {}, assistant("so")),
        (" so\n", {}, assistant(" so\n")),
        ("so <think> it is", {}, assistant("so <think> it is")),
        ("(no content)", {}, assistant()),
        ("(no content) yet", {}, assistant("(no content) yet")),
    ],
)
def test_reasoning_ends_where_text_begins(
    text: str, options: dict[str, Any], message: Message
) -> None:
    assert read([text], **options) == message


CALL = written_out(WELL_FORMED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CALL, assistant(calls=[CALLED])),
        (f"Let me look.{CALL}", assistant("Let me look.", calls=[CALLED])),
        (f"(no content)\n{CALL}", assistant(calls=[CALLED])),
        (CALL.replace("calls_section", "call_section"), assistant(calls=[CALLED])),
        (CALL.replace(SECTION_BEGIN.text, ""), assistant(calls=[CALLED])),
        (CALL.replace(CALL_END.text, "").replace(SECTION_END.text, ""), assistant(calls=[CALLED])),
        (CALL.replace('{"a": 1}', '\n {"a": 1} \n'), assistant(calls=[CALLED])),
        (f"{CALL}The result is 5.", assistant(calls=[CALLED])),
        (CALL.replace('{"a": 1}', ""), assistant(calls=[ToolCall("functions.f:0", "f", "{}")])),
        (f"a{CALL_END.text}b", assistant("a b")),
        (f"<|tool_call_{CALL_END.text}begin|>", assistant("<|tool_call_ begin|>")),
    ],
)
def test_calls_are_read_as_models_write_them(text: str, message: Message) -> None:
    assert read([text], tools=TOOLS) == message


@pytest.mark.parametrize(
    ("written", "id", "name"),
    [
        ("functions.f:0", "functions.f:0", "f"),
        (" functions.f:12\n", "functions.f:12", "f"),
        ("f:0", "functions.f:3", "f"),
        ("f", "functions.f:3", "f"),
        ("functions.weather.now:0", "functions.weather.now:0", "weather.now"),
        ("functions.tools.f:0", "functions.tools.f:0", "f"),
        ("functions.other.g:0", "functions.other.g:0", "other.g"),
        ("functions.f:1", "functions.f:3", "f"),
        ("7", "functions.f:3", "f"),
        ("call f", "functions.f:3", "f"),
        ("", "functions.f:3", "f"),
    ],
)
def test_a_call_gets_a_name_and_an_id_of_its_own(written: str, id: str, name: str) -> None:
    stream = [*WELL_FORMED[:2], written, *WELL_FORMED[3:]]
    message = read(stream, tools=TOOLS, taken={"functions.f:1"}, calls=3)
    assert message.tool_calls == (ToolCall(id, name, '{"a": 1}'),)


def test_two_calls_with_one_id_are_told_apart() -> None:
    message = read([*WELL_FORMED[:-1], *WELL_FORMED[1:]], tools=TOOLS)
    assert [call.id for call in message.tool_calls] == ["functions.f:0", "functions.f:1"]


def test_a_call_is_told_when_its_arguments_begin() -> None:
    reader = ReplyReader(tools=TOOLS)
    told: list[object] = []
    for piece in WELL_FORMED[:4]:
        told += reader.mark(piece) if isinstance(piece, Marker) else reader.feed(piece)
    assert told == [ToolCallDelta(0, "functions.f:0", "f")]
    assert reader.feed('{"a": ') == [ToolCallDelta(0, arguments='{"a":')]
    assert reader.feed("1}") == [ToolCallDelta(0, arguments=" 1}")]


def test_text_that_reads_like_a_marker_is_text_in_the_arguments_of_a_call() -> None:
    text = json.dumps({"a": f"{CALL_END.text}{CALL}</think>"})
    stream = [*WELL_FORMED[:4], text, *WELL_FORMED[5:]]
    assert read(stream, tools=TOOLS).tool_calls == (ToolCall("functions.f:0", "f", text),)


@pytest.mark.parametrize(
    ("spoil", "reasoning"),
    [
        (lambda call: call + ". No, wait.", 'hm functions.f:0 {"a": 1}  . No, wait.'),
        (lambda call: call.replace("functions.f", "functions.g"), None),
        (lambda call: call.replace("1}", "1"), None),
        (lambda call: call.replace(SECTION_END.text, "so"), None),
    ],
)
def test_what_only_looks_like_a_call_at_the_end_of_reasoning_is_reasoning(
    spoil: Callable[[str], str], reasoning: str | None
) -> None:
    message = read(["hm", spoil(CALL)], reasons=True, tools=TOOLS)
    assert message.tool_calls == ()
    assert message.text == ""
    assert (message.reasoning or "").startswith("hm")
    if reasoning is not None:
        assert (message.reasoning or "").split() == reasoning.split()


def test_a_reply_that_goes_from_reasoning_straight_to_calls_means_them() -> None:
    message = read(["hm ", *WELL_FORMED], reasons=True, tools=TOOLS)
    assert message == assistant(reasoning="hm ", calls=[CALLED])
    assert read(["hm ", *WELL_FORMED[1:-1]], reasons=True, tools=TOOLS) == message
    assert read(["hm ", *WELL_FORMED], reasons=True, tools=TOOLS, cut_short=True).tool_calls == ()


def test_a_call_that_is_cut_short_keeps_what_it_has() -> None:
    assert read(WELL_FORMED[:3], tools=TOOLS, cut_short=True).tool_calls == ()
    begun = read([*WELL_FORMED[:4], '{"a"'], tools=TOOLS, cut_short=True)
    assert begun.tool_calls == (ToolCall("functions.f:0", "f", '{"a"'),)
