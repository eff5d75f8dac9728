"""What a program prints, kept without growing: the beginning, the end, and a file for the whole.

Memory holds at most the head and the tail. Once more has come than fits, the whole goes to a file
in the run's folder, up to a limit. That folder is writable from inside, so the file is opened by a
name that does not exist yet and never through a link. In the end it is named by what it holds: the
same output twice is one file, and reads the same to whoever compares results.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import BinaryIO

from chogori.toolbox.sandbox.policy import MIB


@dataclass(frozen=True, slots=True)
class Printed:
    """What came out."""

    text: str
    """All of it, or its head and tail with a line between that says what is missing."""
    size: int
    """Bytes printed."""
    whole: Path | None
    """The file that holds more than `text`."""
    truncated: bool = False
    """Whether even the file has only the beginning."""


class Output:
    """Takes bytes as they come. `close` it in the end. Without a folder there is no file."""

    def __init__(
        self,
        folder: Path | None,
        *,
        stem: str = "output",
        head: int = 8_000,
        tail: int = 8_000,
        file_bytes: int = 100 * MIB,
        shown_as: str | None = None,
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._shown_as = shown_as
        self._head_size, self._tail_size, self._file_size = head, tail, file_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._written = 0
        self._digest = sha256()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = self._head_size - len(self._head)
        self._head += data[:room]
        rest = data[room:] if room < len(data) else b""
        overflows = len(self._tail) + len(rest) > self._tail_size
        if overflows and self._path is None and self._folder is not None:
            self._open(self._folder)
        self._tail += rest
        if self._path is not None:
            self._write(rest)
        del self._tail[: -self._tail_size]

    def _open(self, folder: Path) -> None:
        try:
            self._path, self._file = new_file(folder, self._stem, ".txt")
        except OSError:  # no room or no folder: head and tail are all there is
            self._folder = None
            return
        self._write(bytes(self._head + self._tail))

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        data = data[: self._file_size - self._written]
        try:
            self._file.write(data)
            self._digest.update(data)
            self._written += len(data)
        except OSError:  # a full disk costs the copy, not the run
            self._file.close()
            self._file = None

    def _rename(self) -> None:
        assert self._path is not None, "a file has one"
        name = f"{self._stem}-{self._digest.hexdigest()[:12]}.txt"
        with suppress(OSError):  # somebody inside has put a folder there, or taken the file away
            self._path = self._path.replace(self._path.with_name(name))

    def close(self) -> Printed:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._rename()
        missing = self.size - len(self._head) - len(self._tail)
        if self._path is None:
            between = f"\n[... {missing} bytes left out ...]\n".encode() if missing else b""
            text = bytes(self._head + between + self._tail).decode(errors="replace")
            return Printed(text, self.size, None, bool(missing))
        truncated = self._written < self.size
        place = f"{self._shown_as or self._folder}/{self._path.name}"
        held = f"the first {self._written} bytes are" if truncated else "the whole is"
        between = f"\n[... {missing} bytes left out here; {held} in {place} ...]\n"
        head = bytes(self._head).decode(errors="replace")
        tail = bytes(self._tail).decode(errors="replace")
        return Printed(f"{head}{between}{tail}", self.size, self._path, truncated)


def new_file(folder: Path, stem: str, suffix: str) -> tuple[Path, BinaryIO]:
    """A file that was not there, by the first free number."""
    for number in count(1):
        path = folder / f"{stem}-{number}{suffix}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            continue
        return path, os.fdopen(descriptor, "wb")
    raise AssertionError("numbers do not end")
