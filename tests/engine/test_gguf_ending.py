"""A reply that is held to a form ends validly before its tokens run out, or not at all."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chogori.chat import (
    ChatModel,
    ChecksRequests,
    Conversation,
    Finished,
    HasSlots,
    ImagePart,
    JsonFormat,
    Message,
    NamedTool,
    Options,
    TextDelta,
    ToolCall,
    ToolSpec,
    assistant,
    tool_result,
    user,
)
from chogori.chat.schema import Cursor, Grammar, compiled
from chogori.engine.gguf import GgufModel
from chogori.engine.gguf.draft import Draft
from chogori.engine.gguf.ending import Guard
from chogori.errors import ModelUnavailable, RequestError, SchemaError
from chogori.presets.models import KNOWN_MODELS
from strategies import folded
from writing import lines_of, write

BOOKING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2},
        "nights": {"type": "integer", "minimum": 1, "maximum": 30},
        "guests": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": "^[A-Z][a-z]+$"},
                    "age": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
                },
                "required": ["name", "age"],
                "additionalProperties": False,
            },
        },
        "next": {"$ref": "#"},
    },
    "required": ["city", "nights", "guests"],
    "additionalProperties": False,
}
BOOK = ToolSpec("book", "Book a room.", BOOKING)
ASKED = Conversation([user("Book a room in Lisbon for Ann and Bob, three nights.")])
CALL = ToolCall("functions.book:0", "book", '{"city":"Lisbon","nights":3,"guests":[]}')
ANSWERED = ASKED.append(assistant(calls=[CALL]), tool_result(CALL, "There is no guest."))
HELD = compiled(BOOKING)
LEAST = len(Cursor(Grammar((HELD.start,), HELD.rules)).ending() or "")
PROFILE = KNOWN_MODELS["smollm2"].profile


async def chunks_of(pieces: list[str], limit: int) -> AsyncIterator[dict[str, Any]]:
    """What llama.cpp reports of a reply in these pieces, a character a token."""
    written = 0
    for piece in pieces:
        written += len(piece)
        if written > limit:
            yield {"choices": [{"delta": {}, "finish_reason": "length"}]}
            return
        timings = {"cache_n": 3, "prompt_n": 4, "predicted_n": written}
        yield {"choices": [{"delta": {"content": piece}}], "timings": timings}
    yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}


async def count(text: str) -> int:
    return len(text)


def reply(seed: int) -> str:
    """A whole reply: a model that is held to a grammar says of no other that it stopped."""
    text, is_whole = write(lines_of(HELD), random.Random(seed), limit=300)
    if is_whole:
        return text
    cursor = Cursor(Grammar((HELD.start,), HELD.rules))
    cursor.feed(text)
    return text + (cursor.ending() or "")


async def ended(pieces: list[str], room: int, context: int) -> tuple[str, Draft]:
    draft = Draft(extra={})
    guard = Guard(Grammar((HELD.start,), HELD.rules), count)
    told = draft.guarded(chunks_of(pieces, min(room, context - 7)), guard, room, context)
    return "".join([piece async for piece in told]), draft


@settings(max_examples=60)
@example(room=400, step=9, seed=29, context=10_000)  # longer than the writer goes on
@example(room=298, step=1, seed=22, context=10_000)
@given(st.integers(0, 400), st.integers(1, 9), st.integers(0, 30), st.sampled_from([60, 10_000]))
def test_whatever_room_there_is_the_reply_is_whole_and_fits_or_runs_out(
    room: int, step: int, seed: int, context: int
) -> None:
    text = reply(seed)
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    told, draft = asyncio.run(ended(pieces, room, context))
    finished = draft.finished("stop" if draft.was_ended else None)
    left = min(room, context - 7)
    assert len(told) <= left
    if left >= LEAST and finished.reason == "stop":
        jsonschema.validate(json.loads(told), BOOKING)
        assert finished.usage.completion == len(told), "our own tokens count like the model's"
    if left >= LEAST and len(text) > left:
        assert finished.reason == "stop", "where a whole fits there is one"
    if len(text) <= left:
        assert (told, finished.reason) == (text, "stop"), "what fits is told as it is"
    if left < LEAST:
        assert finished.reason == "length"
        assert text.startswith(told), "nothing is forced that does not fit"


@pytest.mark.parametrize("text", ['{"city":5', "Sure! {"])
def test_a_reply_that_leaves_its_form_is_an_error(text: str) -> None:
    async def admits(has_code: bool) -> bool:
        guard = Guard(Grammar((HELD.start,), HELD.rules), count, has_code=has_code)
        return all([await guard.admit(char, n, 10_000) for n, char in enumerate(text, start=1)])

    with pytest.raises(ModelUnavailable, match="does not hold the reply to its form"):
        asyncio.run(admits(False))
    assert asyncio.run(admits(True)), "code is in no grammar"


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[GgufModel]:
    made = GgufModel(smollm2, PROFILE)
    yield made
    asyncio.run(made.aclose())


async def heard(model: ChatModel, *asked: Any) -> tuple[Message, Finished]:
    deltas = [delta async for delta in model.stream(*asked)]
    finished = deltas[-1]
    assert isinstance(finished, Finished)
    return folded(deltas), finished


@pytest.mark.parametrize(("tokens", "seed"), [(26, 1), (33, 2), (60, 3)])
async def test_an_answer_in_json_is_whole_whatever_the_limit(
    model: GgufModel, tokens: int, seed: int
) -> None:
    options = Options(
        response_format=JsonFormat(BOOKING),
        max_tokens=tokens,
        temperature=1.2,
        seed=seed,
        logprobs=0,
    )
    message, finished = await heard(model, ASKED, (), options)
    assert finished.reason == "stop"
    assert finished.usage.completion <= tokens
    assert not set("\n\t") & set(message.text)
    jsonschema.validate(json.loads(message.text), BOOKING)
    said = "".join(token["token"] for token in message.extra.get("logprobs", []))
    assert message.text.startswith(said), "log-probabilities are told of what the model wrote"


@pytest.mark.parametrize("tokens", [50, 75])
async def test_a_call_is_whole_whatever_the_limit(model: GgufModel, tokens: int) -> None:
    options = Options(
        tool_choice=NamedTool("book"), max_tokens=tokens, temperature=1.0, seed=tokens
    )
    message, finished = await heard(model, ASKED, [BOOK], options)
    (call,) = message.tool_calls
    jsonschema.validate(json.loads(call.arguments), BOOKING)
    assert finished.reason == "tool_calls"
    assert finished.usage.completion <= tokens


@pytest.mark.parametrize("tokens", [55, 80])
async def test_a_call_after_an_output_is_whole_too(model: GgufModel, tokens: int) -> None:
    options = Options(tool_choice="required", max_tokens=tokens, temperature=1.0, seed=tokens)
    message, finished = await heard(model, ANSWERED, [BOOK], options)
    (call,) = message.tool_calls
    jsonschema.validate(json.loads(call.arguments), BOOKING)
    assert "No." not in (message.reasoning or "") + message.text, "the word before it is not told"
    assert (finished.reason, finished.usage.completion <= tokens) == ("tool_calls", True)


@pytest.mark.parametrize(("tokens", "seed"), [(45, 1), (60, 2), (60, 3), (80, 4)])
async def test_after_an_output_an_answer_in_json_or_a_call_is_whole(
    model: GgufModel, tokens: int, seed: int
) -> None:
    format = JsonFormat(BOOKING)
    options = Options(response_format=format, max_tokens=tokens, temperature=1.2, seed=seed)
    message, finished = await heard(model, ANSWERED, [BOOK], options)
    told = message.tool_calls[0].arguments if message.tool_calls else message.text
    jsonschema.validate(json.loads(told), BOOKING)
    assert finished.usage.completion <= tokens


async def test_where_not_even_the_shortest_fits_there_is_no_call_and_no_stop(
    model: GgufModel,
) -> None:
    options = Options(tool_choice="required", max_tokens=9)
    message, finished = await heard(model, ASKED, [BOOK], options)
    assert message.tool_calls == ()
    assert finished.reason == "length"
    options = Options(response_format=JsonFormat(BOOKING), max_tokens=9)
    message, finished = await heard(model, ASKED, (), options)
    assert finished.reason == "length"
    assert finished.usage.completion == 9


async def test_any_object_will_do_where_no_schema_is_given(model: GgufModel) -> None:
    options = Options(response_format=JsonFormat(), max_tokens=30, temperature=1.0, seed=4)
    message, finished = await heard(model, ASKED, (), options)
    assert isinstance(json.loads(message.text), dict)
    assert finished.reason == "stop"


async def test_a_request_that_leaves_while_its_prompt_is_read_frees_the_slot(
    model: GgufModel,
) -> None:
    assert isinstance(model, HasSlots)
    long = Conversation([user("word " * 1_500)])
    reading = asyncio.ensure_future(anext(aiter(model.stream(long, (), Options(max_tokens=3)))))
    while model.active == 0:
        await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert model.active == 0
    message, _ = await heard(model, ASKED, (), Options(max_tokens=2))
    assert message.text
    assert (model.slots, model.active) == (1, 0)


async def test_a_stop_word_ends_an_answer_that_was_given_among_tools(model: GgufModel) -> None:
    whole = Options(tool_choice="none", max_tokens=12, temperature=0.0)
    message, _ = await heard(model, ASKED, [BOOK], whole)
    word = message.text.split()[-1]
    cut = Options(tool_choice="none", max_tokens=12, temperature=0.0, stop=(word,))
    shorter, finished = await heard(model, ASKED, [BOOK], cut)
    assert shorter.text == message.text[: message.text.index(word)]
    assert finished.reason == "stop"


PICTURE = Conversation([user([ImagePart("data:image/png;base64,AAAA")])])
UNHELD = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


@pytest.mark.parametrize(
    ("conversation", "tools", "options", "param"),
    [
        (PICTURE, (), Options(), "messages.0.content"),
        (ASKED, (), Options(tool_choice="required"), "tool_choice"),
        (ASKED, (BOOK,), Options(tool_choice=NamedTool("bake")), "tool_choice"),
        (ASKED, (), Options(response_format=JsonFormat(), prefill="{"), "messages"),
        (ASKED, (BOOK,), Options(tool_choice="required", prefill="I"), "messages"),
        (ASKED, (), Options(response_format=JsonFormat(), stop=("}",)), "stop"),
        (ASKED, (BOOK,), Options(response_format=JsonFormat(), stop=("}",)), "stop"),
        (
            ASKED,
            (BOOK, ToolSpec("tag", "Tag.", {"type": "object", "properties": {"tags": UNHELD}})),
            Options(),
            "tools.1.function.parameters",
        ),
        (
            ASKED,
            (),
            Options(response_format=JsonFormat(UNHELD)),
            "response_format.json_schema.schema",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused_before_a_model_is_read(
    tmp_path: Path, conversation: Conversation, tools: Any, options: Options, param: str
) -> None:
    model = GgufModel(tmp_path / "there is none.gguf", PROFILE)
    assert isinstance(model, ChecksRequests)
    with pytest.raises(RequestError) as refused:
        model.check(conversation, tools, options)
    assert refused.value.param == param
    with pytest.raises(type(refused.value)):
        await anext(aiter(model.stream(conversation, tools, options)))


def test_a_schema_that_is_refused_is_told_with_keyword_and_place(tmp_path: Path) -> None:
    model = GgufModel(tmp_path / "there is none.gguf", PROFILE)
    with pytest.raises(SchemaError) as refused:
        model.check(ASKED, (), Options(response_format=JsonFormat({"items": UNHELD})))
    assert (refused.value.keyword, refused.value.path) == ("uniqueItems", "/items")


async def test_a_reply_that_is_begun_goes_on_as_text_beside_tools(model: GgufModel) -> None:
    options = Options(prefill="The answer is", max_tokens=4, temperature=0.0)
    deltas = [delta async for delta in model.stream(ASKED, [BOOK], options)]
    assert any(isinstance(delta, TextDelta) for delta in deltas)
    assert not folded(deltas).reasoning
