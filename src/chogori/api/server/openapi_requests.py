"""The schemas of requests, for the document at /openapi.json. What they refuse, the server refuses:
a test holds the two together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chogori.api.server.messages import MOST_CALLS, MOST_MESSAGES, MOST_PARTS
from chogori.api.server.policy import MOST_REPLIES
from chogori.api.server.requests import EFFORTS, MOST_STOPS, MOST_TOKENS
from chogori.api.server.tool_requests import MOST_TOOLS, TOOL_NAME

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """A schema of `components`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


def _number(low: float, high: float, kind: str = "number", **more: Any) -> Schema:
    return _or_null(kind, minimum=low, maximum=high, **more)


def _words(words: Sequence[str]) -> Schema:
    return {"enum": [*words, None]}


def _object(properties: Schema, required: Sequence[str] = (), **more: Any) -> Schema:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **needed, **more}


_TEXT, _FLAG = _or_null("string"), _or_null("boolean")


def request_schemas(models: Sequence[str]) -> Schema:
    """By name."""
    return {
        "ChatRequest": _chat(models),
        "CountRequest": _object(
            {
                "model": {"enum": list(models)},
                "messages": _messages(),
                "tools": _tools(),
            },
            ["model", "messages"],
        ),
        "Message": {"anyOf": [_said("system", "developer", "user"), _reply(), _tool_result()]},
        "Content": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "maxItems": MOST_PARTS, "items": ref("Part")},
            ]
        },
        "Part": _part(),
        "Tool": _tool(),
        "ToolChoice": _tool_choice(),
        "ResponseFormat": _response_format(),
    }


def _messages() -> Schema:
    return {"type": "array", "minItems": 1, "maxItems": MOST_MESSAGES, "items": ref("Message")}


def _tools() -> Schema:
    return _or_null("array", maxItems=MOST_TOOLS, items=ref("Tool"))


def _chat(models: Sequence[str]) -> Schema:
    properties: Schema = {
        "model": {"enum": list(models), "description": "See GET /v1/models."},
        "messages": _messages(),
        "stream": {**_FLAG, "description": "Server-sent events as the reply is written."},
        "stream_options": _or_null(
            "object",
            properties={"include_usage": _FLAG, "continuous_usage_stats": _FLAG},
            description="Only with stream.",
        ),
        "max_completion_tokens": _number(1, MOST_TOKENS, "integer"),
        "max_tokens": _number(1, MOST_TOKENS, "integer", deprecated=True),
        "n": _number(1, MOST_REPLIES, "integer"),
        "temperature": _number(0, 2),
        "top_p": _number(0, 1),
        "top_k": _number(-1, 1_000_000, "integer"),
        "min_p": _number(0, 1),
        "presence_penalty": _number(-2, 2),
        "frequency_penalty": _number(-2, 2),
        "seed": _number(-(2**63), 2**63 - 1, "integer"),
        "stop": _stop(),
        "logprobs": _FLAG,
        "top_logprobs": _number(0, 20, "integer"),
        "logit_bias": _or_null("object", additionalProperties=_number(-100, 100)),
        "tools": _tools(),
        "tool_choice": {"anyOf": [ref("ToolChoice"), {"type": "null"}]},
        "parallel_tool_calls": _FLAG,
        "response_format": {"anyOf": [ref("ResponseFormat"), {"type": "null"}]},
        **_thinking(),
        "return_token_ids": {
            **_FLAG,
            "description": "With each choice the ids that the model wrote, without that of its "
            "end: of a k2: model; null of any other.",
        },
        "user": _TEXT,
        "safety_identifier": _TEXT,
        "prompt_cache_key": _TEXT,
        "metadata": _or_null(
            "object",
            maxProperties=16,
            propertyNames={"maxLength": 64},
            additionalProperties={"type": "string", "maxLength": 512},
        ),
        "modalities": _or_null("array", items={"const": "text"}, maxItems=1),
        "prediction": _or_null("object"),
        **dict.fromkeys(("store", "echo", "ignore_eos"), _FLAG),
        **dict.fromkeys(("service_tier", "verbosity", "cache_salt"), _TEXT),
    }
    asked = {"role": "user", "content": "How many days has a leap year?"}
    example = {"model": models[0] if models else "local", "messages": [asked]}
    return _object(properties, ["model", "messages"], examples=[example])


def _stop() -> Schema:
    one = {"type": "string", "minLength": 1, "maxLength": 1024}
    return {
        "anyOf": [one, {"type": "array", "maxItems": MOST_STOPS, "items": one}, {"type": "null"}]
    }


def _thinking() -> Schema:
    effort = _words(EFFORTS)
    switch = {
        "type": _words(("enabled", "disabled", "adaptive")),
        "keep": _words(("all",)),
        "effort": effort,
        "budget_tokens": _number(0, MOST_TOKENS, "integer"),
    }
    return {
        "thinking": {
            "anyOf": [_object(switch), {"type": ["boolean", "null"]}],
            "description": "Goes before reasoning_effort, reasoning and chat_template_kwargs.",
        },
        "reasoning_effort": effort,
        "reasoning": _or_null(
            "object", properties={"effort": effort, "enabled": _FLAG, "exclude": _FLAG}
        ),
        "include_reasoning": {
            **_FLAG,
            "description": "True: reasoning under the name `reasoning` too. False: none.",
        },
        "chat_template_kwargs": _or_null(
            "object", properties={"thinking": _FLAG, "enable_thinking": _FLAG}
        ),
    }


