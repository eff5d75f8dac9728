"""Reads text files for a model: a window of lines, and how to read on.

Whatever its size, a file is read in pieces: what is shown is small, and lines are counted only
where that is quick.
"""

import codecs
import os
from typing import BinaryIO

from .names import FileProblem, count_of, size_of
from .walk import Spot

_COUNTED_BYTES = 50_000_000
"""The lines of a larger file are not counted."""
_CHUNK_BYTES = 1 << 16


def read(spot: Spot, first_line: int, lines: int, max_chars: int) -> str:
    """At most so many lines and characters, and a note where that is not all."""
    if first_line < 1 or lines < 1:
        raise FileProblem("first_line and lines begin at 1")
    with spot.open() as file:
        refuse_binary(file, spot.shown)
        if not _skip_lines(file, first_line - 1):
            file.seek(0)
            total = count_of(_newlines(file), "line")
            raise FileProblem(f"{spot.shown} ends before line {first_line:,}: it has about {total}")
        return _window(file, spot.shown, first_line, lines, max_chars)


def _window(file: BinaryIO, shown: str, first_line: int, lines: int, max_chars: int) -> str:
    # One character takes up to four bytes, and one more tells whether anything follows.
    window = decoded(file.read(4 * max_chars + 1), shown)
    kept = window[:max_chars].split("\n")[:lines]
    text = "\n".join(kept)
    if len(text) == len(window) or window[len(text) :] == "\n":
        if first_line == 1:
            return window.removeprefix("\ufeff") or f"{shown} is empty"
        return f"{text}\n[the end of {shown}]"
    is_whole = window[len(text)] == "\n"
    if not is_whole and len(kept) == 1:
        return (
            f"{text}\n[line {first_line:,} of {shown} is longer than the {max_chars:,} characters "
            "shown; take the rest apart with python]"
        )
    if not is_whole:
        kept.pop()
    body = "\n".join(kept).removeprefix("\ufeff")
    last = first_line + len(kept) - 1
    span = f"lines {first_line:,}-{last:,}{_total(file)}"
    return f"{body}\n[{span}; read on with first_line={last + 1}]"


def _total(file: BinaryIO) -> str:
    size = os.fstat(file.fileno()).st_size
    if size > _COUNTED_BYTES:
        return f" ({size_of(size)})"
    file.seek(0)
    return f" of {_newlines(file) + 1:,}"


def _skip_lines(file: BinaryIO, count: int) -> bool:
    """Go to where `count` lines have passed, a chunk at a time; whether anything is there."""
    while count:
        chunk = file.read(_CHUNK_BYTES)
        if not chunk:
            return False
        found = chunk.count(b"\n")
        if found < count:
            count -= found
            continue
        end = 0
        for _ in range(count):
            end = chunk.index(b"\n", end) + 1
        file.seek(end - len(chunk), os.SEEK_CUR)
        here = file.read(1)
        file.seek(-len(here), os.SEEK_CUR)
        return bool(here)
    return True


def _newlines(file: BinaryIO) -> int:
    return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


_SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"PAR1", "a Parquet table"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)


def refuse_binary(file: BinaryIO, shown: str) -> None:
    """Raise `FileProblem` where the file's beginning says that it is no text."""
    head = file.read(_CHUNK_BYTES)
    file.seek(0)
    kind = next((kind for start, kind in _SIGNATURES if head.startswith(start)), "")
    if head.startswith(b"PK\x03\x04"):
        office = {"sheet": "an Excel workbook", "word": "a Word document", "present": "slides"}
        guessed = _guessed(shown)
        kind = next((name for word, name in office.items() if word in guessed), "a ZIP archive")
    if not kind and b"\0" in head:
        kind = _guessed(shown) or "binary data"
    if kind:
        size = size_of(os.fstat(file.fileno()).st_size)
        raise FileProblem(f"{shown} is {kind} ({size}), not text; open it with python")


def _guessed(shown: str) -> str:
    import mimetypes  # reads the system's lists, for one file in a thousand

    return mimetypes.guess_type(shown)[0] or ""


def decoded(data: bytes, shown: str) -> str:
    """As text, but for a character that the end of `data` cuts."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError as error:
        raise FileProblem(
            f"{shown} is not UTF-8 (byte 0x{data[error.start]:02x}); read it with python, "
            'for example open(path, encoding="latin-1")'
        ) from None
