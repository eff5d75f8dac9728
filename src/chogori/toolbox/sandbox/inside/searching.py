"""Searches files for a regular expression, a line at a time, within a time limit.

The expressions are Python's own, the ones models write best. One that backtracks for ever is
stopped by a signal, which the matcher heeds, and what was found until then counts. Folders are
walked by descriptor, without following links.
"""

import fnmatch
import os
import re
import signal
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from .listing import HIDDEN, globs_of
from .names import FileProblem, count_of, printable
from .walk import OPEN_FILE, OPEN_FOLDER, Spot

_MOST_MATCHES = 5_000
_WIDTH = 300
"""As many characters of a line are told."""
_SNIFF_BYTES = 8_192
_LINE_BYTES = 100_000
"""A longer line is searched in pieces of this size."""
_DEEPEST = 100


class _TimeUp(BaseException):
    pass


class Search:
    """One search, and what it found so far."""

    def __init__(self, pattern: str, glob: str, *, ignore_case: bool, seconds: float) -> None:
        self.pattern = pattern
        self.seconds = seconds
        self.lines: list[str] = []
        self._flags = re.IGNORECASE if ignore_case else 0
        globs = [one.removeprefix("**/") for one in globs_of(glob)]
        self._chosen = re.compile("|".join(fnmatch.translate(one) for one in globs))
        self._files = self._searched = self._binary = 0
        self._is_cut = self._is_stopped = False

    def run(self, spot: Spot) -> None:
        """Search a file, or a folder with all below it. For a process's main thread."""
        try:
            with _alarm(self.seconds):
                matcher = self._compiled()
                for shown, file in self._opened(spot):
                    with file:
                        self._search(file, shown, matcher)
                    if self._is_cut:
                        break
        except _TimeUp:
            self._is_stopped = True

    def notes(self) -> Iterator[str]:
        """What is to be said of the search as a whole."""
        found = count_of(len(self.lines), "match")
        if self._is_stopped:
            seconds = f"{self.seconds:g} second{'' if self.seconds == 1 else 's'}"
            yield (
                f"stopped after {seconds} with {found}; "
                "give a narrower path or glob, or a simpler pattern"
            )
            return
        searched = count_of(self._searched, "text file")
        if not self.lines:
            yield f"no match in {searched}"
        elif self._is_cut:
            yield f"stopped at {found}; there are more"
        else:
            yield f"{found} in {self._files} of {searched}"
        if self._binary:
            yield f"{count_of(self._binary, 'binary file')} skipped"

    def _compiled(self) -> re.Pattern[str]:
        try:
            return re.compile(self.pattern, self._flags)
        except (re.error, OverflowError, RecursionError) as error:
            raise FileProblem(f"the pattern is not a regular expression: {error}") from None

    def _search(self, file: BinaryIO, shown: str, matcher: re.Pattern[str]) -> None:
        """Note the matches in one file, until there are enough."""
        if b"\0" in file.read(_SNIFF_BYTES):
            self._binary += 1
            return
        file.seek(0)
        self._searched += 1
        is_first, is_continued, number = True, False, 0
        while line := file.readline(_LINE_BYTES):
            number += not is_continued
            is_continued = not line.endswith(b"\n")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            match = matcher.search(text)
            if match is None:
                continue
            if len(self.lines) >= _MOST_MATCHES:
                self._is_cut = True
                return
            self._files += is_first
            is_first = False
            self.lines.append(f"{shown}:{number}: {_excerpt(text, match.start())}")

    def _opened(self, spot: Spot) -> Iterator[tuple[str, BinaryIO]]:
        """The regular files to search, by the names they are told by, in order."""
        if not spot.is_folder:
            yield spot.shown, spot.open()
            return
        for path, descriptor in self._below(spot.folder(), "", 0):
            yield f"{spot.shown}/{printable(path)}", os.fdopen(descriptor, "rb")

    def _below(self, folder: int, above: str, depth: int) -> Iterator[tuple[str, int]]:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = f"{above}{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in HIDDEN and depth < _DEEPEST:
                        yield from self._inside(folder, entry.name, path, depth)
                elif entry.is_file(follow_symlinks=False) and self._is_chosen(entry.name, path):
                    yield from _regular(folder, entry.name, path)
            except OSError:
                continue  # unreadable, or gone since: as good as not there

    def _inside(self, folder: int, name: str, path: str, depth: int) -> Iterator[tuple[str, int]]:
        inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
        try:
            yield from self._below(inner, f"{path}/", depth + 1)
        finally:
            os.close(inner)

    def _is_chosen(self, name: str, path: str) -> bool:
        return bool(self._chosen.match(name) or self._chosen.match(path))


def _regular(folder: int, name: str, path: str) -> Iterator[tuple[str, int]]:
    descriptor = os.open(name, OPEN_FILE, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        yield path, descriptor
    else:
        os.close(descriptor)


def _excerpt(text: str, start: int) -> str:
    """The line, or the part of a long one that holds the match, without control characters."""
    begin = max(0, min(start - _WIDTH // 4, len(text) - _WIDTH))
    end = begin + _WIDTH
    part = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]", " ", text[begin:end])
    return f"{'...' if begin else ''}{part}{'...' if end < len(text) else ''}"


@contextmanager
def _alarm(seconds: float) -> Generator[None]:
    """`_TimeUp` is raised in what runs meanwhile, when the time is up."""

    def ring(number: int, frame: object) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
