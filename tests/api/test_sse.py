"""Laws of server-sent events."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import cut, json_values, texts

from chogori.api.sse import MOST_BYTES, EventReader, Halves, decode

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


def read(pieces: list[bytes]) -> list[bytes]:
    reader = EventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.close()


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[object]]:
    """Bytes, and the values that their events hold."""
    end = draw(line_ends)
    values = draw(st.lists(json_values, max_size=4))
    out = [draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))]
    for value in values:
        noise = [b": keep-alive", b"event: message", b"id: 7", b"retry: 10"]
        for line in draw(st.lists(st.sampled_from(noise), max_size=2)):
            out += [line, end]
        if draw(st.booleans()):
            out += [noise[0], end, end]
        text = json.dumps(value, ensure_ascii=False, indent=draw(st.sampled_from([None, 1])))
        space = draw(st.sampled_from([b"", b" "]))
        for line in text.split("\n"):
            out += [b"data:", space, line.encode("utf-8", "surrogatepass"), end]
        out.append(end)
    return b"".join(out), values


@given(st.data())
def test_however_the_bytes_are_cut_the_events_are_the_same(data: st.DataObject) -> None:
    stream, values = data.draw(streams())
    events = read(cut(stream, data.draw))
    assert [value for event in events for value in decode(event)] == values


@given(st.data(), st.binary(max_size=60))
def test_even_of_bytes_that_are_no_stream(data: st.DataObject, stream: bytes) -> None:
    assert read(cut(stream, data.draw)) == read([stream])


def test_unicode_line_ends_do_not_cut_json_in_two() -> None:
    text = "a\u2028b\x85c\x0bd\x0ce"
    stream = b"data: " + json.dumps(text, ensure_ascii=False).encode() + b"\n\n"
    assert [decode(event) for event in read([stream])] == [[text]]


def test_an_event_without_its_empty_line_is_still_read() -> None:
    assert read([b'data: {"a":1}']) == [b'{"a":1}']
    assert read([b'data: {"a":1}\n']) == [b'{"a":1}']


def test_events_without_empty_lines_between_are_told_apart() -> None:
    (event,) = read([b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n\n'])
    assert decode(event) == [{"a": 1}, {"b": 2}]


def test_what_is_not_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        decode(b"upstream died")


def test_bytes_that_are_not_utf8_do_not_end_the_stream() -> None:
    assert decode(b'{"a":"\xff"}') == [{"a": "\ufffd"}]


@given(st.data(), texts)
def test_surrogates_cut_apart_are_joined(data: st.DataObject, text: str) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    pairs = [units[at : at + 2] for at in range(0, len(units), 2)]
    halves = Halves()
    pieces = [halves.feed(unit.decode("utf-16-le", "surrogatepass")) for unit in pairs]
    assert "".join(pieces) == text
    assert decode(rb'"\ud83d"') == ["\ud83d"], "a half passes, to be joined with the other"


def test_a_line_that_never_ends_is_refused() -> None:
    reader = EventReader()
    piece = b"x" * (MOST_BYTES // 2)
    reader.feed(piece)
    reader.feed(piece)
    with pytest.raises(ValueError, match="longer than"):
        reader.feed(b"x")
