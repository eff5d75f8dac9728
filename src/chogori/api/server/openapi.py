"""The document at /openapi.json: OpenAPI 3.1, and as much of it as 3.0 can say at
/openapi-3.0.json. Written by hand beside the code that it describes; the names of the models are
those of this server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from chogori.api.fields import dump
from chogori.api.server.openapi_answers import answer_schemas
from chogori.api.server.openapi_requests import Schema, ref, request_schemas
from chogori.api.server.platform_routes import COST_GROUPS, USAGE_GROUPS, Groups

_REASONS = {
    400: "The request is wrong; `param` names the field.",
    401: "No key, or none of this server's.",
    403: "The key may not do this.",
    404: "There is no such thing here.",
    405: "The method is not answered here.",
    408: "The body came too slowly.",
    409: "The Idempotency-Key is in use, or was used with another request.",
    413: "The body is too long.",
    429: "A limit is reached, or the engine is full; see Retry-After.",
    500: "The fault is the server's own.",
    502: "The upstream of the model failed.",
    503: "No model can answer now.",
    504: "It took too long.",
}
_ALWAYS = (400, 401, 403, 405, 429, 500)
_ASKING = (400, 401, 403, 404, 405, 408, 409, 413, 429, 500, 502, 503, 504)


def openapi(models: Sequence[str], version: str = "3.1.0") -> bytes:
    """The document, as JSON. `version` is 3.1.0 or 3.0.3."""
    document: Schema = {
        "openapi": version,
        "info": {
            "title": "Chogori",
            "version": "1",
            "description": "An OpenAI-compatible API for chat models.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name} for name in ("chat", "models", "usage", "server")],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of this server: sk-chg-...",
                }
            },
            "schemas": {**request_schemas(models), **answer_schemas()},
        },
    }
    return dump(document if version.startswith("3.1") else as_3_0(document))


def _paths() -> Schema:
    return {
        "/v1/chat/completions": {"post": _chat("createChatCompletion")},
        "/openai/deployments/{model}/chat/completions": {
            "parameters": [_in_path("model", "The model's name, which goes before the body's.")],
            "post": _chat("createDeploymentChatCompletion"),
        },
        "/v1/models": {"get": _get("listModels", "models", "The models of this key.", "ModelList")},
        "/v1/models/{model}": {
            "parameters": [_in_path("model", "The model's name; it may hold slashes.")],
            "get": _get("showModel", "models", "One model.", "Model", more=(404,)),
        },
        "/v1/tokenizers/estimate-token-count": {
            "post": {
                **_get("countTokens", "models", "How long a prompt is.", "TokenCount", _ASKING),
                "requestBody": _body("CountRequest"),
            }
        },
        "/v1/users/me/balance": {
            "get": _get("showBalance", "usage", "What is left to spend, in dollars.", "Balance")
        },
        "/v1/organization/usage/completions": {
            "parameters": _usage_parameters(USAGE_GROUPS),
            "get": _get("listUsage", "usage", "Tokens, in buckets of time.", "UsagePage"),
        },
        "/v1/organization/costs": {
            "parameters": _usage_parameters(COST_GROUPS),
            "get": _get("listCosts", "usage", "Dollars, in buckets of time.", "CostPage"),
        },
        "/metrics": {
            "get": {
                "operationId": "showMetrics",
                "tags": ["server"],
                "summary": "Figures for Prometheus; the key needs the scope admin.",
                "responses": {
                    "200": {
                        "description": "In Prometheus' text format.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    },
                    **_errors(_ALWAYS),
                },
            }
        },
        "/healthz": {"get": _open("showHealth", "Whether the server runs.", (405,))},
        "/readyz": {"get": _open("showReadiness", "Whether it takes requests.", (405,), (503,))},
    }


def _chat(operation: str) -> Schema:
    example = (
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"local",'
        '"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}'
        "\n\ndata: [DONE]\n\n"
    )
    return {
        "operationId": operation,
        "tags": ["chat"],
        "summary": "The next message of a conversation.",
        "parameters": [
            _in_header("Idempotency-Key", "The same key and request get the same answer.", 255),
        ],
        "requestBody": _body("ChatRequest"),
        "responses": {
            "200": {
                "description": "The reply; with `stream`, events with a ChatChunk each, and then "
                "[DONE].",
                "headers": _headers(),
                "content": {
                    "application/json": {"schema": ref("ChatCompletion")},
                    "text/event-stream": {"schema": {"type": "string"}, "example": example},
                },
            },
            **_errors(_ASKING),
        },
    }


def _get(
    operation: str, tag: str, summary: str, answer: str, errors: Sequence[int] = _ALWAYS,
    more: Sequence[int] = (),
) -> Schema:  # fmt: skip
    return {
        "operationId": operation,
        "tags": [tag],
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": _json(answer), "headers": _headers()},
            **_errors((*errors, *more)),
        },
    }


def _open(operation: str, summary: str, errors: Sequence[int], other: Sequence[int] = ()) -> Schema:
    """A route that wants no key."""
    answers = {
        str(status): {"description": summary, "content": _json("Health")}
        for status in (200, *other)
    }
    return {
        "operationId": operation,
        "tags": ["server"],
        "summary": summary,
        "security": [],
        "responses": {**answers, **_errors(errors)},
    }


def _body(name: str) -> Schema:
    return {"required": True, "content": _json(name)}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": ref(name)}}


def _headers() -> Schema:
    return {"x-request-id": {"schema": {"type": "string"}, "description": "Of this request."}}


def _errors(statuses: Sequence[int]) -> Schema:
    return {
        str(status): {"description": _REASONS[status], "content": _json("Error")}
        for status in statuses
    }


def _in_path(name: str, description: str) -> Schema:
    schema = {"type": "string", "minLength": 1}
    place = {"name": name, "in": "path", "required": True}
    return {**place, "description": description, "schema": schema}


def _in_header(name: str, description: str, longest: int) -> Schema:
    schema = {"type": "string", "maxLength": longest}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _usage_parameters(known: Groups) -> list[Schema]:
    def parameter(name: str, schema: Schema, *, needed: bool = False) -> Schema:
        return {"name": name, "in": "query", "required": needed, "schema": schema}

    moment: Schema = {"type": "integer", "minimum": 0, "maximum": 4_102_444_800}
    names: Schema = {"type": "array", "items": {"type": "string"}}
    groups: Schema = {"enum": list(known)}
    return [
        parameter("start_time", moment, needed=True),
        parameter("end_time", moment),
        parameter("bucket_width", {"enum": ["1m", "1h", "1d"]}),
        parameter("group_by", {"type": "array", "items": groups}),
        parameter("project_ids", names),
        parameter("api_key_ids", names),
        parameter("models", names),
        parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1440}),
        parameter("page", {"type": "string", "pattern": "^(page_)?[0-9]{1,10}$"}),
    ]


def as_3_0(value: Any) -> Any:
    """As OpenAPI 3.0 says it: null is `nullable`, a constant an `enum` of one."""
    if isinstance(value, list):
        return [as_3_0(entry) for entry in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    made = {name: as_3_0(inner) for name, inner in cast(Mapping[str, Any], value).items()}
    kinds = made.get("type")
    if isinstance(kinds, list):
        names = [kind for kind in cast(list[str], kinds) if kind != "null"]
        made.pop("type")
        made |= {"type": names[0]} if len(names) == 1 else {"anyOf": [{"type": n} for n in names]}
        made |= {"nullable": True} if "null" in kinds else {}
    if "const" in made:
        made["enum"] = [made.pop("const")]
    if None in (made.get("enum") or ()):
        made["nullable"] = True
    choices: list[Any] = made.get("anyOf") or []
    if {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        made.pop("anyOf")
        made |= {"nullable": True, "anyOf": rest}
    made.pop("propertyNames", None)
    if isinstance(made.get("examples"), list):
        made["example"] = made.pop("examples")[0]
    return made
