"""Events as JSON: the versioned schema of `--json` and of kept runs.

    {"version": 2, "sequence": 7, "type": "text_delta", "text": "4"}

`type` is the event's class in snake case, and the other fields are the event's own; a part of a
content carries its own "type" (text, image, video, file). `sequence` counts the events of a run
that are kept, from 0, and stays the same however often the run is resumed or shown; what is not
kept (deltas, `resumed`, `model_loaded`) bears the number of the event before it. The conversation
of `Answer` and `Waiting` is left out, since the events hold it, and comes back empty. A field that
a reader does not know is passed over; what an older reader must not misread raises `version`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, cast, get_args

import orjson

from chogori.chat.conversation import Conversation
from chogori.chat.events import Claim, Event, FromSubagent
from chogori.chat.messages import Message, ReasoningDelta, TextDelta, ToolCall, Usage
from chogori.chat.parts import Content, FilePart, ImagePart, TextPart, VideoPart
from chogori.errors import ConfigError

VERSION = 2
_PARTS: dict[str, type] = {
    "text": TextPart,
    "image": ImagePart,
    "video": VideoPart,
    "file": FilePart,
}
_UNTOLD = ("conversation", "standing")
_PLAIN = frozenset({str, int, float, bool, type(None), dict})
"""What is as it is in JSON; most values are of these."""
_PART_NAMES = {kind: name for name, kind in _PARTS.items()}


def encode(event: Event, sequence: int) -> dict[str, Any]:
    """`event` as a JSON object; what it holds is shared, so write it before it changes."""
    if isinstance(event, TextDelta | ReasoningDelta):  # most of all events, so without detours
        kind = "text_delta" if isinstance(event, TextDelta) else "reasoning_delta"
        return {"version": VERSION, "sequence": sequence, "type": kind, "text": event.text}
    told = {"version": VERSION, "sequence": sequence, "type": _name(type(event))}
    if isinstance(event, FromSubagent):
        inner = encode(event.event, sequence)
        return {**told, "run_id": event.run_id, "name": event.name, "event": inner}
    for name in _told_names(type(event)):
        told[name] = _plain(getattr(event, name))
    return told


def decode(line: Mapping[str, Any]) -> tuple[int, Event]:
    """The sequence number and the event. Raises `ConfigError`, which says what is wrong."""
    version, sequence, kind = line.get("version"), line.get("sequence"), line.get("type")
    if not isinstance(version, int) or not isinstance(sequence, int):
        raise ConfigError("this is no event: it has no version or no sequence number")
    if version > VERSION:
        raise ConfigError(
            f"this event is of version {version}; this chogori reads up to {VERSION}: "
            "pip install --upgrade chogori"
        )
    if not isinstance(kind, str) or kind not in _EVENTS:
        raise ConfigError(f"{kind!r} is no type of event; there are: {', '.join(_EVENTS)}")
    try:
        return sequence, cast(Event, _made(_EVENTS[kind], line))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"this {kind} is damaged: {type(error).__name__} {error}") from error


def to_line(event: Event, sequence: int) -> bytes:
    """`encode` as one line of UTF-8, its end included; whatever `event` holds, it can be written.

    Lone surrogates are escaped, and what JSON cannot say is written as text.
    """
    told = encode(event, sequence)
    try:
        return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, a number beyond 64 bits, an object of an adapter's own
        return json.dumps(told, default=str, skipkeys=True).encode() + b"\n"


def from_line(line: bytes | str) -> tuple[int, Event]:
    """What `to_line` wrote. Raises `ConfigError`."""
    try:
        told: object = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            told = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"this is not a JSON object on one line: {error}") from error
    if not isinstance(told, dict):
        raise ConfigError("this is no event: expected a JSON object")
    return decode(cast(dict[str, Any], told))


def call_to_json(call: ToolCall) -> dict[str, Any]:
    """A tool call as events hold it."""
    return _plain(call)


def _plain(value: Any) -> Any:
    kind: type = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind in _PLAIN:
        return value
    if kind is tuple:
        return [_plain(item) for item in cast(tuple[Any, ...], value)]
    if not _is_ours(kind):
        return value
    told = {name: _plain(getattr(value, name)) for name in _field_names(kind)}
    return {"type": _PART_NAMES[kind], **told} if kind in _PART_NAMES else told


def _made(kind: type, told: Mapping[str, Any]) -> Any:
    """A `kind` from its fields; those that are missing keep their defaults."""
    values: dict[str, Any] = {}
    for name, required in _required(kind).items():
        if name == "conversation":
            values[name] = Conversation()
        elif name == "standing":
            continue
        elif name in told or required:
            read = _READ.get(name)
            values[name] = told[name] if read is None else read(told[name])
    return kind(**values)


def _content(told: list[dict[str, Any]]) -> Content:
    return tuple(_made(_PARTS[part["type"]], part) for part in told)


def _message(told: dict[str, Any]) -> Message:
    return _made(Message, told)


def _usage(told: dict[str, Any]) -> Usage:
    return _made(Usage, told)


def _call(told: dict[str, Any]) -> ToolCall:
    return _made(ToolCall, told)


def _calls(told: list[dict[str, Any]]) -> tuple[ToolCall, ...]:
    return tuple(map(_call, told))


def _claims(told: list[dict[str, Any]]) -> tuple[Claim, ...]:
    return tuple(_made(Claim, claim) for claim in told)


# A field of one name is of one type, whichever event holds it.
_READ: dict[str, Callable[[Any], Any]] = {
    "task": _content,
    "said": _content,
    "content": _content,
    "message": _message,
    "usage": _usage,
    "call": _call,
    "calls": _calls,
    "tool_calls": _calls,
    "claims": _claims,
    "tools": tuple,
    "event": lambda told: decode(told)[1],
}


@cache
def _is_ours(kind: type) -> bool:
    return is_dataclass(kind)


@cache
def _told_names(kind: type) -> tuple[str, ...]:
    return tuple(name for name in _field_names(kind) if name not in _UNTOLD)


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _required(kind: type) -> dict[str, bool]:
    return {
        field.name: field.default is MISSING and field.default_factory is MISSING
        for field in fields(kind)
    }


@cache
def _name(kind: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


_EVENTS: dict[str, type] = {_name(kind): kind for kind in get_args(Event)}
