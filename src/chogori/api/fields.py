"""JSON of unknown shape, and fields of a delta that we do not know, put together as they come.

Strings are joined, lists appended, objects merged; entries of a list that carry an `index` are
merged with the entry of that index (OpenRouter's `reasoning_details`). What names or numbers a
thing is not joined but replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import orjson

_NAMES = ("type", "id", "index", "format", "role", "object")


def record(value: object) -> Mapping[str, Any]:
    """`value` where it is a JSON object, or else an empty one."""
    if type(value) is dict:  # most are, and to ask for more takes its time
        return cast(dict[str, Any], value)
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def listed(value: object) -> list[Any]:
    """`value` where it is a JSON array, or else an empty one."""
    return cast(list[Any], value) if isinstance(value, list) else []


def dump(value: object) -> bytes:
    """JSON. Half a surrogate pair becomes U+FFFD; integers may be of any size."""
    try:
        return orjson.dumps(value)
    except TypeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast(Mapping[str, Any], value))
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def merge_field(into: dict[str, Any], name: str, value: Any) -> None:
    """Add what a chunk brought of the field `name`."""
    old = into.get(name)
    if isinstance(old, str) and isinstance(value, str) and name not in _NAMES:
        into[name] = old + value
    elif isinstance(old, dict) and isinstance(value, dict):
        for inner, part in cast(dict[str, Any], value).items():
            merge_field(cast(dict[str, Any], old), inner, part)
    elif isinstance(value, list):
        entries = listed(cast(object, old))
        into[name] = entries
        for entry in cast(list[Any], value):
            _merge_entry(entries, entry)
    elif isinstance(value, dict):
        into[name] = {}
        for inner, part in cast(dict[str, Any], value).items():
            merge_field(into[name], inner, part)
    elif value is not None or old is None:
        into[name] = value


def _merge_entry(entries: list[Any], entry: Any) -> None:
    if not isinstance(entry, dict):
        entries.append(entry)
        return
    new = cast(dict[str, Any], entry)
    place, kind = new.get("index"), new.get("type")
    for old in entries:
        if place is not None and old.get("index") == place and old.get("type") == kind:
            for name, value in new.items():
                merge_field(old, name, value)
            return
    entries.append(dict(new))
