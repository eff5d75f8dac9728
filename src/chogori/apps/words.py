"""Text made fit to be shown: no control characters, one line, in short."""

from __future__ import annotations

import re
from typing import Any, cast

import orjson

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_SENTENCE = re.compile(r"(.+?(?:[.!?](?=\s|$)|[\u3002\uff01\uff1f]))", re.DOTALL)
RESULT_CHARS = 300


def clean(text: str) -> str:
    """`text` without what would steer a terminal; tabs become spaces."""
    text = _ESCAPE.sub("", text.replace("\r\n", "\n").replace("\t", "    "))
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """`text` with every run of white space made one space."""
    return " ".join(clean(text).split())


def first_sentence(text: str) -> str:
    """The first sentence, and how many words follow it."""
    found = _SENTENCE.match(text.strip().split("\n", 1)[0]) or re.match(".*", text.strip())
    first = found.group() if found else ""
    more = len(text.split()) - len(first.split())
    return one_line(first) + (f" (+{more} words)" if more > 0 else "")


def said_in_short(text: str) -> str:
    """The first line of a result, and how many follow it."""
    lines = clean(text).strip().split("\n")
    first = lines[0][:RESULT_CHARS] + ("…" if len(lines[0]) > RESULT_CHARS else "")
    more = len(lines) - 1
    return one_line(first) + (f" (+{more} line{'' if more == 1 else 's'})" if more else "")


def arguments_in_short(arguments: str) -> str:
    """A call's arguments for one line: a lone text by its first line, others as name=value."""
    try:
        told: object = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return said_in_short(arguments)
    if not isinstance(told, dict):
        return said_in_short(arguments)
    values = list(cast(dict[str, Any], told).items())
    if len(values) == 1 and isinstance(values[0][1], str):
        return said_in_short(values[0][1])
    return said_in_short(
        ", ".join(f"{name}={orjson.dumps(value).decode()}" for name, value in values)
    )


def many(count: int, what: str) -> str:
    """So many of something, its name with an s unless there is one."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
