"""Tools that read, write, list and search text files, in the folders of `places.py`.

Searching runs in a child process that can be killed, with Python's own regular expressions, the
ones models write best; so a pattern that backtracks for ever ends at a time limit, no other program
need be installed, and the child walks by descriptor like everything else here.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import mimetypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, BinaryIO, cast

import orjson

from chogori.chat import Tool, ToolContext, ToolError, ToolResult, content_of, tool
from chogori.toolbox.child import run_child
from chogori.toolbox.listing import HIDDEN, Listing, globs_of
from chogori.toolbox.places import MAX_CHARS, Folders, Places, Spot, cut, size_of

_EDITABLE_BYTES = 10_000_000
_COUNTED_BYTES = 50_000_000
"""The lines of a larger file are not counted."""
_CHUNK_BYTES = 1 << 16
_GREP_MATCHES = 5_000
_GREP_WIDTH = 300
_GREP_CHILD = Path(__file__).with_name("grep_child.py")

Where = Annotated[str, "A file: /work/..., /out/..., or relative to /work."]


def file_tools(places: Places, *, max_chars: int = MAX_CHARS, grep_seconds: int = 10) -> list[Tool]:
    """`read_file`, `write_file`, `edit_file`, `list_files` and `grep` on `places`."""
    # Two edits of one file must not both begin from what was there before either.
    writing = Lock()

    @tool(effect="pure")
    def read_file(
        path: Where,
        context: ToolContext,
        first_line: Annotated[int, "Where to begin; lines count from 1."] = 1,
        lines: Annotated[int, "How many lines at most."] = 2_000,
    ) -> str:
        """Read a text file. What does not fit is cut, and the result says how to read on."""
        with places.of(context).at(path) as spot, spot.open() as file:
            return _read(file, spot.shown, first_line, lines, max_chars)

    def touches_written(path: str, text: str) -> list[str]:
        return [places.touched(path)]

    @tool(effect="idempotent", touches=touches_written)
    def write_file(
        path: Where,
        text: Annotated[str, "The whole text of the file."],
        context: ToolContext,
    ) -> ToolResult:
        """Write a text file, new or in place of the one that is there. Makes its folders."""
        with writing, places.of(context).at(path, make_parents=True) as spot:
            data = _encoded(text)
            spot.replace(data)
            wrote = (
                f"wrote {_count(_lines_in(text), 'line')} ({size_of(len(data))}) to {spot.shown}"
            )
            return ToolResult(content_of(wrote), extra={"files": [spot.shown]})

    def edited_before(
        path: str, old: str, new: str, context: ToolContext, all: bool = False
    ) -> ToolResult | None:
        folders = places.of(context)
        try:
            with folders.at(path) as spot:
                text, shown = _editable(spot), spot.shown
        except ToolError:  # doing it now would say what is wrong
            return None
        happened = _record_says(folders, context, text)
        if happened is None:
            happened = _text_says(text, old, new)
        if not happened:
            return None
        told = f"edited {shown}; the edit had already happened"
        return ToolResult(content_of(told), extra={"files": [shown]})

    def touches_edited(path: str, old: str, new: str, all: bool) -> list[str]:
        return [places.touched(path)]

    @tool(effect="reconcilable", touches=touches_edited, reconcile=edited_before)
    def edit_file(
        path: Where,
        old: Annotated[str, "The text to replace, exactly as it is in the file."],
        new: Annotated[str, "What to put in its place."],
        context: ToolContext,
        all: Annotated[bool, "Replace every occurrence; otherwise there must be just one."] = False,
    ) -> ToolResult:
        """Replace a piece of a text file. Take in enough of the text around it to be unique."""
        folders = places.of(context)
        with writing, folders.at(path) as spot:
            folders.allow_writing(spot.root, Path(spot.shown).name)
            text = _editable(spot)
            at = _occurrences(text, old, new, all, spot.shown)
            edited = text.replace(old, new)
            _record(folders, context, text, edited)
            spot.replace(_encoded(edited))
            where = ", ".join(str(text.count("\n", 0, start) + 1) for start in at[:10])
            done = f"replaced {_count(len(at), 'occurrence')} in {spot.shown}, at line {where}"
            return ToolResult(content_of(done), extra={"files": [spot.shown]})

    @tool(effect="pure")
    def list_files(
        context: ToolContext,
        path: Annotated[str, "A folder."] = ".",
        pattern: Annotated[str, "A glob below it: *.csv, src/*.py, **/*.py for any depth."] = "*",
    ) -> str:
        """List the files and folders in a folder, with their sizes."""
        with places.of(context).at(path) as spot:
            return Listing(spot.folder(), pattern).told(spot.shown, max_chars)

    @tool(effect="pure")
    async def grep(
        pattern: Annotated[str, "A regular expression, as in Python's re; one line at a time."],
        context: ToolContext,
        path: Annotated[str, "A folder to search with all below it, or one file."] = ".",
        glob: Annotated[str, "Which files: *.py, *.{js,ts}, src/*.c."] = "*",
        ignore_case: Annotated[bool, "Take capital and small letters as one."] = False,
    ) -> str:
        """Search text files for a regular expression. Tells `path:line: text` for each match."""
        folders = places.of(context)
        search = _Search(pattern, globs_of(glob), ignore_case, grep_seconds)
        with folders.at(path) as spot:
            if spot.is_folder:
                found = await _search(spot, spot.folder(), search)
            else:
                with spot.open() as file:
                    found = await _search(spot, file.fileno(), search)
        text = folders.tell("\n".join(found.lines), limit=max_chars, name="grep")
        return "\n".join([*([text] if text else []), *(f"[{note}]" for note in found.notes())])

    return [read_file, write_file, edit_file, list_files, grep]


# --- reading


def _read(file: BinaryIO, shown: str, first_line: int, lines: int, max_chars: int) -> str:
    if first_line < 1 or lines < 1:
        raise ToolError("first_line and lines begin at 1")
    size = os.fstat(file.fileno()).st_size
    _refuse_binary(file, shown, size)
    if not _skip_lines(file, first_line - 1):
        file.seek(0)
        total = _count(_newlines(file), "line")
        raise ToolError(f"{shown} ends before line {first_line:,}: it has about {total}")
    # One character takes up to four bytes, and one more tells whether anything follows.
    window = _decoded(file.read(4 * max_chars + 1), shown)
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
    last = first_line + len(kept) - 1
    file.seek(0)
    total = f" of {_newlines(file) + 1:,}" if size <= _COUNTED_BYTES else f" ({size_of(size)})"
    body = "\n".join(kept).removeprefix("\ufeff")
    return f"{body}\n[lines {first_line:,}-{last:,}{total}; read on with first_line={last + 1}]"


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


def _refuse_binary(file: BinaryIO, shown: str, size: int) -> None:
    head = file.read(_CHUNK_BYTES)
    file.seek(0)
    kind = next((kind for start, kind in _SIGNATURES if head.startswith(start)), "")
    if head.startswith(b"PK\x03\x04"):
        guessed = mimetypes.guess_type(shown)[0] or ""
        office = {"sheet": "an Excel workbook", "word": "a Word document", "present": "slides"}
        kind = next((name for word, name in office.items() if word in guessed), "a ZIP archive")
    if not kind and b"\0" in head:
        kind = mimetypes.guess_type(shown)[0] or "binary data"
    if kind:
        raise ToolError(f"{shown} is {kind} ({size_of(size)}), not text; open it with python")


def _decoded(data: bytes, shown: str) -> str:
    """As text, but for a character that the end of `data` cuts."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError as error:
        raise ToolError(
            f"{shown} is not UTF-8 (byte 0x{data[error.start]:02x}); read it with python, "
            'for example open(path, encoding="latin-1")'
        ) from None


