"""The tool `recall`, called as an agent calls it: with JSON."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chogori.agent.recall import EXCERPT_CHARS, LINE_CHARS, PAGE_CHARS, Record
from chogori.chat import (
    Content,
    ImagePart,
    TextPart,
    ToolCall,
    ToolContext,
    ToolError,
    content_of,
    text_of,
    tool_result,
)
from strategies import texts

CONTEXT = ToolContext("r", ToolCall("c", "recall", "{}"))
PICTURE = ImagePart("data:image/png;base64,AAAA")
_GOES_ON = re.compile(r"\n\[lines \d+ to \d+ of \d+; (?:first_line=(\d+) goes on|the end)\]\Z")
law = settings(max_examples=50)

long_texts = st.lists(
    st.tuples(texts, st.sampled_from([1, 40, LINE_CHARS, 3 * LINE_CHARS])), max_size=4
).map(lambda pieces: "".join(text * times for text, times in pieces)[: 4 * PAGE_CHARS])


def record_of(*results: str | Content, name: str = "read_file", ids: Sequence[str] = ()) -> Record:
    record = Record()
    for number, result in enumerate(results):
        call = ToolCall(ids[number] if ids else f"call-{number}", name, "{}")
        record.add(tool_result(call, result))
    return record


async def recalled(record: Record, **arguments: Any) -> Content:
    return (await record.tool.call(orjson.dumps(arguments).decode(), CONTEXT)).content


async def told(record: Record, **arguments: Any) -> str:
    return text_of(await recalled(record, **arguments))


async def refused(record: Record, **arguments: Any) -> str:
    with pytest.raises(ToolError) as error:
        await recalled(record, **arguments)
    return str(error.value)


async def read_through(record: Record, key: str, lines: int) -> str:
    """A whole result, page by page."""
    pages: list[str] = []
    first: str | None = "1"
    while first is not None:
        page = await told(record, call_id=key, first_line=int(first), lines=lines)
        footer = _GOES_ON.search(page)
        pages.append(page[: footer.start()] if footer else page)
        first = footer[1] if footer else None
        assert len(pages[-1]) <= PAGE_CHARS
    return "".join(pages)


def test_recall_may_run_again_and_asks_nobody() -> None:
    recall = Record().tool
    assert (recall.spec.name, recall.effect, recall.needs_approval) == ("recall", "pure", False)
    assert set(recall.spec.parameters["properties"]) == {"call_id", "query", "first_line", "lines"}
    assert "required" not in recall.spec.parameters


@law
@given(long_texts.filter(bool), st.integers(1, 12))
def test_the_pages_of_a_result_are_the_result(text: str, pages: int) -> None:
    lines = max(1, text.count("\n") // pages)
    assert asyncio.run(read_through(record_of(text), "call-0", lines)) == text


async def test_what_fits_one_page_comes_as_it_is() -> None:
    record = record_of("one\ntwo\n", "")
    assert await told(record, call_id="call-0") == "one\ntwo\n"
    assert await told(record, call_id="call-1") == "(no text)"


async def test_a_page_says_where_it_stands_and_how_to_go_on() -> None:
    record = record_of("a\nb\nc\nd\n")
    first = await told(record, call_id="call-0", lines=2)
    assert first == "a\nb\n\n[lines 1 to 2 of 4; first_line=3 goes on]"
    last = await told(record, call_id="call-0", first_line=4, lines=2)
    assert last == "d\n\n[lines 4 to 4 of 4; the end]"
    none = await told(record, call_id="call-0", lines=0)
    assert none.startswith("a\n\n[lines 1 to 1"), "a page holds at least a line"


async def test_pictures_come_with_the_first_page() -> None:
    record = record_of((TextPart("a\nb"), PICTURE))
    assert await recalled(record, call_id="call-0") == (*content_of("a\nb"), PICTURE)
    assert PICTURE in await recalled(record, call_id="call-0", lines=1)
    assert PICTURE not in await recalled(record, call_id="call-0", first_line=2)
    assert "3 characters and 1 other part" in await told(record)


async def test_a_query_finds_the_lines_that_hold_every_word() -> None:
    record = record_of("Red kites\nblue KITES\nred tape", "the red one: a kite", "kites, read")
    found = await told(record, query="kite RED")
    assert found.splitlines() == [
        "call-0 (read_file), line 1: Red kites",
        "call-1 (read_file), line 1: the red one: a kite",
    ]
    assert "line 2: blue KITES" in await told(record, query="kites", call_id="call-0")
    assert "call-2" not in await told(record, query="kites", call_id="call-0")


@law
@given(st.lists(long_texts, min_size=1, max_size=4), st.data())
def test_any_word_of_any_result_is_found_with_its_call(results: list[str], data: Any) -> None:
    words = [(n, w) for n, text in enumerate(results) for w in text.split() if len(w) < 20]
    if not words:
        return
    number, word = data.draw(st.sampled_from(words))
    found = asyncio.run(told(record_of(*results), query=word, call_id=f"call-{number}"))
    # A word that a very long line was cut in is on neither of its pieces.
    longest = max(map(len, results[number].split("\n")))
    assert found.startswith(f"call-{number} (read_file), line ") or longest > LINE_CHARS


async def test_of_a_long_line_what_stands_round_the_word_is_told() -> None:
    record = record_of("x" * 1_000 + " needle " + "y" * 900)
    found = await told(record, query="needle")
    assert "needle" in found
    assert len(found) < EXCERPT_CHARS + 60


async def test_what_is_not_found_says_what_to_do() -> None:
    record = record_of("a", "b")
    assert await told(record, query="zebra crossing") == (
        "no line of the results (2 were searched) holds all of: zebra crossing. "
        "Fewer words find more"
    )
    assert await told(Record()) == "no tool has returned anything yet"
    assert "there are 1, counted from 1" in await refused(record, call_id="call-0", first_line=2)
    assert "counted from 1" in await refused(record, call_id="call-0", first_line=0)


async def test_an_unknown_id_is_told_which_ids_there_are() -> None:
    assert "the latest of: call-0, call-1." in await refused(record_of("a", "b"), call_id="call-7")
    many = await refused(record_of(*"x" * 300), call_id="nope")
    assert "there are 300" in many
    assert "call-299" in many
    assert len(many) < 500
    assert "no tool has returned anything yet" in await refused(Record(), call_id="call-0")


async def test_without_arguments_all_results_are_listed_in_pages() -> None:
    record = record_of(*(str(n) * n for n in range(300)))
    first = await told(record)
    assert first.startswith("call-0 (read_file): 0 characters\ncall-1 (read_file): 1 character\n")
    assert "[lines 1 to 200 of 300; first_line=201 goes on]" in first
    assert "call-299 (read_file): 897 characters" in await told(record, first_line=201)
    assert await told(record, call_id="", query=" ") == first, "an empty argument is none"


async def test_an_id_that_came_again_has_a_key_of_its_own() -> None:
    record = record_of("first", "second", "other", "third", ids=["read:0", "read:0", "a", "read:0"])
    assert await told(record, call_id="read:0#2") == "second"
    assert await told(record, call_id="read:0#3") == "third"
    first = await told(record, call_id="read:0")
    assert first == "first\n[the id came again: read:0#2, read:0#3]"


async def test_keys_are_unique_whatever_the_ids_are() -> None:
    ids = ["a", "a#2", "a", "a", "a#2"]
    record = Record()
    keys = [record.add(tool_result(ToolCall(id, "t", "{}"), id)) for id in ids]
    assert len(set(keys)) == len(ids)


async def test_what_recall_returned_is_not_searched_again() -> None:
    record = record_of("the needle")
    record.add(tool_result(ToolCall("again", "recall", "{}"), "call-0, line 1: the needle"))
    assert "again" not in await told(record, query="needle")
    assert "again" not in await told(record)
    assert "needle" in await told(record, call_id="again")
