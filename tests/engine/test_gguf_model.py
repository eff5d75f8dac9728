"""A real model of 135 million weights through llama.cpp: small enough for every test run."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from gguf_goldens import BOTH, PYTHON, READ_FILE

from chogori.chat import (
    ChatModel,
    Conversation,
    Delta,
    Finished,
    JsonFormat,
    Message,
    NamedTool,
    Options,
    ReasoningDelta,
    TextDelta,
    ToolSpec,
    system,
    tool_result,
    user,
)
from chogori.engine.gguf import GgufModel
from chogori.errors import ConfigError, ContextTooLong, ModelFileError
from chogori.presets.models import KNOWN_MODELS
from strategies import folded

PROFILE = KNOWN_MODELS["smollm2"].profile
HELLO = Conversation([system("Be brief."), user("Say hello.")])
TEA = Conversation([user("Four cups of tea for table B7, please. Write the block at once.")])
ORDER = ToolSpec(
    "order",
    "Order a drink.",
    {
        "type": "object",
        "properties": {
            "drink": {"enum": ["tea", "coffee", "water"]},
            "cups": {"type": "integer", "minimum": 3, "maximum": 12},
            "sizes": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1, "maximum": 9},
                "minItems": 2,
                "maxItems": 3,
            },
            "table": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "pattern": "^[A-F][0-9]{1,2}$"},
                    "outside": {"type": "boolean"},
                },
                "required": ["place", "outside"],
                "additionalProperties": False,
            },
        },
        "required": ["drink", "cups", "sizes", "table"],
        "additionalProperties": False,
    },
)
FORCED = Options(tool_choice="required")


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[GgufModel]:
    """One model for all tests of this file: it keeps nothing of the loop it was loaded in."""
    made = GgufModel(smollm2, PROFILE)
    yield made
    asyncio.run(made.aclose())


async def heard(model: ChatModel, *asked: Any) -> tuple[Message, Finished]:
    deltas = [delta async for delta in model.stream(*asked)]
    finished = deltas[-1]
    assert isinstance(finished, Finished), "the last delta is always Finished"
    assert not any(isinstance(delta, Finished) for delta in deltas[:-1])
    return folded(deltas), finished


async def told(model: ChatModel, options: Options, *, tools: Any = ()) -> str:
    return (await heard(model, HELLO, tools, options))[0].text


# Calls


@pytest.mark.parametrize(("temperature", "seed"), [(0.0, 1), (1.0, 1), (1.0, 2), (1.0, 3)])
async def test_every_forced_call_fits_its_schema(
    model: GgufModel, temperature: float, seed: int
) -> None:
    options = replace(FORCED, temperature=temperature, seed=seed)
    message, finished = await heard(model, TEA, [ORDER, READ_FILE], options)
    (call,) = message.tool_calls
    schemas = {spec.name: spec.parameters for spec in (ORDER, READ_FILE)}
    jsonschema.validate(json.loads(call.arguments), schemas[call.name])
    assert finished.reason == "tool_calls"
    assert "```" not in (message.reasoning or "")
    assert message.text == ""


async def test_the_tool_that_is_named_is_called_with_its_code(model: GgufModel) -> None:
    asked = Conversation([user("Print 6 * 7 with Python.")])
    options = Options(tool_choice=NamedTool("python"), max_tokens=400, temperature=0.0)
    message, _ = await heard(model, asked, BOTH, options)
    (call,) = message.tool_calls
    assert (call.name, call.id) == ("python", "functions.python:0")
    arguments = json.loads(call.arguments)
    jsonschema.validate(arguments, PYTHON.parameters)
    assert "`" not in arguments["code"]


async def test_a_call_that_the_limit_cut_short_is_no_call(model: GgufModel) -> None:
    message, finished = await heard(model, HELLO, [ORDER], replace(FORCED, max_tokens=8))
    assert message.tool_calls == ()
    assert finished.reason == "length"


async def test_calls_of_one_conversation_have_ids_of_their_own(model: GgufModel) -> None:
    options = replace(FORCED, temperature=0.0)
    first, _ = await heard(model, TEA, [ORDER], options)
    (call,) = first.tool_calls
    longer = TEA.append(first, tool_result(call, "ordered"), user("Again."))
    second, _ = await heard(model, longer, [ORDER], options)
    assert [c.id for m in (first, second) for c in m.tool_calls] == [
        "functions.order:0",
        "functions.order:1",
    ]


async def test_where_no_call_is_wanted_none_is_made_and_no_mark_shows(model: GgufModel) -> None:
    options = Options(tool_choice="none", max_tokens=30)
    message, _ = await heard(model, HELLO, [ORDER], options)
    assert message.tool_calls == ()
    assert message.reasoning is None
    assert message.text.strip()
    assert "Answer:" not in message.text


async def test_an_unknown_tool_is_refused_before_the_model_is_asked(model: GgufModel) -> None:
    with pytest.raises(ConfigError, match="tool_choice names 'shell'; there are: order"):
        await heard(model, HELLO, [ORDER], Options(tool_choice=NamedTool("shell")))


# Text


async def test_without_tools_it_says_what_it_likes(model: GgufModel) -> None:
    deltas = [d async for d in model.stream(HELLO, (), Options(max_tokens=12))]
    assert len([d for d in deltas if isinstance(d, TextDelta)]) > 1, "it streams"
    assert not any(isinstance(d, ReasoningDelta) for d in deltas)
    assert folded(deltas).text


async def test_a_format_is_kept_with_tools_and_without(model: GgufModel) -> None:
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}, "grade": {"type": "integer"}},
        "required": ["mood", "grade"],
        "additionalProperties": False,
    }
    asked = Options(response_format=JsonFormat(schema), max_tokens=60)
    for tools, options in (((), asked), ((ORDER,), replace(asked, tool_choice="none"))):
        message, finished = await heard(model, HELLO, tools, options)
        jsonschema.validate(json.loads(message.text), schema)
        assert message.reasoning is None
        assert finished.reason == "stop"
    message, finished = await heard(model, HELLO, (ORDER,), asked)
    for call in message.tool_calls:
        jsonschema.validate(json.loads(call.arguments), ORDER.parameters)
    if not message.tool_calls:
        jsonschema.validate(json.loads(message.text), schema)


async def test_the_stream_holds_what_follows_the_prefill(model: GgufModel) -> None:
    asked = Conversation([user("What is the capital of France?")])
    begun = Options(prefill="The capital of France is", max_tokens=5, temperature=0.0)
    message, _ = await heard(model, asked, (), begun)
    assert message.text.startswith(" Paris")


async def test_a_stop_word_ends_the_reply_and_is_not_told(model: GgufModel) -> None:
    whole = await told(model, Options(max_tokens=12, temperature=0.0))
    word = whole.split()[1]
    cut = await told(model, Options(max_tokens=12, temperature=0.0, stop=(word,)))
    assert cut == whole[: whole.index(word)]


async def test_the_same_seed_says_the_same(model: GgufModel) -> None:
    warm = Options(max_tokens=12, temperature=1.5, seed=7)
    assert await told(model, warm) == await told(model, warm)
    others = [await told(model, replace(warm, seed=seed)) for seed in range(4)]
    assert len(set(others)) > 1


# What it reports


async def test_each_token_has_its_log_probability(model: GgufModel) -> None:
    message, finished = await heard(model, HELLO, (), Options(max_tokens=6, logprobs=2))
    written = message.extra["logprobs"]
    assert len(written) == finished.usage.completion == 6
    assert all(token["logprob"] <= 0 for token in written)
    assert all(len(token["top_logprobs"]) == 2 for token in written)
    assert "".join(token["token"] for token in written) == message.text


async def test_no_log_probabilities_are_told_unasked(model: GgufModel) -> None:
    message, _ = await heard(model, HELLO, (), Options(max_tokens=2))
    assert "logprobs" not in message.extra
    assert message.extra["load_seconds"] > 0


@pytest.mark.parametrize("tools", [(), BOTH], ids=["bare", "with tools"])
async def test_the_count_is_what_the_engine_reads(model: GgufModel, tools: Any) -> None:
    asked = HELLO.append(user("漢字 and 😀 <|im_end|> `x` " * 20))
    _, finished = await heard(model, asked, tools, Options(max_tokens=1))
    assert abs(await model.count(asked, tools) - finished.usage.prompt) <= 4


async def test_a_further_step_reads_what_it_adds(model: GgufModel) -> None:
    asked = Conversation([system("You order drinks. " * 20), *TEA])
    first, before = await heard(model, asked, [ORDER], replace(FORCED, temperature=0.0))
    (call,) = first.tool_calls
    longer = asked.append(first, tool_result(call, "ordered"))
    _, after = await heard(model, longer, [ORDER], Options(max_tokens=1))
    assert after.usage.cached >= before.usage.prompt - 4
    assert after.usage.prompt > before.usage.prompt


# Requests that meet


async def test_requests_take_turns_and_each_gets_its_own_reply(model: GgufModel) -> None:
    options = Options(max_tokens=6, temperature=0.0)
    asked = [Conversation([user(f"Say the word {word}.")]) for word in ("tea", "moon", "horse")]
    alone = [(await heard(model, one, (), options))[0].text for one in asked]
    together = await asyncio.gather(*(heard(model, one, (), options) for one in asked))
    assert [message.text for message, _ in together] == alone


async def test_closing_the_stream_frees_the_engine_for_the_next_request(model: GgufModel) -> None:
    endless = Options(max_tokens=1_900, extra={"ignore_eos": True})
    for _ in range(3):
        stream = cast("AsyncGenerator[Delta]", model.stream(HELLO, (), endless))
        assert isinstance(await anext(stream), TextDelta)
        await stream.aclose()
    message, finished = await heard(model, HELLO, (), Options(max_tokens=4))
    assert message.text
    assert finished.usage.completion == 4


async def test_cancelling_a_request_that_waits_its_turn_leaves_the_others(model: GgufModel) -> None:
    endless = Options(max_tokens=1_900, extra={"ignore_eos": True})
    first = cast("AsyncGenerator[Delta]", model.stream(HELLO, (), endless))
    await anext(first)
    second = asyncio.create_task(heard(model, HELLO, (), Options(max_tokens=4)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await first.aclose()
    assert second.cancelled()
    assert (await heard(model, HELLO, (), Options(max_tokens=4)))[0].text


async def test_a_conversation_that_does_not_fit_is_refused_with_both_sizes(
    model: GgufModel,
) -> None:
    with pytest.raises(ContextTooLong, match=r"is 4\d\d\d tokens long and this model reads 2048"):
        await heard(model, Conversation([user("word " * 4_000)]))
    assert await told(model, Options(max_tokens=2)), "and the next one is answered"


# Files


async def test_what_was_read_of_the_system_prompt_is_kept_for_the_next_process(
    smollm2: Path, tmp_path: Path
) -> None:
    states = tmp_path / "states"
    asked = Conversation([system("You are a careful clerk. " * 30), user("Hello.")])
    first, second, third = (GgufModel(smollm2, PROFILE, state_folder=states) for _ in range(3))
    try:
        said, _ = await heard(first, asked, (), Options(max_tokens=5, temperature=0.0))
        (state,) = states.iterdir()
        again, finished = await heard(second, asked, (), Options(max_tokens=5, temperature=0.0))
        assert again.text == said.text
        assert finished.usage.cached > 100, "the system prompt was not read again"
        state.write_bytes(state.read_bytes()[:100])
        after, _ = await heard(third, asked, (), Options(max_tokens=5, temperature=0.0))
        assert after.text == said.text, "a damaged state is made anew"
    finally:
        for made in (first, second, third):
            await made.aclose()


async def test_a_model_that_was_closed_loads_again_and_leaves_no_thread(smollm2: Path) -> None:
    model = GgufModel(smollm2, PROFILE)
    await model.aclose()
    for _ in range(2):
        assert await told(model, Options(max_tokens=2))
        await model.aclose()
    assert not [thread for thread in threading.enumerate() if thread.name == "llama"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no model file at .*model.gguf"),
        (b"", "is not a GGUF file: it does not begin with 'GGUF'"),
        (b"<html>please log in</html>", "is not a GGUF file"),
        (b"GGUF" + b"\0" * 100, "llama.cpp cannot load .*model.gguf"),
    ],
    ids=["absent", "empty", "a page", "garbage"],
)
async def test_what_is_no_model_is_refused_with_its_path(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=told):
        await heard(GgufModel(path, PROFILE), HELLO)


async def test_a_truncated_model_is_refused(tmp_path: Path, smollm2: Path) -> None:
    path = tmp_path / "model.gguf"
    with smollm2.open("rb") as whole:
        path.write_bytes(whole.read(8_000_000))
    with pytest.raises(ModelFileError, match=r"llama\.cpp cannot load"):
        await heard(GgufModel(path, PROFILE), HELLO)
