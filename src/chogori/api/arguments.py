"""The arguments of a tool call: JSON text, mended while it streams where only one meaning is open.

What is mended:
  - a comma before a closing bracket is dropped;
  - brackets left open are closed, if the reply was not cut short and the last value is whole;
  - a Markdown code fence round the object is taken off;
  - an object written as a JSON string (encoded twice) is decoded once;
  - an empty object that stands before the real one is dropped;
  - an object in Python's single quotes is written as JSON, if Python itself reads it.

Anything else stays as the model wrote it, so that the tool can tell the model what is wrong. A
string without its end is never closed: half a file must not be written as if it were whole.
Text that begins like a JSON object streams through; any other is held back until the call ends.
However the text is cut, the result is the same.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, NoReturn, cast

import orjson

from chogori.api.fields import dump

UNREADABLE = "unreadable_arguments"
"""Under this name arguments that are no JSON object go back to the endpoint."""
_CLOSES = {"{": "}", "[": "]"}
_STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
"""The inside of a string, up to its end or to a backslash whose other half has not come."""
_PLAIN = re.compile(r'[^"{}\[\],]+')
_FENCE = re.compile(r"\s*```[a-zA-Z]*\s*\n(?P<inside>.*?)\n?\s*```\s*", re.DOTALL)
_EMPTY_FIRST = re.compile(r"\A\s*\{\s*\}\s*(?=\{)")
_ODD_ESCAPE = re.compile(r"\\[^\\nrt'\"u]")
"""Escapes that JSON and Python read differently, or do not read."""


class Arguments:
    """One call's arguments. `feed` and `end` return what may be passed on."""

    def __init__(self) -> None:
        self._mode: str = "begin"
        self._held: str = ""
        self._open: list[str] = []
        self._in_string = False
        self._comma: str | None = None
        """A comma and the white space after it, until what follows is known."""
        self._passed: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether what has come is an object that is closed, so that no more of it can come."""
        if self._mode == "stream":
            return not self._open
        return self._mode == "hold" and _reads_as_object(_mended(self._held))

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come."""
        return self._mode == "begin" and not self._held

    def feed(self, text: str) -> str:
        """What of the arguments is certain now."""
        if self._mode == "begin":
            text, self._held = self._held + text, ""
            start = text.lstrip()
            second = start[1:].lstrip()[:1]
            if not start or (start[0] == "{" and not second):
                self._held = text
                return ""
            self._mode = "stream" if start[0] == "{" and second == '"' else "hold"
            if text[-1] == "}" and parsed_object(text) is not None:  # whole: nothing to mend
                self._mode = "stream"
                self._passed.append(text)
                return text
        if self._mode == "hold":
            self._held += text
            return ""
        return self._pass_on(text)

    def end(self, *, cut_short: bool) -> str:
        """The rest. `cut_short`: the reply ended before the model was done."""
        if self._mode != "stream":
            return self._held if cut_short else _mended(self._held)
        if cut_short or self._in_string or self._comma is not None:
            return self._held or self._comma or ""
        missing = "".join(_CLOSES[bracket] for bracket in reversed(self._open))
        return missing if missing and _reads_as_object("".join(self._passed) + missing) else ""

    def _pass_on(self, text: str) -> str:
        text, self._held = self._held + text, ""
        out: list[str] = []
        at = 0
        while at < len(text):
            stop = _end_of(_STRING if self._in_string else _PLAIN, text, at)
            if stop > at:
                self._take(text[at:stop], out)
            elif text[at] == "\\" and self._in_string:  # what it escapes has not come
                self._held = text[at:]
                break
            else:
                stop = at + 1
                self._mark(text[at], out)
            at = stop
        self._passed += out
        return "".join(out)

    def _take(self, text: str, out: list[str]) -> None:
        if self._comma is not None and not text.strip():
            self._comma += text
            return
        self._settle_comma(out, keep=True)
        out.append(text)

    def _mark(self, mark: str, out: list[str]) -> None:
        if mark == '"':
            self._settle_comma(out, keep=True)
            self._in_string = not self._in_string
        elif mark == ",":
            self._settle_comma(out, keep=True)
            self._comma = ","
            return
        else:
            self._settle_comma(out, keep=mark not in "}]")
            if mark in _CLOSES:
                self._open.append(mark)
            elif self._open and _CLOSES[self._open[-1]] == mark:
                self._open.pop()
        out.append(mark)

    def _settle_comma(self, out: list[str], *, keep: bool) -> None:
        if self._comma is not None:
            out.append(self._comma if keep else self._comma.removeprefix(","))
            self._comma = None


def mended(text: str) -> str:
    """`text`, whole, with what is unambiguous put right."""
    arguments = Arguments()
    return arguments.feed(text) + arguments.end(cut_short=False)


def as_text(value: object) -> str:
    """Arguments as text: some endpoints give an object where text is due."""
    match value:
        case None:
            return ""
        case str():
            return value
        case _:
            return dump(value).decode()


def parsed_object(text: str) -> dict[str, Any] | None:
    """The object that `text` is, or None."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def as_object(text: str) -> str:
    """`text` where it is a JSON object; "{}" where it is empty; or else an object that keeps it,
    word for word. Servers read the arguments of earlier calls, to lay them out for their model,
    and answer a request that holds anything but objects with an error of their own."""
    if not text or parsed_object(text) is not None or _is_odd_object(text):
        return text or "{}"
    return dump({UNREADABLE: text}).decode()


def _is_odd_object(text: str) -> bool:
    """Whether it is an object that only the standard library reads: half a surrogate pair."""
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def _reads_as_object(text: str) -> bool:
    return parsed_object(text) is not None


def _mended(text: str) -> str:
    """What did not begin like an object."""
    if fenced := _FENCE.fullmatch(text):
        inside = mended(fenced["inside"])
        return inside if _reads_as_object(inside) else text
    if not text.strip() or _reads_as_object(text):
        return text
    if (later := _EMPTY_FIRST.sub("", text)) != text:
        inside = mended(later)
        return inside if _reads_as_object(inside) else text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _from_python(text)
    return value if isinstance(value, str) and _reads_as_object(value) else text


def _from_python(text: str) -> str:
    if _ODD_ESCAPE.search(text):
        return text
    try:
        value = ast.literal_eval(text.strip())
        if isinstance(value, dict):
            return orjson.dumps(value).decode()
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    return text
