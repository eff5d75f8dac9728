"""Keeping runs and finding them again.

A run is a folder, DATA/runs/ID: `events.jsonl` holds its events as they happened, in the schema of
`--json`; `out/` is what its tools saw as /out; `error.txt` says what ended it, where something did.
Deltas of one kind that follow each other are kept joined, under the number of the first of them.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chogori.chat import (
    Answer,
    Event,
    ReasoningDelta,
    RunStarted,
    TextDelta,
    ToolCallDelta,
    Waiting,
    text_of,
)
from chogori.chat.event_json import from_line, to_line
from chogori.errors import ChogoriError, ConfigError, RunNotFound

JOINED_CHARS = 4_000
JOINED_SECONDS = 0.5
"""Deltas wait so long, at most, to be joined to others; a kill costs no more than this."""
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


class Recorder:
    """Writes the events of one run as they happen. `close` it, however the run ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sequence = 0
        """The number of the next event."""
        self._joined: list[str] = []
        self._joined_as: type[TextDelta] | type[ReasoningDelta] = TextDelta
        self._joined_first = 0
        self._joined_since = 0.0
        self._joined_chars = 0
        self._file: int | None = None

    def add(self, event: Event) -> int:
        """Keep `event`; returns its number."""
        number, self.sequence = self.sequence, self.sequence + 1
        match event:
            case TextDelta(text) | ReasoningDelta(text):
                self._join(type(event), text, number)
            case ToolCallDelta():
                self._flush()  # the whole call comes with `ReplyFinished`
            case _:
                self._flush()
                self._write(event, number)
        return number

    def failed(self, text: str) -> Path:
        """Keep what ended the run; returns the file it is in."""
        self._flush()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "error.txt"
        path.write_text(text + "\n", encoding="utf-8", errors="replace")
        path.chmod(0o600)
        return path

    def close(self) -> None:
        """Write what is left, and let the file go."""
        self._flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _join(self, kind: type[TextDelta] | type[ReasoningDelta], text: str, number: int) -> None:
        now = time.monotonic()
        if self._joined and (kind is not self._joined_as or self._is_due(now)):
            self._flush()
        if not self._joined:
            self._joined_as, self._joined_first, self._joined_since = kind, number, now
        self._joined.append(text)
        self._joined_chars += len(text)

    def _is_due(self, now: float) -> bool:
        return self._joined_chars > JOINED_CHARS or now - self._joined_since > JOINED_SECONDS

    def _flush(self) -> None:
        if self._joined:
            text, self._joined, self._joined_chars = "".join(self._joined), [], 0
            self._write(self._joined_as(text), self._joined_first)

    def _write(self, event: Event, number: int) -> None:
        if self._file is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(self.folder / "events.jsonl", flags, 0o600)
        left = memoryview(to_line(event, number))
        while left:
            left = left[os.write(self._file, left) :]


@dataclass(frozen=True, slots=True)
class Kept:
    """One line of `runs list`."""

    id: str
    model: str
    state: str
    """answered, budget, guard, waiting, failed, or unfinished."""
    steps: int
    seconds: float
    question: str


class Runs:
    """The runs in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ids(self) -> list[str]:
        """The ids of all runs, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if (path / "events.jsonl").is_file()]
        # An id begins with its second; within one, the file that was written first goes first.
        return [
            path.name
            for path in sorted(
                found, key=lambda path: (path.name[:15], (path / "events.jsonl").stat().st_mtime_ns)
            )
        ]

    def find(self, wanted: str) -> str:
        """The id that `wanted` means: an id, the beginning of just one, or "last".

        Raises `RunNotFound`.
        """
        ids = self.ids()
        if wanted == "last" and ids:
            return ids[-1]
        found = [id for id in ids if id.startswith(wanted)] if _ID.fullmatch(wanted) else []
        if wanted in found or len(found) == 1:
            return wanted if wanted in found else found[0]
        if found:
            raise RunNotFound(f"{wanted!r} begins {len(found)} runs: {', '.join(found[:5])}")
        raise RunNotFound(f"there is no run {wanted!r} here; see: chogori runs list")

    def events(self, id: str) -> Iterator[tuple[int, Event] | ConfigError]:
        """What was kept of a run, in order; for a line that is damaged, what is wrong with it."""
        with (self.folder / id / "events.jsonl").open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield from_line(line)
                except ConfigError as error:
                    yield ConfigError(f"line {number} of the run cannot be read: {error}")

    def error(self, id: str) -> str:
        """What ended the run, or ""."""
        path = self.folder / id / "error.txt"
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""

    def summary(self, id: str) -> Kept:
        """A run in one line; reads its first line and its last."""
        with (self.folder / id / "events.jsonl").open("rb") as file:
            first = last = file.readline()
            for line in file:
                last = line
        begun, ended = _event(first), _event(last)
        state = "failed" if self.error(id) else "unfinished"
        steps, seconds = 0, 0.0
        match ended:
            case Answer(stopped_by=why):
                state = "answered" if why == "answer" else why
                steps, seconds = ended.steps, ended.seconds
            case Waiting():
                state, steps, seconds = "waiting", ended.steps, ended.seconds
            case _:
                pass
        if not isinstance(begun, RunStarted):
            return Kept(id, "?", state, steps, seconds, "")
        return Kept(id, begun.model, state, steps, seconds, " ".join(text_of(begun.task).split()))

    def remove(self, id: str) -> None:
        """Delete a run and everything in its folder. Raises `ChogoriError`."""
        try:
            shutil.rmtree(self.folder / id)
        except OSError as error:
            raise ChogoriError(
                f"the run {id} could not be removed whole: {error.filename}: {error.strerror}"
            ) from error


def _event(line: bytes) -> Event | None:
    try:
        return from_line(line)[1]
    except ConfigError:
        return None
