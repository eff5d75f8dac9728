"""Exact replacement in a text file, and whether one has happened already.

An edit is recorded in /out before it is made, as the hashes of the file before and after it:
whether it happened can then be told even where `new` holds `old` and the text alone could not say.
"""

import difflib
import hashlib
import json
import os
import posixpath
from typing import Any, cast

from .names import FileProblem, count_of, cut, size_of
from .reading import decoded, refuse_binary
from .walk import Folders, Spot

_EDITABLE_BYTES = 10_000_000
_RECORD_BYTES = 1_000


def edit(spot: Spot, old: str, new: str, all: bool, key: str) -> str:
    """Replace `old` by `new`, once or everywhere; what to tell of it."""
    spot.folders.allow_writing(spot.root, posixpath.basename(spot.shown))
    text = _editable(spot)
    at = _occurrences(text, old, new, all, spot.shown)
    edited = text.replace(old, new)
    _record(spot.folders, key, text, edited)
    spot.replace(encoded(edited))
    lines = _line_numbers(text, at)
    return f"replaced {count_of(len(at), 'occurrence')} in {spot.shown}, at line {lines}"


def has_happened(spot: Spot, old: str, new: str, key: str) -> bool:
    """Whether the edit that goes by `key` was made, as far as the file and the record tell."""
    try:
        text = _editable(spot)
    except FileProblem:  # making it now would say what is wrong
        return False
    recorded = _record_says(spot.folders, key, text)
    if recorded is None:
        return bool(new) and new in text and old not in text.replace(new, "")
    return recorded


def encoded(text: str) -> bytes:
    """As UTF-8. Raises `FileProblem` for what no file can hold."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise FileProblem(f"the text holds {half!a}, half a character") from None


def _editable(spot: Spot) -> str:
    with spot.open() as file:
        size = os.fstat(file.fileno()).st_size
        if size > _EDITABLE_BYTES:
            raise FileProblem(
                f"{spot.shown} has {size_of(size)}, and {size_of(_EDITABLE_BYTES)} is the most "
                "that edit_file takes; change it with python"
            )
        refuse_binary(file, spot.shown)
        data = file.read()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return decoded(data, spot.shown)  # says what is wrong with it


def _occurrences(text: str, old: str, new: str, all: bool, shown: str) -> list[int]:
    """Where `old` is, as often as may be replaced. Raises `FileProblem`."""
    if not old:
        raise FileProblem("old is empty; write_file writes a whole file")
    if old == new:
        raise FileProblem("old and new are the same, so there is nothing to edit")
    at: list[int] = []
    start = text.find(old)
    while start >= 0:
        at.append(start)
        start = text.find(old, start + len(old))
    if not at:
        raise FileProblem(f"old is not in {shown}. {_nearest(text, old)}")
    if len(at) > 1 and not all:
        more = " ..." if len(at) > 10 else ""
        raise FileProblem(
            f"old is in {shown} {len(at)} times, at lines {_line_numbers(text, at)}{more}"
            "; take in more of the text around the one you mean, or set all to true"
        )
    return at


def _line_numbers(text: str, at: list[int]) -> str:
    return ", ".join(str(text.count("\n", 0, start) + 1) for start in at[:10])


def _nearest(text: str, old: str) -> str:
    """The lines of `text` most like `old`, and how they differ if that is easily said."""
    if "\r\n" in text and "\r" not in old and old in text.replace("\r\n", "\n"):
        return r"Its lines end in \r\n; write \r\n in old and new too"
    lines, wanted = text.split("\n"), old.split("\n")
    first = next((i for i, line in enumerate(wanted) if line.strip()), 0)
    best = _most_like(wanted[first], lines)
    if best is None:
        return "No line is like it; read_file shows what is there"
    begin = max(0, best - first)
    near = lines[begin : begin + min(len(wanted), 12)]
    same = "".join("".join(near).split()) == "".join(old.split())
    differs = " (they differ in spaces or line ends only)" if same else ""
    where = (
        f"line {begin + 1} is" if len(near) == 1 else f"lines {begin + 1}-{begin + len(near)} are"
    )
    return f"The nearest, {where}{differs}:\n" + cut("\n".join(near), 1_500)


def _most_like(wanted: str, lines: list[str]) -> int | None:
    """The number of the line that is most like `wanted`, if one is at all."""
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted.strip()[:200])
    best, score = None, 0.5
    for number, line in enumerate(lines[:20_000]):
        matcher.set_seq1(line.strip()[:200])
        if matcher.real_quick_ratio() > score and matcher.quick_ratio() > score:
            ratio = matcher.ratio()
            if ratio > score:
                best, score = number, ratio
    return best


def _record(folders: Folders, key: str, before: str, after: str) -> None:
    if folders.has_out:
        hashes = {"before": _digest(before), "after": _digest(after)}
        with folders.at(_record_path(key), make_parents=True) as spot:
            spot.replace(json.dumps(hashes).encode())


def _record_says(folders: Folders, key: str, text: str) -> bool | None:
    """Whether the edit happened; None where the record cannot tell."""
    if not folders.has_out:
        return None
    try:
        with folders.at(_record_path(key)) as spot, spot.open() as file:
            record: Any = json.loads(file.read(_RECORD_BYTES))
    except FileProblem:
        return False
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    hashes = cast(dict[str, object], record)
    now = _digest(text)
    if hashes.get("after") == now:
        return True
    return False if hashes.get("before") == now else None


def _record_path(key: str) -> str:
    return f"/out/.chogori/edits/{_digest(key)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
