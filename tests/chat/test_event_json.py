"""The schema of `--json` and of kept runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import (
    Answer,
    Claim,
    Conversation,
    Event,
    FilePart,
    Finished,
    FromSubagent,
    ImagePart,
    Message,
    ReplyFinished,
    RunStarted,
    TextDelta,
    TextPart,
    ToolCall,
    ToolFinished,
    Usage,
    VideoPart,
    Waiting,
    user,
)
from chogori.chat.event_json import decode, encode, from_line, to_line
from chogori.errors import ConfigError

texts = st.text(st.sampled_from('ab \n\r\x85\u2028"\\<|>\x00\x1b\U0001f40d')) | st.text()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
extras = st.dictionaries(texts, json_values, max_size=3)
parts = st.one_of(
    st.builds(TextPart, texts),
    st.builds(ImagePart, texts),
    st.builds(VideoPart, texts),
    st.builds(FilePart, texts, texts),
)
contents = st.lists(parts, max_size=3).map(tuple)
calls = st.builds(ToolCall, texts, texts, texts)
seconds = st.floats(0, 1e6)
counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts)
messages = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    contents,
    st.none() | texts,
    st.lists(calls, max_size=2).map(tuple),
    st.none() | texts,
    st.none() | texts,
    extras,
)
GIVEN: dict[str, st.SearchStrategy[Any]] = {
    "agent": extras,
    "call": calls,
    "calls": st.lists(calls, max_size=2).map(tuple),
    "claims": st.lists(
        st.builds(Claim, texts, st.sampled_from(["supported", "unsupported"]), texts), max_size=3
    ).map(tuple),
    "content": contents,
    "conversation": st.just(Conversation([user("left out")])),
    "dollars": st.none() | seconds,
    "extra": extras,
    "first_token_seconds": seconds,
    "message": messages,
    "seconds": seconds,
    "task": contents,
    "tokens_per_second": seconds,
    "tools": st.lists(texts, max_size=3).map(tuple),
    "usage": usages,
}


def some(kind: type) -> st.SearchStrategy[Any]:
    names = kind.__dataclass_fields__  # pyright: ignore[reportAttributeAccessIssue]
    given_here = {name: GIVEN[name] for name in names if name in GIVEN}
    strings = {
        name: texts for name in names if name not in GIVEN and names[name].type in ("str", str)
    }
    return st.builds(kind, **given_here, **strings)


told_alone = st.one_of([some(kind) for kind in get_args(Event) if kind is not FromSubagent])
events = told_alone | st.builds(FromSubagent, texts, texts, told_alone)


def without_conversation(event: Any) -> Any:
    empty = Conversation()
    if isinstance(event, FromSubagent):
        return replace(event, event=without_conversation(event.event))
    return replace(event, conversation=empty) if isinstance(event, Answer | Waiting) else event


@given(events, st.integers(0, 2**40))
def test_every_event_comes_back_from_json_as_it_was(event: Any, sequence: int) -> None:
    line = to_line(event, sequence)
    assert line.count(b"\n") == 1, "one event is one line"
    assert from_line(line) == (sequence, without_conversation(event))
    assert decode(orjson.loads(line)) == from_line(line)


def test_the_golden_line() -> None:
    event = ToolFinished(ToolCall("c1", "add", "{}"), (TextPart("4"),), False, 0.5, "pure")
    assert encode(event, 7) == {
        "version": 2,
        "sequence": 7,
        "type": "tool_finished",
        "call": {"id": "c1", "name": "add", "arguments": "{}"},
        "content": [{"type": "text", "text": "4"}],
        "failed": False,
        "seconds": 0.5,
        "effect": "pure",
        "extra": {},
    }


def test_what_version_1_wrote_is_read() -> None:
    line = b'{"version": 1, "sequence": 4, "type": "text_delta", "text": "4"}'
    assert from_line(line) == (4, TextDelta("4"))


def test_an_answer_is_told_without_its_conversation() -> None:
    answer = Answer("4", "run", "answer", Conversation([user("2+2?")]))
    assert "conversation" not in encode(answer, 0)


@pytest.mark.parametrize(
    "event",
    [
        TextDelta("half a pair: \ud83d"),
        Finished("stop", extra={"big": 2**80}),
        RunStarted("r", (TextPart("\udcff"),), "m"),
    ],
)
def test_what_orjson_cannot_write_is_written_all_the_same(event: Any) -> None:
    assert from_line(to_line(event, 3)) == (3, event)


def test_an_object_of_an_adapters_own_is_written_as_text() -> None:
    _, event = from_line(to_line(Finished("stop", extra={"it": {1}}), 0))
    assert isinstance(event, Finished)
    assert event.extra == {"it": "{1}"}


def test_a_field_that_is_not_known_is_passed_over() -> None:
    assert decode({**encode(TextDelta("a"), 1), "colour": "red"}) == (1, TextDelta("a"))


def test_a_missing_field_keeps_its_default() -> None:
    line = encode(ReplyFinished(user("a"), Usage(), 1.0, 0.5, 3.0), 1)
    del line["message"]["extra"]
    assert decode(line)[1] == ReplyFinished(user("a"), Usage(), 1.0, 0.5, 3.0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"version": 3, "sequence": 0, "type": "x"}, "version 3; this chogori reads up to 2"),
        ({"version": 1, "sequence": 0, "type": "nope"}, "'nope' is no type of event"),
        ({"version": 1, "sequence": 0, "type": []}, "is no type of event"),
        ({"sequence": 0}, "no version"),
        ({"version": 1, "sequence": 0, "type": "text_delta"}, "damaged"),
        ({"version": 1, "sequence": 0, "type": "tool_started", "call": 4}, "damaged"),
    ],
)
def test_what_is_no_event_is_refused_with_a_sentence(line: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        decode(line)


@pytest.mark.parametrize("line", [b"", b"[1]", b'{"version": 1, "seq', b"\xff"])
def test_a_damaged_line_is_refused_with_a_sentence(line: bytes) -> None:
    with pytest.raises(ConfigError, match="this is"):
        from_line(line)
