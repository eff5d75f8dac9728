"""Searches files for a regular expression. A script: `python -I -S grep_child.py`, see `child.py`.

The request, JSON on standard input, names an open descriptor: a folder, walked without following
links, or a file. Matches are written as they are found, a line each, so that what was found counts
even when the search is killed; the last line is JSON, a summary or what is wrong with the pattern.
"""

import fnmatch
import io
import json
import os
import re
import resource
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SNIFF_BYTES = 8_192
_LINE_BYTES = 100_000
"""A longer line is searched in pieces of this size."""
_DEEPEST = 100


@dataclass(frozen=True)
class Request:
    pattern: str
    ignore_case: bool
    descriptor: int
    shown: str
    """What the folder or file is called in the answer."""
    globs: list[str]
    hidden: list[str]
    """Names of folders that are passed over."""
    most: int
    """As many matches are told."""
    width: int
    """As many characters of a line are told."""
    seconds: int


@dataclass
class Summary:
    error: str = ""
    matches: int = 0
    files: int = 0
    searched: int = 0
    binary: int = 0
    more: bool = False
    """Whether there were further matches."""


def main() -> None:
    request = Request(**json.load(sys.stdin))
    # A backstop for when nobody is left to kill us.
    resource.setrlimit(resource.RLIMIT_CPU, (request.seconds + 1, request.seconds + 2))
    summary = Summary()
    try:
        pattern = re.compile(request.pattern, re.IGNORECASE if request.ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        summary.error = str(error)
    else:
        for shown, descriptor in files(request):
            with io.open(descriptor, "rb") as file:  # noqa: UP020 (a descriptor, not a path)
                search(file, pattern, shown, request, summary)
            if summary.more:
                break
    print(json.dumps(asdict(summary)))


def search(
    file: io.BufferedReader,
    pattern: re.Pattern[str],
    shown: str,
    request: Request,
    summary: Summary,
) -> None:
    """Tell the matches in one file, until there are enough."""
    if b"\0" in file.peek(_SNIFF_BYTES)[:_SNIFF_BYTES]:
        summary.binary += 1
        return
    summary.searched += 1
    is_first, is_continued, number = True, False, 0
    while line := file.readline(_LINE_BYTES):
        number += not is_continued
        is_continued = not line.endswith(b"\n")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        match = pattern.search(text)
        if match is None:
            continue
        if summary.matches >= request.most:
            summary.more = True
            return
        summary.matches += 1
        summary.files += is_first
        is_first = False
        print(f"{shown}:{number}: {excerpt(text, match.start(), request.width)}", flush=True)


def excerpt(text: str, start: int, width: int) -> str:
    """The line, or the part of a long one that holds the match, without control characters."""
    begin = max(0, min(start - width // 4, len(text) - width))
    end = begin + width
    part = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]", " ", text[begin:end])
    return f"{'...' if begin else ''}{part}{'...' if end < len(text) else ''}"


def files(request: Request) -> Iterator[tuple[str, int]]:
    """Names and descriptors of the regular files to search, in order of name."""
    if stat.S_ISREG(os.fstat(request.descriptor).st_mode):
        yield request.shown, request.descriptor
        return
    chosen = re.compile("|".join(fnmatch.translate(glob) for glob in request.globs))
    yield from walk(request.descriptor, "", 0, chosen, request)


def walk(
    folder: int, below: str, depth: int, chosen: re.Pattern[str], request: Request
) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{below}{entry.name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                if entry.name in request.hidden or depth == _DEEPEST:
                    continue
                inner = os.open(entry.name, _OPEN_FOLDER, dir_fd=folder)
                try:
                    yield from walk(inner, f"{path}/", depth + 1, chosen, request)
                finally:
                    os.close(inner)
            elif entry.is_file(follow_symlinks=False) and (
                chosen.match(entry.name) or chosen.match(path)
            ):
                file = os.open(entry.name, _OPEN_FILE, dir_fd=folder)
                if stat.S_ISREG(os.fstat(file).st_mode):
                    yield f"{request.shown}/{printable(path)}", file
                else:
                    os.close(file)
        except OSError:
            continue  # unreadable, or gone since: as good as not there


def printable(name: str) -> str:
    """As in `places.py`, which this script cannot import."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda found: ascii(found[0])[1:-1], name)


if __name__ == "__main__":
    main()
