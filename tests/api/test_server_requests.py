"""What of a request is taken, what is refused, and with which name of the field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from asgi import HELLO, Client, Response
from server_models import StreamingModel

from chogori.api import create_app
from chogori.api.server.requests import read_chat
from chogori.chat import (
    AllowedTools,
    ImagePart,
    JsonFormat,
    NamedTool,
    Options,
    ScriptedModel,
    profile_for,
)
from chogori.errors import RequestError, SchemaError

TOOL = {"type": "function", "function": {"name": "add"}}
SAID = HELLO["messages"]
DEEP: Any = {}
for _ in range(100):
    DEEP = {"a": DEEP}


def schema(**more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": {}} | more}


def said(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"} | fields]}


async def asked(body: Any, model: str = "m") -> Response:
    app = create_app({model: ScriptedModel(lambda _: "hi", profile=profile_for(model))})
    return await Client(app).ask(body if isinstance(body, bytes) else {"model": model} | body)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        (said(role="robot"), "messages[0].role"),
        (said(content=None), "messages[0].content"),
        (said(content=5), "messages[0].content"),
        (said(content=[{"type": "sound"}]), "messages[0].content[0].type"),
        (said(content=[{"type": "text"}]), "messages[0].content[0].text"),
        (said(content=[{"type": "image_url"}]), "messages[0].content[0].image_url"),
        (
            said(content=[{"type": "image_url", "image_url": "file:///etc/passwd"}]),
            "messages[0].content[0].image_url",
        ),
        (said(role="tool"), "messages[0].tool_call_id"),
        (said(role="assistant", tool_calls=[{"id": "c"}]), "messages[0].tool_calls[0].function"),
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"seed": 2**64}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"5": 200}}, "logit_bias.5"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"functions": []}, "functions"),
        ({"tools": {}}, "tools"),
        ({"tools": ["add"]}, "tools[0]"),
        ({"tools": [{"function": {"name": "add"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": DEEP}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "tool_choice.function.name",
        ),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": schema(name=None)}, "response_format.json_schema.name"),
        ({"response_format": schema(schema=None)}, "response_format.json_schema.schema"),
        ({"response_format": schema(schema=[])}, "response_format.json_schema.schema"),
        ({"response_format": schema(strict="yes")}, "response_format.json_schema.strict"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"thinking": "no"}}, "chat_template_kwargs.thinking"),
        (
            {
                "messages": [*SAID, {"role": "assistant", "content": "{", "partial": True}],
                "response_format": {"type": "json_object"},
            },
            "response_format",
        ),
        (b"{", None),
        (b"[]", None),
        (b'{"a": NaN}', None),
    ],
)
async def test_a_known_field_that_is_wrong_is_refused_by_name(body: Any, param: str | None) -> None:
    response = await asked(body)
    assert response.status == 400
    assert response.error["param"] == param
    assert response.error["type"] == "invalid_request_error"
    assert set(response.error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "body",
    [
        {"tool_choice": "none"},
        {"tool_choice": "auto"},
        {"tools": []},
        {"tools": None, "stop": None, "n": None, "temperature": None, "stream": None},
        {"unheard_of": {"of": 1}, "store": True, "service_tier": "auto", "verbosity": "low"},
        {"metadata": {"a": "b"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
        {"response_format": {"type": "text"}},
        {"max_tokens": 5.0},
        {"stop": "end"},
        {"api_base": "https://elsewhere.example", "api_key": "theirs"},
        said(role="developer"),
        said(content=[{"type": "text", "text": "hi"}, "there"]),
        {"messages": [*SAID, {"role": "assistant", "content": None}]},
        b'{"model":"m","messages":[{"role":"user","content":"\\ud83d half of a pair"}]}',
    ],
)
async def test_what_is_unknown_is_left_aside_and_null_is_nothing(body: Any) -> None:
    assert (await asked(body)).status == 200


def options_of(**body: Any) -> Options:
    return read_chat({**HELLO, **body}).options


def test_tool_choice_comes_in_many_forms() -> None:
    tools = [TOOL]
    named = NamedTool("add")
    assert options_of(tools=tools).tool_choice == "auto"
    assert options_of(tools=tools, tool_choice="required").tool_choice == "required"
    for choice in (
        {"type": "function", "function": {"name": "add"}},
        {"type": "function", "name": "add"},
        {"type": "custom", "custom": {"name": "add"}},
    ):
        assert options_of(tools=tools, tool_choice=choice).tool_choice == named
    held = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}
    for choice in (
        {"type": "allowed_tools", "allowed_tools": held},
        {"type": "allowed_tools"} | held,
    ):
        found = options_of(tools=tools, tool_choice=choice).tool_choice
        assert found == AllowedTools(("add",), required=True)


@pytest.mark.parametrize(
    ("body", "thinking", "effort"),
    [
        ({}, None, None),
        ({"reasoning_effort": "low"}, True, "low"),
        ({"reasoning_effort": "none"}, False, None),
        ({"chat_template_kwargs": {"thinking": False}}, False, None),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True, None),
        ({"chat_template_kwargs": {"thinking": False}, "reasoning_effort": "high"}, True, "high"),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, False, None),
        (
            {"thinking": {"type": "enabled", "effort": "max"}, "reasoning_effort": "low"},
            True,
            "max",
        ),
        ({"thinking": {"type": "adaptive"}}, True, None),
        ({"reasoning": {"effort": "low"}}, True, "low"),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, True, "high"),
        ({"thinking": False}, False, None),
    ],
)
def test_of_the_switches_for_thinking_the_explicit_one_wins(
    body: Any, thinking: bool | None, effort: str | None
) -> None:
    options = options_of(**body)
    assert (options.thinking, options.effort) == (thinking, effort)


def test_the_newer_limit_goes_before_the_older() -> None:
    assert options_of(max_tokens=5).max_tokens == 5
    assert options_of(max_tokens=5, max_completion_tokens=7).max_tokens == 7


def test_a_schema_is_strict_unless_it_says_otherwise() -> None:
    for given in (schema(), schema(strict=None)):
        assert options_of(response_format=given).response_format == JsonFormat({}, "n", True)
    loose = options_of(response_format=schema(strict=False)).response_format
    assert loose == JsonFormat({}, "n", False)


def test_tools_may_be_written_flat() -> None:
    flat = read_chat({**HELLO, "tools": [{"type": "function", "name": "add", "description": "d"}]})
    assert [(spec.name, spec.description) for spec in flat.tools] == [("add", "d")]


@pytest.mark.parametrize("url", ["https://a.example/b.png", {"url": "https://a.example/b.png"}])
def test_a_picture_is_an_address_or_an_object_that_holds_one(url: Any) -> None:
    body = {**HELLO, **said(content=[{"type": "image_url", "image_url": url}])}
    assert read_chat(body).said.messages[0].content == (ImagePart("https://a.example/b.png"),)


async def test_a_model_without_eyes_says_so() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert (await asked(said(content=[picture]))).error["param"] == "messages"
    sees = await asked(said(content=[picture]), model="kimi-k2.5")
    assert sees.status == 200


@pytest.mark.parametrize(
    ("model", "body", "status"),
    [
        *(("kimi-k2.5", {"temperature": t}, 400) for t in (1.1, 2.0, -0.1)),
        *(("kimi-k2.5", {"temperature": t}, 200) for t in (0.0, 0.6, 1.0)),
        ("kimi-k2.5", {"top_p": 0.8}, 400),
        ("kimi-k2.5", {"top_p": 0.95}, 200),
        ("kimi-k2.5", {"presence_penalty": 0.5}, 400),
        ("kimi-k2.5", {"frequency_penalty": 0.5}, 400),
        ("kimi-k2.5", {"presence_penalty": 0, "frequency_penalty": 0, "n": 1}, 200),
        ("kimi-k2.5", {"n": 2}, 400),
        ("kimi-k2.6", {"top_p": 0.8}, 400),
        ("kimi-k2-thinking", {"n": 5}, 200),
        ("kimi-k2-thinking", {"n": 6}, 400),
        ("kimi-k2-thinking", {"temperature": 1.1}, 400),
        ("kimi-k2-thinking", {"thinking": {"type": "disabled"}}, 400),
        ("kimi-k2-thinking", {"reasoning_effort": "none"}, 200),
        ("kimi-k2-0905-preview", {"temperature": 0.6}, 200),
        ("qwen", {"temperature": 2.0, "top_p": 0.8, "n": 16}, 200),
    ],
)
async def test_each_model_lets_be_chosen_what_its_policy_says(
    model: str, body: Any, status: int
) -> None:
    assert (await asked(body, model)).status == status


async def test_what_a_model_cannot_do_is_a_bad_request() -> None:
    refusals = {
        "tool_choice": RequestError("it cannot be held to a tool", param="tool_choice"),
        "response_format": SchemaError(
            "not held", keyword="not", path="/not", param="response_format"
        ),
    }
    for param, error in refusals.items():
        response = await Client(create_app(StreamingModel([error]))).ask()
        assert response.status == 400
        assert response.error["param"] == param


async def test_a_model_in_this_process_takes_no_tools_that_only_an_upstream_knows() -> None:
    body = {"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]}
    assert (await asked(body)).error["param"] == "tools"
    assert (await asked({"logit_bias": {"5": 1}})).error["param"] == "logit_bias"


def test_the_default_of_a_request_leaves_every_choice_to_the_model() -> None:
    assert replace(options_of(), stream=True) == Options()
