"""A reply taken apart as it streams."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chogori.chat import ReasoningDelta, TextDelta
from chogori.engine.gguf.code import mended, python_parses
from chogori.engine.gguf.reader import Block, Reader
from strategies import cut, texts

plain = texts.map(lambda text: text.replace("`", ""))
reasonings = plain.filter(lambda text: text and not text.startswith("Answer:"))
# Line ends within JSON are always escaped, so a fence after one can only be the closing one.
json_bodies = texts.map(lambda text: json.dumps({"name": "f", "arguments": {"text": text}}))


@dataclass(frozen=True)
class Told:
    """What came of a reply."""

    reasoning: str
    answer: str
    block: Block | None


def read(pieces: list[str], *, has_tools: bool = True, is_judged: bool = False) -> Told:
    reader = Reader(has_tools=has_tools, is_judged=is_judged)
    deltas = [delta for piece in pieces for delta in reader.feed(piece)]
    deltas += reader.end()
    reasoning = "".join(d.text for d in deltas if isinstance(d, ReasoningDelta))
    answer = "".join(d.text for d in deltas if isinstance(d, TextDelta))
    return Told(reasoning, answer, reader.block)


def slowly(text: str) -> Told:
    """The obvious reading of a whole reply."""
    if text.startswith("Answer:"):
        return Told("", text.removeprefix("Answer:").removeprefix(" "), None)
    fence = re.search(r"```(\w+)\n", text)
    if fence is None:
        return Told(text, text.strip(), None)
    close = "\n```" if fence[1] == "json" else "```"
    body, closed, _ = text[fence.end() :].partition(close)
    block = Block(fence[1], body.removesuffix("\n")) if closed else None
    return Told(text[: fence.start()], "", block)


@given(texts | st.text(st.sampled_from("`\n Answer:python")), st.data())
def test_it_reads_what_the_obvious_reading_reads_however_it_is_cut(
    text: str, data: st.DataObject
) -> None:
    assert read(cut(text, data.draw)) == slowly(text)
    assert read(list(text)) == slowly(text)


@given(reasonings, st.sampled_from(["python", "bash"]), plain, st.booleans(), st.data())
def test_a_block_of_code_is_a_call_and_what_stands_before_it_is_reasoning(
    reasoning: str, language: str, body: str, ends_its_line: bool, data: st.DataObject
) -> None:
    body = body.rstrip("\n") or "pass"
    end = "\n```" if ends_its_line else "```"
    reply = f"{reasoning}\n```{language}\n{body}{end}"
    told = read(cut(reply, data.draw))
    assert told == Told(f"{reasoning}\n", "", Block(language, body))


@given(reasonings, json_bodies, st.data())
def test_a_call_in_json_may_hold_backticks(reasoning: str, body: str, data: st.DataObject) -> None:
    reply = f"{reasoning}\n```json\n{body}\n```"
    assert read(cut(reply, data.draw)) == Told(f"{reasoning}\n", "", Block("json", body))


@given(reasonings, plain, st.data())
def test_a_block_that_was_cut_short_is_no_call(
    reasoning: str, body: str, data: st.DataObject
) -> None:
    for unfinished in ("", "`", "``"):
        told = read(cut(f"{reasoning}\n```python\n{body}{unfinished}", data.draw))
        assert told == Told(f"{reasoning}\n", "", None)


@given(texts, st.sampled_from(["", " "]), st.data())
@example("```python\nprint(1)\n```", " ", None)
def test_an_answer_may_hold_anything(answer: str, space: str, data: st.DataObject | None) -> None:
    reply = f"Answer:{space}{answer}"
    pieces = list(reply) if data is None else cut(reply, data.draw)
    assert read(pieces).answer == (answer if space else answer.removeprefix(" "))
    assert read(pieces).reasoning == ""
    assert read(pieces).block is None


@given(texts, json_bodies, st.data())
def test_a_yes_or_no_before_it_is_not_told(answer: str, body: str, data: st.DataObject) -> None:
    call, said = f"No.\n```json\n{body}\n```", f"Yes.\nAnswer: {answer}"
    assert read(cut(call, data.draw), is_judged=True) == Told("", "", Block("json", body))
    assert read(cut(said, data.draw), is_judged=True) == Told("", answer, None)
    assert read(cut("No.", data.draw), is_judged=True) == Told("", "", None)


def test_an_answer_streams_as_it_comes() -> None:
    reader = Reader(has_tools=True)
    assert reader.feed("Ans") == []
    assert reader.feed("wer:") == []
    assert reader.feed(" It") == [TextDelta("It")]
    assert reader.feed(" is `5") == [TextDelta(" is `5")]
    assert reader.feed("`.") == [TextDelta("`.")]
    assert reader.end() == []


def test_reasoning_streams_as_it_comes_and_holds_back_what_may_be_a_fence() -> None:
    reader = Reader(has_tools=True)
    assert reader.feed("I add") == [ReasoningDelta("I add")]
    assert reader.feed(" them.\n``") == [ReasoningDelta(" them.\n")]
    assert reader.feed("`pyth") == []
    assert reader.feed("on\nprint(1)\n``") == []
    assert reader.block is None
    assert reader.feed("`") == []
    assert reader.block == Block("python", "print(1)")
    assert reader.before_block == "I add them.\n```python\n"
    assert reader.end() == []


def test_reasoning_without_a_block_is_told_again_as_the_answer() -> None:
    assert read([" Hello", " there. \n"]) == Told(" Hello there. \n", "Hello there.", None)


@given(texts, st.data())
def test_without_tools_every_text_is_the_answer(text: str, data: st.DataObject) -> None:
    assert read(cut(text, data.draw), has_tools=False) == Told("", text, None)


@pytest.mark.parametrize(
    ("code", "parses"),
    [
        ("print(1)", True),
        ("", True),
        (r"'\d'", True),
        ("print(", False),
        ("(" * 1_000 + ")" * 1_000, False),
        ("-" * 100_000 + "1", False),
        ("  x = 1", False),
        ("x = '\x00'", False),
    ],
)
def test_whether_a_draft_is_a_program(code: str, parses: bool) -> None:
    assert python_parses(code) == parses


def test_leading_zeros_that_keep_a_program_from_parsing_are_taken_off() -> None:
    dates = mended(Block("python", "print(date(2010, 02, 09), '0.09', 0.05)"))
    assert dates == "print(date(2010, 2, 9), '0.09', 0.05)"
    fine = Block("python", "print('007', 10)")
    assert mended(fine) == fine.body
