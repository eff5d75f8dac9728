"""The OpenAI package for Python against our server, as programs for Kimi use it.

Only the base URL and the key are ours. What a script says is known; of SmolLM2, which seldom says
anything right, only the form is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel, Field

from chogori.service import Grant
from e2e.conftest import THINKS, key_for
from served import Served

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 40}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "How much is 17 times 23?"},
]


@pytest.fixture(params=["scripted", "embedded"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[OpenAI, str]]:
    """A client, and a model to name."""
    server: Served = request.getfixturevalue(request.param)
    model = THINKS if request.param == "scripted" else "smollm2"
    with client_of(server) as client:
        yield client, model


def client_of(server: Served, **more: Any) -> OpenAI:
    return OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0, **more)


def test_a_plain_completion(asked: tuple[OpenAI, str]) -> None:
    client, model = asked
    completion = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=8)
    [choice] = completion.choices
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert completion.model == model
    usage = completion.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    if model == THINKS:
        assert choice.message.content == "17 times 23 is 391."
        extra = choice.message.model_extra or {}
        assert extra["reasoning_content"] == "17 times 20 is 340, and 51 more."
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens_details.reasoning_tokens == 8


def test_a_stream_tells_reasoning_then_text_and_its_usage_at_the_end(
    asked: tuple[OpenAI, str],
) -> None:
    client, model = asked
    stream = client.chat.completions.create(
        model=model,
        messages=QUESTION,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert deltas[0].role == "assistant"
    text = "".join(delta.content or "" for delta in deltas)
    reasoning = "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas)
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    assert text
    if model == THINKS:
        assert (text, reasoning) == ("17 times 23 is 391.", "17 times 20 is 340, and 51 more.")


def test_a_loop_of_tools_to_an_answer(scripted: Served) -> None:
    client = client_of(scripted)
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Skardu?"}]
    steps: list[str] = []
    texts: list[str | None] = []
    while steps[-1:] in ([], ["tool_calls"]):
        completion = client.chat.completions.create(
            model=THINKS, messages=messages, tools=[WEATHER]
        )
        reply = completion.choices[0]
        steps.append(reply.finish_reason)
        texts.append(reply.message.content)
        if reply.finish_reason == "tool_calls":
            messages.append(reply.message)
            for call in reply.message.tool_calls or []:
                assert call.type == "function"
                result = {"degrees": 21} | json.loads(call.function.arguments)
                messages.append(
                    {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}
                )
    assert steps == ["tool_calls", "stop"]
    told = '{"degrees": 21, "city": "Skardu"}'
    assert texts[-1] == f"It is 21 degrees in Skardu. ({told})"


def test_calls_stream_in_pieces_that_the_package_joins(scripted: Served) -> None:
    with client_of(scripted).chat.completions.stream(
        model=THINKS,
        messages=[{"role": "user", "content": "What is the weather in Skardu?"}],
        tools=[WEATHER],
    ) as stream:
        for _ in stream:
            pass
        [choice] = stream.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.function.name == "get_weather"
    assert call.id == "functions.get_weather:0"
    assert json.loads(call.function.arguments) == {"city": "Skardu"}


class Mountain(BaseModel):
    """What structured output is asked for."""

    peak: str = Field(max_length=30)
    metres: int = Field(ge=7000, le=8848)


def test_structured_output_fits_its_schema(asked: tuple[OpenAI, str]) -> None:
    client, model = asked
    completion = client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "Name a mountain of the Karakoram, as JSON."}],
        response_format=Mountain,
        max_tokens=80,
    )
    [choice] = completion.choices
    assert choice.finish_reason == "stop"
    assert choice.message.parsed is not None
    assert 7000 <= choice.message.parsed.metres <= 8848
    assert "\n" not in (choice.message.content or "")


def test_the_reply_goes_on_from_a_text_of_the_client(embedded: Served) -> None:
    messages: Any = [
        {"role": "user", "content": "Count from one to five."},
        {"role": "assistant", "content": "one, two, three,", "partial": True},
    ]
    completion = client_of(embedded).chat.completions.create(
        model="smollm2", messages=messages, max_tokens=12, temperature=0
    )
    assert "four" in (completion.choices[0].message.content or "")


def test_a_seed_gives_the_same_again(embedded: Served) -> None:
    def once() -> str | None:
        completion = client_of(embedded).chat.completions.create(
            model="smollm2", messages=QUESTION, max_tokens=6, seed=7, temperature=1.2
        )
        return completion.choices[0].message.content

    assert once() == once()


def test_reasoning_that_the_client_dropped_is_put_back(scripted: Served, script: Any) -> None:
    client = client_of(scripted)
    messages: list[Any] = [{"role": "user", "content": "The weather in Gilgit, then?"}]
    reply = client.chat.completions.create(model=THINKS, messages=messages, tools=[WEATHER])
    message: dict[str, Any] = reply.choices[0].message.model_dump(exclude_none=True)
    assert message.pop("reasoning_content") == "I look it up."
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "21"}
    messages += [message, result]
    client.chat.completions.create(model=THINKS, messages=messages, tools=[WEATHER])
    assert script.asked[-1].conversation[1].reasoning == "I look it up."


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
        ({"messages": []}, openai.BadRequestError, None),
        ({"temperature": 9}, openai.BadRequestError, None),
        ({"tool_choice": "required"}, openai.BadRequestError, None),
        ({"n": 0}, openai.BadRequestError, None),
        ({"messages": [{"role": "robot", "content": "x"}]}, openai.BadRequestError, None),
    ],
)
def test_a_wrong_request_raises_the_error_of_its_kind(
    scripted: Served, change: dict[str, Any], error: type[openai.APIStatusError], code: str | None
) -> None:
    fields: dict[str, Any] = {"model": "local", "messages": QUESTION} | change
    with pytest.raises(error) as caught:
        client_of(scripted).chat.completions.create(**fields)
    body = cast(dict[str, Any], caught.value.body)
    assert set(body) >= {"message", "type", "param", "code"}
    assert code in (None, body["code"])
    assert caught.value.request_id


def test_a_wrong_key_raises_the_error_of_its_kind(scripted: Served) -> None:
    stranger = OpenAI(base_url=scripted.base_url, api_key="sk-chg-wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    narrow = key_for(scripted, Grant(scopes=frozenset({"models"})))
    with pytest.raises(openai.PermissionDeniedError, match="chat"):
        client_of(scripted).with_options(api_key=narrow).chat.completions.create(
            model="local", messages=QUESTION
        )


def test_models_are_listed_and_found(scripted: Served) -> None:
    client = client_of(scripted)
    assert {model.id for model in client.models.list()} == {THINKS, "local"}
    assert client.models.retrieve(THINKS).owned_by


def test_a_client_that_gives_up_frees_the_model(scripted: Served, embedded: Served) -> None:
    async def give_up() -> None:
        async with AsyncOpenAI(base_url=embedded.base_url, api_key=embedded.key) as client:
            long = client.chat.completions.create(
                model="smollm2",
                messages=[{"role": "user", "content": "Write a very long story."}],
                max_tokens=1500,
            )
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(long, 0.5)
            quick = client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=3)
            assert (await asyncio.wait_for(quick, 20)).choices

    asyncio.run(give_up())