# --- editing


def _editable(spot: Spot) -> str:
    with spot.open() as file:
        size = os.fstat(file.fileno()).st_size
        if size > _EDITABLE_BYTES:
            raise ToolError(
                f"{spot.shown} has {size_of(size)}, and {size_of(_EDITABLE_BYTES)} is the most "
                "that edit_file takes; change it with python"
            )
        _refuse_binary(file, spot.shown, size)
        data = file.read()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _decoded(data, spot.shown)  # says what is wrong with it


def _occurrences(text: str, old: str, new: str, all: bool, shown: str) -> list[int]:
    """Where `old` is, as often as may be replaced. Raises `ToolError`."""
    if not old:
        raise ToolError("old is empty; write_file writes a whole file")
    if old == new:
        raise ToolError("old and new are the same, so there is nothing to edit")
    at: list[int] = []
    start = text.find(old)
    while start >= 0:
        at.append(start)
        start = text.find(old, start + len(old))
    if not at:
        raise ToolError(f"old is not in {shown}. {_nearest(text, old)}")
    if len(at) > 1 and not all:
        numbers = ", ".join(str(text.count("\n", 0, start) + 1) for start in at[:10])
        raise ToolError(
            f"old is in {shown} {len(at)} times, at lines {numbers}{' ...' if len(at) > 10 else ''}"
            "; take in more of the text around the one you mean, or set all to true"
        )
    return at


