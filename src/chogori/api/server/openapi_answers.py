"""The schemas of answers, for the document at /openapi.json."""

from __future__ import annotations

from typing import Any

from chogori.api.server.openapi_requests import Schema, ref

_STRING: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number"}
_MAYBE: Schema = {"type": ["string", "null"]}


def _all(properties: dict[str, Any], *optional: str) -> Schema:
    """An object that has all of these but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def answer_schemas() -> Schema:
    """By name."""
    return {
        "Error": _all(
            {"error": _all({"message": _STRING, "type": _STRING, "param": _MAYBE, "code": _MAYBE})}
        ),
        "Usage": _usage(),
        "ToolCall": _all(
            {
                "id": _STRING,
                "type": {"const": "function"},
                "function": _all({"name": _STRING, "arguments": _STRING}),
            }
        ),
        "Logprobs": _logprobs(),
        "ChatCompletion": _completion(),
        "ChatChunk": _chunk(),
        "Model": _model(),
        "ModelList": _all({"object": {"const": "list"}, "data": _list(ref("Model"))}),
        "TokenCount": _all({"data": _all({"total_tokens": _COUNT})}),
        "Balance": _all(
            {
                "code": {"const": 0},
                "data": _all(
                    dict.fromkeys(("available_balance", "voucher_balance", "cash_balance"), _NUMBER)
                ),
                "scode": _STRING,
                "status": {"type": "boolean"},
            }
        ),
        "UsagePage": _page(_usage_result()),
        "CostPage": _page(_cost_result()),
        "Health": _all({"status": _STRING}),
    }


def _usage() -> Schema:
    return _all(
        {
            "prompt_tokens": _COUNT,
            "completion_tokens": _COUNT,
            "total_tokens": _COUNT,
            "cached_tokens": _COUNT,
            "prompt_tokens_details": _all({"cached_tokens": _COUNT}),
            "completion_tokens_details": _all({"reasoning_tokens": _COUNT}),
        }
    )


def _logprobs() -> Schema:
    numbers = {"type": ["array", "null"], "items": {"type": "integer"}}
    token: dict[str, Any] = {"token": _STRING, "bytes": numbers, "logprob": _NUMBER}
    each = _all({**token, "top_logprobs": _list(_all(token))})
    content = {"type": ["array", "null"], "items": each}
    return _all({"content": content, "refusal": {"type": ["array", "null"]}})


def _completion() -> Schema:
    message = _all(
        {
            "role": {"const": "assistant"},
            "content": _MAYBE,
            "refusal": _MAYBE,
            "reasoning_content": _STRING,
            "reasoning": _STRING,
            "tool_calls": _list(ref("ToolCall")),
        },
        "reasoning_content",
        "reasoning",
        "tool_calls",
    )
    choice = _all(
        {
            "index": _COUNT,
            "message": message,
            "logprobs": {"anyOf": [ref("Logprobs"), {"type": "null"}]},
            "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter"]},
        }
    )
    return _all(
        {
            "id": _STRING,
            "object": {"const": "chat.completion"},
            "created": _COUNT,
            "model": _STRING,
            "system_fingerprint": _MAYBE,
            "choices": _list(choice),
            "usage": ref("Usage"),
        },
        "system_fingerprint",
    )


def _chunk() -> Schema:
    function = _all({"name": _STRING, "arguments": _STRING}, "name")
    call = _all(
        {"index": _COUNT, "id": _STRING, "type": {"const": "function"}, "function": function},
        "id",
        "type",
    )
    fields: dict[str, Any] = {
        "role": {"const": "assistant"},
        "content": _MAYBE,
        "reasoning_content": _MAYBE,
        "reasoning": _MAYBE,
        "tool_calls": _list(call),
    }
    choice = _all(
        {
            "index": _COUNT,
            "delta": _all(fields, *fields),
            "logprobs": {"anyOf": [ref("Logprobs"), {"type": "null"}]},
            "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter", None]},
            "usage": ref("Usage"),
        },
        "logprobs",
        "usage",
    )
    return _all(
        {
            "id": _STRING,
            "object": {"const": "chat.completion.chunk"},
            "created": _COUNT,
            "model": _STRING,
            "system_fingerprint": _MAYBE,
            "choices": _list(choice),
            "usage": {"anyOf": [ref("Usage"), {"type": "null"}]},
        },
        "system_fingerprint",
        "usage",
    )


def _model() -> Schema:
    flag: Schema = {"type": "boolean"}
    pricing = _all(dict.fromkeys(("prompt", "completion", "input_cache_read"), _STRING))
    return _all(
        {
            "id": _STRING,
            "object": {"const": "model"},
            "created": _COUNT,
            "owned_by": _STRING,
            "context_length": _COUNT,
            "max_model_len": _COUNT,
            "max_output_tokens": _COUNT,
            "supports_image_in": flag,
            "supports_video_in": flag,
            "supports_reasoning": flag,
            "pricing": pricing,
            "root": _STRING,
            "parent": _MAYBE,
            "permission": _list({}),
        },
        "pricing",
    )


def _page(result: Schema) -> Schema:
    bucket = _all(
        {
            "object": {"const": "bucket"},
            "start_time": _COUNT,
            "end_time": _COUNT,
            "results": _list(result),
        }
    )
    return _all(
        {
            "object": {"const": "page"},
            "data": _list(bucket),
            "has_more": {"type": "boolean"},
            "next_page": _MAYBE,
        }
    )


def _usage_result() -> Schema:
    counted = ("input_tokens", "input_cached_tokens", "output_tokens", "output_reasoning_tokens")
    return _all(
        {
            "object": {"const": "organization.usage.completions.result"},
            **dict.fromkeys(counted, _COUNT),
            "num_model_requests": _COUNT,
            "project_id": _MAYBE,
            "user_id": _MAYBE,
            "api_key_id": _MAYBE,
            "model": _MAYBE,
        }
    )


def _cost_result() -> Schema:
    return _all(
        {
            "object": {"const": "organization.costs.result"},
            "amount": _all({"value": _NUMBER, "currency": {"const": "usd"}}),
            "line_item": _MAYBE,
            "project_id": _MAYBE,
            "api_key_id": _MAYBE,
        }
    )