def _said(*roles: str) -> Schema:
    fields = {"role": {"enum": list(roles)}, "content": ref("Content"), "name": _TEXT}
    return _object(fields, ["role", "content"])


def _reply() -> Schema:
    function = _object(
        {"name": {"type": "string"}, "arguments": {"type": ["string", "object", "null"]}},
        ["name"],
    )
    call = _object({"id": _TEXT, "type": _words(("function",)), "function": function}, ["function"])
    return _object(
        {
            "role": {"const": "assistant"},
            "content": {"anyOf": [ref("Content"), {"type": "null"}]},
            "name": _TEXT,
            "reasoning_content": _TEXT,
            "reasoning": _TEXT,
            "tool_calls": _or_null("array", maxItems=MOST_CALLS, items=call),
            "partial": {**_FLAG, "description": "Of the last message: the reply goes on from it."},
        },
        ["role"],
    )


def _tool_result() -> Schema:
    return _object(
        {
            "role": {"const": "tool"},
            "content": ref("Content"),
            "tool_call_id": {"type": "string"},
            "name": _TEXT,
        },
        ["role", "content", "tool_call_id"],
    )


def _part() -> Schema:
    url = {"type": "string", "pattern": "^(data:|https?://|ms://)"}
    address = {"anyOf": [url, _object({"url": url}, ["url"])]}
    word = {"type": "string"}
    file = {
        "anyOf": [
            _object({"file_data": {**word, "minLength": 1}, "filename": _TEXT}, ["file_data"]),
            _object(
                {"file_id": word, "file_data": {"enum": ["", None]}, "filename": _TEXT},
                ["file_id"],
            ),
        ]
    }

    def part(kinds: Sequence[str], name: str = "", held: Schema | None = None) -> Schema:
        fields: Schema = {"type": {"enum": list(kinds)}}
        if held is not None:
            fields[name] = held
        return _object(fields, ["type", name] if name else ["type"])

    return {
        "anyOf": [
            part(["text", "input_text", "output_text"], "text", word),
            part(["refusal"], "refusal", word),
            part(["image_url", "input_image"], "image_url", address),
            part(["video_url"], "video_url", address),
            part(["file"], "file", file),
            part(["thinking", "reasoning"]),
            word,
        ]
    }


def _tool() -> Schema:
    fields: Schema = {
        "name": {"type": "string", "pattern": f"^{TOOL_NAME}$"},
        "description": _TEXT,
        "parameters": _or_null("object", properties={"type": {"const": "object"}}),
        "strict": _FLAG,
    }
    kind = {"const": "function"}
    return {
        "anyOf": [
            _object({"type": kind, "function": _object(fields, ["name"])}, ["type", "function"]),
            _object(
                {"type": kind, **fields}, ["type", "name"], **{"not": {"required": ["function"]}}
            ),
            _object({"type": {"type": "string", "not": kind}}, ["type"]),
        ]
    }


def _tool_choice() -> Schema:
    named = _object({"name": {"type": "string"}}, ["name"])
    held = [
        _object({"type": {"enum": kinds}, key: named}, ["type", key])
        for kinds, key in ((["function", "builtin_function"], "function"), (["custom"], "custom"))
    ]
    flat = [
        _object(
            {"type": {"enum": kinds}, "name": {"type": "string"}},
            ["type", "name"],
            **{"not": {"required": [key]}},
        )
        for kinds, key in ((["function", "builtin_function"], "function"), (["custom"], "custom"))
    ]
    tool = {"anyOf": [named, _object({"function": named}, ["function"])]}
    allowed = {
        "mode": {"enum": ["auto", "required"]},
        "tools": {"type": "array", "minItems": 1, "maxItems": MOST_TOOLS, "items": tool},
    }
    kind = {"const": "allowed_tools"}
    return {
        "anyOf": [
            {"enum": ["none", "auto", "required"]},
            *held,
            *flat,
            _object(
                {"type": kind, "allowed_tools": _object(allowed, ["mode", "tools"])},
                ["type", "allowed_tools"],
            ),
            _object(
                {"type": kind, **allowed},
                ["type", "mode", "tools"],
                **{"not": {"required": ["allowed_tools"]}},
            ),
            _object({"type": {"enum": ["none", "auto", "required", "any"]}}, ["type"]),
        ]
    }


def _response_format() -> Schema:
    schema = _object(
        {
            "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
            "schema": {"type": "object"},
            "strict": _FLAG,
            "description": _TEXT,
        },
        ["name", "schema"],
    )
    return {
        "anyOf": [
            _object({"type": {"enum": ["text", "json_object"]}}, ["type"]),
            _object(
                {"type": {"const": "json_schema"}, "json_schema": schema}, ["type", "json_schema"]
            ),
        ]
    }
