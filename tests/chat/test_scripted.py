"""The model that says what it was told to say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import (
    Conversation,
    Delta,
    Finished,
    Message,
    Reply,
    ScriptedModel,
    TextDelta,
    ToolCall,
    assistant,
    read_script,
    system,
    user,
)
from chogori.errors import ConfigError, RateLimited, StreamCut
from strategies import folded, json_values, replies, texts

ASKED = Conversation([user("task")])


async def heard(model: ScriptedModel, conversation: Conversation = ASKED) -> list[Delta]:
    return [delta async for delta in model.stream(conversation)]


async def reply(model: ScriptedModel, conversation: Conversation = ASKED) -> Message:
    return folded(await heard(model, conversation))


def lines(tmp_path: Path, *written: Any) -> Path:
    path = tmp_path / "script.jsonl"
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in written)
    path.write_text(text, encoding="utf-8")
    return path


@given(st.lists(replies, min_size=1, max_size=4))
async def test_a_conversation_gets_the_reply_of_its_position(script: list[Message]) -> None:
    model, conversation = ScriptedModel(script), ASKED
    for wanted in script:
        assert await reply(model, conversation) == wanted
        assert await reply(model, conversation) == wanted, "asked again, it says the same"
        conversation = conversation.append(wanted, user("go on"))


async def test_a_stream_ends_with_finished_and_comes_in_words() -> None:
    deltas = await heard(ScriptedModel(["one two\nthree "]))
    assert deltas[:-1] == [TextDelta("one "), TextDelta("two\n"), TextDelta("three ")]
    assert isinstance(deltas[-1], Finished)


async def test_a_resumed_conversation_gets_the_reply_it_was_due() -> None:
    conversation = ASKED.append(assistant("first"), user("?"), assistant("second"), user("?"))
    rebuilt = Conversation(list(conversation))
    model = ScriptedModel(["first", "second", "third"])
    assert (await reply(model, rebuilt)).text == "third"


async def test_a_hundred_conversations_at_once_each_get_their_own_replies() -> None:
    model = ScriptedModel(
        lambda conversation: assistant(f"{conversation[0].text}.{len(conversation)}")
    )
    placed = ScriptedModel([f"reply {position}" for position in range(5)])

    async def talk(number: int) -> tuple[list[str], list[str]]:
        conversation, own, shared = Conversation([user(str(number))]), [], []
        for _ in range(5):
            own.append((await reply(model, conversation)).text)
            shared.append((await reply(placed, conversation)).text)
            conversation = conversation.append(assistant(own[-1]), user("and?"))
        return own, shared

    told = await asyncio.gather(*(talk(number) for number in range(100)))
    for number, (own, shared) in enumerate(told):
        assert own == [f"{number}.{length}" for length in (1, 3, 5, 7, 9)]
        assert shared == [f"reply {position}" for position in range(5)]


async def test_a_match_goes_before_a_position_and_a_place_before_the_order() -> None:
    script = [
        "in order",
        Reply(message=assistant("placed"), at=0),
        Reply(message=assistant("matched"), match="weather.*Bonn"),
    ]
    model = ScriptedModel(script)
    assert (await reply(model)).text == "placed"
    asked = Conversation([user("the weather\nin Bonn?")])
    assert (await reply(model, asked)).text == "matched"


async def test_the_last_reply_may_serve_every_later_position() -> None:
    model = ScriptedModel(["once", Reply(message=assistant("again"), repeat=True)])
    conversation, told = ASKED, []
    for _ in range(5):
        told.append((await reply(model, conversation)).text)
        conversation = conversation.append(assistant(told[-1]), user("?"))
    assert told == ["once", "again", "again", "again", "again"]


async def test_a_script_that_has_ended_says_what_it_had() -> None:
    with pytest.raises(ConfigError, match=r"no reply for position 1; it has 1 in order, 0 by"):
        await reply(ScriptedModel(["only"]), ASKED.append(assistant("only"), user("?")))


@pytest.mark.parametrize(
    ("fault", "error", "some"),
    [("cut", StreamCut, True), ("refuse", RateLimited, False), ("fail", StreamCut, False)],
)
async def test_a_fault_strikes_where_it_says(fault: Any, error: type, some: bool) -> None:
    model = ScriptedModel([Reply(message=assistant("a b c d"), fault=fault)])
    told: list[Delta] = []

    async def listen() -> None:
        async for delta in model.stream(ASKED):
            told.append(delta)

    with pytest.raises(error):
        await listen()
    assert bool(told) == some
    assert not any(isinstance(delta, Finished) for delta in told)


async def test_a_fault_strikes_only_so_often_at_one_place_of_one_task() -> None:
    model = ScriptedModel([Reply(message=assistant("well"), fault="refuse", times=2, repeat=True)])
    for task in ("one", "two"):
        first = Conversation([system("s"), user(task)])
        for conversation in (first, first.append(assistant("well"), user("?"))):
            for _ in range(2):
                with pytest.raises(RateLimited):
                    await reply(model, conversation)
            for _ in range(3):
                assert (await reply(model, conversation)).text == "well"


async def test_it_remembers_what_it_was_asked() -> None:
    model = ScriptedModel(["a"])
    await reply(model)
    assert [asked.conversation for asked in model.asked] == [ASKED]
    assert await model.count(Conversation([user("three little words")])) == 3
    await model.aclose()


async def test_usage_counts_what_was_read_and_written() -> None:
    last = (await heard(ScriptedModel([assistant("four", reasoning="two and two")])))[-1]
    assert isinstance(last, Finished)
    usage = last.usage
    assert (usage.prompt, usage.completion, usage.reasoning) == (1, 4, 3)


async def test_a_script_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        "// what a comment is",
        {"reasoning": "hm", "calls": [{"name": "add", "arguments": {"a": 1}}]},
        "",
        {"calls": [{"id": "x", "name": "add", "arguments": "not json"}], "fault": "cut"},
        {"content": "5", "at": 2, "delay_seconds": 0.5, "delta_seconds": 1, "times": 3},
        {"content": "rain", "match": "weather", "repeat": True},
    )
    made = ToolCall("call_2_0", "add", '{"a":1}')
    assert read_script(path) == [
        Reply(message=assistant(reasoning="hm", calls=[made])),
        Reply(message=assistant(calls=[ToolCall("x", "add", "not json")]), fault="cut"),
        Reply(message=assistant("5"), at=2, delay_seconds=0.5, delta_seconds=1, times=3),
        Reply(message=assistant("rain"), match="weather", repeat=True),
    ]


script_calls = st.builds(lambda value: [{"name": "f", "arguments": {"v": value}}], json_values)


@given(st.lists(st.tuples(texts, st.none() | texts, script_calls), min_size=1, max_size=4))
def test_no_character_of_a_script_ends_its_line_but_the_line_end(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, str | None, Any]]
) -> None:
    path = tmp_path_factory.mktemp("script") / "script.jsonl"
    raw = [
        json.dumps({"content": text, "reasoning": reasoning, "calls": calls}, ensure_ascii=False)
        for text, reasoning, calls in written
    ]
    path.write_text("\n".join(raw), encoding="utf-8", newline="")
    told = [(reply.message.text, reply.message.reasoning) for reply in read_script(path)]
    assert told == [(text, reasoning) for text, reasoning, _ in written]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        '"text"',
        '{"content": 5}',
        '{"content": ["a"]}',
        '{"reasoning": 5}',
        '{"colour": "red"}',
        '{"calls": [{}]}',
        '{"calls": ["add"]}',
        '{"calls": 5}',
        '{"fault": "explode"}',
        '{"match": "("}',
        '{"match": 5}',
        '{"at": "3"}',
        '{"delay_seconds": "long"}',
        '{"times": 1.5}',
        '{"repeat": "yes"}',
    ],
)
def test_a_line_that_is_no_reply_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    path = lines(tmp_path, {"content": "fine"}, line)
    with pytest.raises(ConfigError, match="line 2: expected a JSON object that is a reply"):
        read_script(path)


def test_a_script_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no script at .*absent: No such file"):
        read_script(tmp_path / "absent")
    with pytest.raises(ConfigError, match="no script at"):
        read_script(tmp_path)
    (tmp_path / "binary").write_bytes(b'{"content": "\xff"}')
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_script(tmp_path / "binary")
