"""What an embedded model must write, it writes: calls and forms, whatever the model is worth."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from jsonschema import validate
from openai import OpenAI

from served import Served

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": SCHEMA,
    },
}
QUESTION: Any = [{"role": "user", "content": "What is the weather in Skardu?"}]


def client_of(server: Served) -> OpenAI:
    return OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0)


def test_a_call_that_is_required_is_made_and_its_result_is_read(embedded: Served) -> None:
    client = client_of(embedded)
    reply = client.chat.completions.create(
        model="smollm2", messages=QUESTION, tools=[WEATHER], tool_choice="required", max_tokens=40
    ).choices[0]
    assert reply.finish_reason == "tool_calls"
    [call] = reply.message.tool_calls or []
    assert call.type == "function"
    validate(json.loads(call.function.arguments), SCHEMA)
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 21}'}
    made: Any = reply.message
    answer = client.chat.completions.create(
        model="smollm2",
        messages=[*QUESTION, made, result],
        tools=[WEATHER],
        tool_choice="none",
        max_tokens=8,
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


def test_a_named_call_streams(embedded: Served) -> None:
    with client_of(embedded).chat.completions.stream(
        model="smollm2",
        messages=QUESTION,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=40,
    ) as stream:
        for _ in stream:
            pass
        [choice] = stream.get_final_completion().choices
    [call] = choice.message.tool_calls or []
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "get_weather")
    validate(json.loads(call.function.arguments), SCHEMA)


def test_json_mode_is_an_object_though_few_tokens_are_left(embedded: Served) -> None:
    completion = client_of(embedded).chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Reply with a JSON object."}],
        response_format={"type": "json_object"},
        max_tokens=24,
    )
    assert completion.choices[0].finish_reason == "stop", "the shortest ending is forced"
    assert isinstance(json.loads(completion.choices[0].message.content or ""), dict)


def test_a_stop_string_that_could_cut_a_form_is_refused(embedded: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="stop string could cut") as refused:
        client_of(embedded).chat.completions.create(
            model="smollm2",
            messages=QUESTION,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
            stop=["}"],
        )
    assert refused.value.param == "stop"
