"""Text that comes with a question: `--file PATH`, and what is piped in.

The model is shown as much as has room; the whole lies in the run's /out, where programs read it.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from chogori.chat import TextPart
from chogori.errors import ConfigError

MAX_BYTES = 64 << 20
STDIN_SECONDS = 10.0
"""How long an open pipe may say nothing before a question goes on without it."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A named text."""

    name: str
    text: str


def read_file(path: Path) -> Attachment:
    """The text of a file. Raises `ConfigError` where it is none."""
    try:
        if not path.is_file():
            why = "a folder" if path.is_dir() else "not a file" if path.exists() else "not there"
            raise ConfigError(f"--file {path}: it is {why}")
        with path.open("rb") as file:
            return Attachment(path.name, _text_of(file, f"--file {path}"))
    except OSError as error:
        raise ConfigError(f"--file {path}: {error.strerror}") from error


def read_stdin(*, wait: bool) -> str | None:
    """What is piped in, or None where nothing is. With `wait`, an open pipe that says nothing is
    given up after a while (a program that runs this one may have left it open)."""
    try:
        fd = sys.stdin.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError, AttributeError):
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return None
    if wait and not select.select([fd], [], [], STDIN_SECONDS)[0]:
        print(
            f"nothing came on the standard input within {STDIN_SECONDS:.0f} s; going on without "
            "(< /dev/null saves the wait)",
            file=sys.stderr,
        )
        return None
    return _text_of(sys.stdin.buffer, "the standard input") or None


def attach(attachments: Sequence[Attachment], out: Path, *, room_chars: int) -> list[TextPart]:
    """Put the texts into `out`, and as much of each as has room into parts of a task."""
    room = room_chars // max(1, len(attachments))
    parts: list[TextPart] = []
    for number, attachment in enumerate(attachments, 1):
        name = _name(attachment.name, number)
        if (out / name).exists():
            name = f"{number}-{name}"
        (out / name).write_text(attachment.text, encoding="utf-8", newline="")
        size = len(attachment.text)
        shown = "" if size <= room else f"; only its first {room:,} characters are shown here"
        head = f"\n\n{attachment.name} ({size:,} characters, in /out/{name}{shown}):\n"
        parts.append(TextPart(head + attachment.text[:room]))
    return parts


def without_surrogates(text: str) -> str:
    """`text`, with what is no Unicode character shown as U+FFFD."""
    return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "replace").decode(
        "utf-8", "replace"
    )


def _is_escaped(text: str) -> bool:
    """Whether `text` can be turned back into the bytes that the system handed over."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _text_of(file: BinaryIO, what: str) -> str:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{what} is larger than {MAX_BYTES >> 20} MB; put it into the workspace and name it in "
            "the question, so that a program reads it"
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    if "\0" in text or text.count("\ufffd") > len(text) / 10:
        raise ConfigError(
            f"{what} is not text; put it into the workspace and name it in the question, so that "
            "a program reads it"
        )
    return text


def _name(name: str, number: int) -> str:
    plain = "".join(c if c.isalnum() or c in "._- " else "_" for c in without_surrogates(name))
    return plain.strip(". ")[-100:] or f"attachment-{number}"
