"""Fields of a request, read one by one: what is absent or null is None, what is wrong is refused
with the name of the field, and what nobody knows is left aside."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from chogori.api.fields import dump
from chogori.api.server.refusals import invalid, missing

DEEPEST = 64
"""How deep JSON that we take as it is (schemas, metadata) may be nested."""

Json = dict[str, Any]


def parse(data: bytes) -> Json:
    """The object that a body is. Half a surrogate pair, which JavaScript sends, becomes U+FFFD."""
    try:
        value: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        value = _parse_loosely(data, error)
    if not isinstance(value, dict):
        raise invalid(None, f"The body must be a JSON object, not {kind_of(value)}.")
    return cast(Json, value)


def _parse_loosely(data: bytes, error: orjson.JSONDecodeError) -> Any:
    try:
        value = json.loads(data, parse_constant=_no_constant)
        return orjson.loads(dump(value))
    except (ValueError, TypeError, RecursionError):
        raise invalid(None, f"The body is not JSON: {error}", "invalid_json") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def text(body: Mapping[str, Any], name: str, where: str = "") -> str | None:
    """A string."""
    value = body.get(name)
    if value is None or type(value) is str:
        return value
    raise wrong(where + name, "a string", value)


def flag(body: Mapping[str, Any], name: str, where: str = "") -> bool | None:
    """True or false."""
    value = body.get(name)
    if value is None or type(value) is bool:
        return value
    raise wrong(where + name, "true or false", value)


def number(
    body: Mapping[str, Any], name: str, low: float, high: float, where: str = ""
) -> float | None:
    """A number from `low` to `high`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise wrong(where + name, "a number", value)
    if not low <= value <= high:
        raise invalid(where + name, f"{where}{name} must be from {low:g} to {high:g}, not {value}.")
    return value


def whole(body: Mapping[str, Any], name: str, low: int, high: int, where: str = "") -> int | None:
    """A whole number from `low` to `high`; 2.0 is one."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise wrong(where + name, "a whole number", value)
    if not low <= value <= high:
        raise invalid(where + name, f"{where}{name} must be from {low} to {high}, not {value}.")
    return value


def choice(body: Mapping[str, Any], name: str, among: Sequence[str], where: str = "") -> str | None:
    """One word of several."""
    value = body.get(name)
    if value is None or (type(value) is str and value in among):
        return value
    raise wrong(where + name, f"one of {', '.join(among)}", value)


def record(body: Mapping[str, Any], name: str, where: str = "") -> Json | None:
    """An object."""
    value = body.get(name)
    if value is None or type(value) is dict:
        return cast(Json | None, value)
    raise wrong(where + name, "an object", value)


def items(body: Mapping[str, Any], name: str, most: int, where: str = "") -> list[Any] | None:
    """A list of at most `most` entries."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not list:
        raise wrong(where + name, "a list", value)
    entries = cast(list[Any], value)
    if len(entries) > most:
        raise invalid(
            where + name, f"{where}{name} has {len(entries)} entries; {most} are allowed."
        )
    return entries


def needed(value: Any, where: str) -> Any:
    """`value`, which must be there."""
    if value is None:
        raise missing(where)
    return value


def plain_json(value: Any, where: str, most_bytes: int) -> bytes:
    """`value` as JSON, where it is neither too deep nor too long."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            break
    else:
        raise invalid(where, f"{where} is nested deeper than {DEEPEST} levels.")
    written = dump(value)
    if len(written) > most_bytes:
        raise invalid(where, f"{where} takes {len(written)} bytes; {most_bytes} are allowed.")
    return written


def _inside(value: Any) -> list[Any]:
    if type(value) is dict:
        return list(cast(Json, value).values())
    return cast(list[Any], value) if type(value) is list else []


def wrong(where: str, expected: str, found: object) -> Exception:
    """A field that is of another kind than it must be."""
    return invalid(where, f"{where} must be {expected}, not {kind_of(found)}.")


def kind_of(value: object) -> str:
    """What a value is, in JSON's words; a short text as it is."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return repr(value) if len(value) <= 40 else "a string"
        case int() | float():
            return str(value)[:40]
        case list():
            return "a list"
        case _:
            return "an object"
