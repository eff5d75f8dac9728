"""Errors as clients see them: one envelope, four keys, always; and which error becomes which.

A request that is wrong is refused with 400 and the name of the field. What goes wrong behind the
server is told as 429, 502, 503 or 504: the address of an upstream and its complaints about our key
stay here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from chogori.api.failures import Complaint, Failure
from chogori.api.fields import dump
from chogori.api.platform import Refused
from chogori.errors import (
    ChogoriError,
    ConfigError,
    ContextTooLong,
    EndpointError,
    ModelUnavailable,
    RateLimited,
    SchemaError,
    StreamCut,
)

_NO_RETRY = {"x-should-retry": "false"}
_CLIENT_STATUSES = (400, 413, 415, 422)
"""What an upstream may say of a request that we pass on to whoever made it."""


def invalid(param: str | None, message: str, code: str = "invalid_value") -> Refused:
    """A known field that cannot be what it is."""
    return Refused(400, "invalid_request_error", code, message, param=param)


def missing(param: str) -> Refused:
    """A field that must be there and is not."""
    return invalid(param, f"Missing required parameter: '{param}'.", "missing_required_parameter")


def no_such_model(name: str) -> Refused:
    """A model that is not served here."""
    return Refused(
        404,
        "resource_not_found_error",
        "model_not_found",
        f"The model {_short(name)!r} is not served here; GET /v1/models lists those that are.",
        param="model",
    )


def not_found(path: str) -> Refused:
    """A path that is no route."""
    return Refused(
        404, "resource_not_found_error", "not_found", f"There is nothing at {_short(path)}."
    )


def wrong_method(method: str, allowed: str) -> Refused:
    """A route that does not know the method."""
    return Refused(
        405,
        "invalid_request_error",
        "method_not_allowed",
        f"{method} is not answered here; use {allowed}.",
        headers={"allow": allowed},
    )


def overloaded(message: str, *, after_seconds: float = 1.0, status: int = 429) -> Refused:
    """The engine has more to do than it can."""
    return Refused(
        status,
        "engine_overloaded_error",
        "engine_overloaded",
        message,
        headers=retry_after(after_seconds),
    )


def retry_after(seconds: float) -> dict[str, str]:
    """Retry-After in whole seconds, and in milliseconds for the clients that read those."""
    seconds = max(seconds, 0.001)
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1e3))}


def stopping() -> Refused:
    """What runs is let end, and no more is begun."""
    return Refused(
        503,
        "server_error",
        "stopping",
        "The server is being stopped; ask another, or this one again once it is back.",
        headers={**retry_after(1), "connection": "close"},
    )


def timed_out(message: str) -> Refused:
    """It took longer than anything may."""
    return Refused(504, "server_error", "timeout", message)


def internal() -> Refused:
    """Our own fault. What it was stands in the log."""
    return Refused(
        500, "server_error", "internal_error", "The server failed to answer; the fault is its own."
    )


def envelope(refused: Refused, request_id: str) -> bytes:
    """The body of an error; the request's id stands in its message."""
    message = f"{refused.message} (request id: {request_id})"
    return dump(
        {
            "error": {
                "message": message,
                "type": refused.kind,
                "param": refused.param,
                "code": refused.code,
            }
        }
    )


def refused_for(error: ChogoriError | Failure, model: str) -> Refused:
    """What a client is told of an error that came from a model."""
    failure = error if isinstance(error, Failure) else error.__cause__
    failed = failure if isinstance(failure, Failure) else None
    error = error.error if isinstance(error, Failure) else error
    complaint = failed.complaint if failed else None
    status = failed.status if failed else getattr(error, "status", None)
    said = complaint.message if complaint else ""
    if isinstance(error, ContextTooLong):
        text = said or str(error)
        return invalid("messages", text, "context_length_exceeded")
    if isinstance(error, ConfigError):
        return invalid(getattr(error, "param", None), str(error), _code_of(error))
    if isinstance(error, RateLimited):
        return _limited(failed, complaint, model, status)
    if isinstance(error, EndpointError) and status in _CLIENT_STATUSES:
        return invalid(_param_of(complaint), said or str(error), _code(complaint))
    if isinstance(error, StreamCut | EndpointError):
        if _is_late(failed):
            return timed_out(f"The upstream of {model!r} did not answer in time.")
        return _upstream(model, said if status and status >= 500 else "")
    if isinstance(error, ModelUnavailable):
        return Refused(503, "server_error", "model_unavailable", str(error))
    return internal()


def in_stream(refused: Refused, request_id: str) -> bytes:
    """An error in a stream that has begun, and the end of it."""
    return b"data: " + envelope(refused, request_id) + b"\n\ndata: [DONE]\n\n"


def may_fall_back(error: ChogoriError | Failure) -> bool:
    """Whether another upstream might answer what this one did not: unless the request is wrong."""
    error = error.error if isinstance(error, Failure) else error
    if isinstance(error, ConfigError | ContextTooLong):
        return False
    return getattr(error, "status", None) not in _CLIENT_STATUSES


def _limited(
    failed: Failure | None, complaint: Complaint | None, model: str, status: int | None
) -> Refused:
    if status == 402 or (complaint and "quota" in complaint.kind):
        return Refused(
            503,
            "server_error",
            "upstream_error",
            f"The upstream of {model!r} has nothing left to spend.",
            headers=_NO_RETRY,
        )
    after = failed.after_seconds if failed and failed.after_seconds else 1.0
    return overloaded(f"The upstream of {model!r} takes no more for now.", after_seconds=after)


def _upstream(model: str, said: str) -> Refused:
    why = f": {said}" if said else "."
    return Refused(502, "server_error", "upstream_error", f"The upstream of {model!r} failed{why}")


def _is_late(failed: Failure | None) -> bool:
    return failed is not None and isinstance(failed.__cause__, TimeoutError)


def _code(complaint: Complaint | None) -> str:
    words = complaint.kind.split() if complaint else []
    return words[-1] if len(words) > 1 and not words[-1].isdecimal() else "invalid_value"


def _param_of(complaint: Complaint | None) -> str | None:
    return complaint.param if complaint else None


def _code_of(error: ChogoriError) -> str:
    return "invalid_json_schema" if isinstance(error, SchemaError) else "invalid_value"


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."


def told(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), _plain(value)) for name, value in headers.items()]


def _plain(value: Any) -> bytes:
    return str(value).encode("latin-1", "replace")