def _nearest(text: str, old: str) -> str:
    """The lines of `text` most like `old`, and how they differ if that is easily said."""
    if "\r\n" in text and "\r" not in old and old in text.replace("\r\n", "\n"):
        return r"Its lines end in \r\n; write \r\n in old and new too"
    lines, wanted = text.split("\n"), old.split("\n")
    first = next((i for i, line in enumerate(wanted) if line.strip()), 0)
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted[first].strip()[:200])
    best, score = -1, 0.5
    for number, line in enumerate(lines[:20_000]):
        matcher.set_seq1(line.strip()[:200])
        if matcher.real_quick_ratio() > score and matcher.quick_ratio() > score:
            ratio = matcher.ratio()
            if ratio > score:
                best, score = number, ratio
    if best < 0:
        return "No line is like it; read_file shows what is there"
    begin = max(0, best - first)
    near = lines[begin : begin + min(len(wanted), 12)]
    same = "".join("".join(near).split()) == "".join(old.split())
    differs = " (they differ in spaces or line ends only)" if same else ""
    where = (
        f"line {begin + 1} is" if len(near) == 1 else f"lines {begin + 1}-{begin + len(near)} are"
    )
    return f"The nearest, {where}{differs}:\n" + cut("\n".join(near), 1_500)


# An edit is recorded before it is made, as the hashes of the file before and after it: whether it
# happened can then be told even where `new` holds `old` and the text alone could not say.


def _record(folders: Folders, context: ToolContext, before: str, after: str) -> None:
    if folders.has_out:
        with folders.at(_record_path(context), make_parents=True) as spot:
            spot.replace(orjson.dumps({"before": _digest(before), "after": _digest(after)}))


def _record_says(folders: Folders, context: ToolContext, text: str) -> bool | None:
    """Whether the edit happened; None where the record cannot tell."""
    if not folders.has_out:
        return None
    try:
        with folders.at(_record_path(context)) as spot, spot.open() as file:
            record = cast(dict[str, Any], orjson.loads(file.read(1_000)))
    except ToolError:
        return False
    except orjson.JSONDecodeError:
        return None
    now = _digest(text)
    return {record.get("before"): False, record.get("after"): True}.get(now)


def _text_says(text: str, old: str, new: str) -> bool:
    return bool(new) and new in text and old not in text.replace(new, "")


def _record_path(context: ToolContext) -> str:
    return f"/out/.chogori/edits/{_digest(context.key or f'{context.run_id}/{context.call.id}')}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolError(f"the text holds {error.object[error.start]!a}, half a character") from None


# --- searching


@dataclass(frozen=True, slots=True)
class _Search:
    pattern: str
    globs: list[str]
    ignore_case: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class _Matches:
    lines: list[str]
    summary: dict[str, Any]
    """Empty where the search was stopped."""
    seconds: int

    def notes(self) -> Iterator[str]:
        summary, found = self.summary, _count(len(self.lines), "match")
        if not summary:
            yield (
                f"stopped after {_count(self.seconds, 'second')} with {found}; "
                "give a narrower path or glob, or a simpler pattern"
            )
            return
        searched = _count(summary["searched"], "text file")
        if not self.lines:
            yield f"no match in {searched}"
        elif summary["more"]:
            yield f"stopped at {found}; there are more"
        else:
            yield f"{found} in {summary['files']} of {searched}"
        if summary["binary"]:
            yield f"{_count(summary['binary'], 'binary file')} skipped"


async def _search(spot: Spot, descriptor: int, search: _Search) -> _Matches:
    request = {
        "pattern": search.pattern,
        "ignore_case": search.ignore_case,
        "descriptor": descriptor,
        "shown": spot.shown,
        "globs": [glob.removeprefix("**/") for glob in search.globs],
        "hidden": sorted(HIDDEN),
        "most": _GREP_MATCHES,
        "width": _GREP_WIDTH,
        "seconds": search.seconds,
    }
    child = ["-S", str(_GREP_CHILD)]
    done = await run_child(
        child, orjson.dumps(request), seconds=search.seconds, descriptors=[descriptor]
    )
    lines = done.output.decode("utf-8", "replace").split("\n")[:-1]
    summary: dict[str, Any] = {}
    if done.in_time and done.status == 0:
        summary = cast(dict[str, Any], orjson.loads(lines.pop()))
    if summary.get("error"):
        raise ToolError(f"the pattern is not a regular expression: {summary['error']}")
    return _Matches(lines, summary, search.seconds)


def _lines_in(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n") and bool(text))


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
