"""Server-sent events: bytes in, JSON values out.

Lines end at LF, CR LF or CR and nowhere else: JSON text may hold U+2028 or U+0085, at which
`str.splitlines` would cut it in two. However the bytes are cut, the events are the same.
Comments and all fields but `data` are ignored. Bytes that nothing will ever end are refused at
`MOST_BYTES`, so that an endpoint cannot fill the memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

DONE = b"[DONE]"
MOST_BYTES = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Collects the `data` of events from bytes as they come."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._after_cr = False
        self._head: bytes | None = b""
        """The first bytes, until it is plain whether they are a byte order mark."""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes."""
        if not data:
            return []
        if self._head is not None:
            data = self._head + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._head = data
                return []
            data, self._head = data.removeprefix(_BOM), None
        if self._after_cr:
            data = data.removeprefix(b"\n")
        events: list[bytes] = []
        if not (self._line or self._data) and b"\r" not in data:
            data = _take_plain(data, events)
        # bytes.splitlines, unlike that of str, knows LF, CR LF and CR alone.
        for piece in data.splitlines(keepends=True):
            self._line.append(piece.rstrip(b"\r\n"))
            if piece.endswith((b"\n", b"\r")):
                self._end_line(events)
            else:
                self._line_bytes += len(piece)
                if self._line_bytes > MOST_BYTES:
                    raise ValueError(f"one line of the stream is longer than {MOST_BYTES} bytes")
        self._after_cr = data.endswith(b"\r")
        return events

    def close(self) -> list[bytes]:
        """The last event, where the stream ended without the empty line that is due after it."""
        events = self.feed(b"\n\n") if self._head is None else []
        self._line.clear()
        return events

    def _end_line(self, events: list[bytes]) -> None:
        line = b"".join(self._line)
        self._line.clear()
        self._line_bytes = 0
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))


def _take_plain(data: bytes, events: list[bytes]) -> bytes:
    """Move the events at the beginning of `data` that are one line each; returns the rest. Nearly
    all are, and then nobody need look at lines."""
    at = 0
    while (end := data.find(b"\n\n", at)) >= 0:
        if not data.startswith(b"data: ", at) or data.find(b"\n", at, end) >= 0:
            break
        events.append(data[at + 6 : end])
        at = end + 2
    return data[at:]


def decode_all(events: Sequence[bytes]) -> list[Any] | None:
    """The JSON values of events that are one value each, read at one stroke; None where one of
    them is not."""
    try:
        values = orjson.loads(b"[" + b",".join(events) + b"]")
    except orjson.JSONDecodeError:
        return None
    return values if len(values) == len(events) else None


def decode(data: bytes) -> list[Any]:
    """The JSON values of one event: one, or several where an endpoint left out the empty lines.

    Half a surrogate pair is let through (servers that count in UTF-16 cut text there; `repair`
    joins the halves) and bytes that are not UTF-8 become U+FFFD. Raises `ValueError`.
    """
    try:
        return [orjson.loads(data)]
    except orjson.JSONDecodeError:
        pass
    text = data.decode("utf-8", "replace")
    try:
        return [json.loads(text)]
    except ValueError:
        lines = [line for line in text.split("\n") if line.strip() not in ("", "[DONE]")]
        return [json.loads(line) for line in lines]


def whole_text(text: str) -> str:
    """`text` with surrogate pairs joined; a half without its other becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Halves:
    """Joins the halves of a surrogate pair that came in two pieces of text."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """`text`, whole as far as it goes."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return whole_text(text)
