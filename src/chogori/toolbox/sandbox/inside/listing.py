"""What is in a folder, by a glob in which `**` stands for any number of folders.

Folders that cannot hold a match are not entered, links are told but not followed, and a listing
ends after so many entries, whatever the tree.
"""

import fnmatch
import os
import re
from dataclasses import dataclass

from .names import FileProblem, kind_of, printable, size_of
from .walk import OPEN_FOLDER

HIDDEN = frozenset(
    {
        *(".git", ".hg", ".svn", ".venv", ".tox", "node_modules", ".chogori"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
    }
)
"""Folders that are neither listed nor searched, unless they are named."""

_LOOKED_AT = 50_000
"""As many entries are looked at in one listing."""
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    note: str


class Listing:
    """What a glob finds below the folder of a descriptor."""

    def __init__(self, folder: int, pattern: str) -> None:
        self.looked_at = 0
        self.hidden: set[str] = set()
        self.pattern = pattern
        self.entries: list[_Entry] = []
        parts = [[p for p in glob.split("/") if p not in ("", ".")] for glob in globs_of(pattern)]
        if any(".." in glob for glob in parts):
            raise FileProblem("a pattern cannot hold ..; name the folder in path")
        self._walk(folder, "", [_passing_stars(glob, {0}) for glob in parts], parts)
        self.entries.sort(key=lambda entry: entry.path)

    def _walk(
        self, folder: int, below: str, states: list[set[int]], parts: list[list[str]]
    ) -> None:
        with os.scandir(folder) as found:
            for entry in found:
                self.looked_at += 1
                if self.looked_at > _LOOKED_AT:
                    return
                after = [_step(g, s, entry.name) for g, s in zip(parts, states, strict=True)]
                is_folder = entry.is_dir(follow_symlinks=False)
                is_named = any(entry.name in glob for glob in parts)
                if is_folder and entry.name in HIDDEN and not is_named:
                    self.hidden.add(entry.name)
                    continue
                path = f"{below}{entry.name}"
                if any(len(g) in s for g, s in zip(parts, after, strict=True)):
                    self.entries.append(_described(path, entry))
                if is_folder and any(
                    i < len(g) for g, s in zip(parts, after, strict=True) for i in s
                ):
                    self._enter(folder, entry.name, f"{path}/", after, parts)

    def _enter(
        self, folder: int, name: str, below: str, states: list[set[int]], parts: list[list[str]]
    ) -> None:
        if below.count("/") > _DEEPEST:
            return
        try:
            inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
        except OSError:  # unreadable, or gone since
            return
        try:
            self._walk(inner, below, states, parts)
        finally:
            os.close(inner)

    def told(self, shown: str, max_chars: int) -> str:
        """For the model: a line each, as many as fit, and what is left out."""
        lines: list[str] = []
        room = max_chars
        for entry in self.entries:
            line = f"{printable(entry.path)}{entry.note}"
            room -= len(line) + 1
            if room < 0:
                break
            lines.append(line)
        notes: list[str] = []
        if len(lines) < len(self.entries):
            notes.append(
                f"{len(self.entries) - len(lines):,} more; give a narrower path or pattern"
            )
        if self.looked_at > _LOOKED_AT:
            notes.append(f"stopped after {_LOOKED_AT:,} entries; give a narrower path")
        if self.hidden:
            notes.append(f"not shown: {', '.join(sorted(self.hidden))}")
        if not self.entries:
            nothing = "is empty" if self.pattern == "*" else f"holds nothing like {self.pattern!r}"
            lines.append(f"{shown} {nothing}")
        else:
            lines.insert(0, f"{shown}:")
        return "\n".join([*lines, *(f"[{note}]" for note in notes)])


def _described(path: str, entry: os.DirEntry[str]) -> _Entry:
    if entry.is_dir(follow_symlinks=False):
        return _Entry(path, "/")
    try:
        info = entry.stat(follow_symlinks=False)
    except OSError:
        return _Entry(path, "  (gone)")
    if entry.is_file(follow_symlinks=False):
        return _Entry(path, f"  {size_of(info.st_size)}")
    return _Entry(path, f"  ({kind_of(info.st_mode)})")


def globs_of(pattern: str) -> list[str]:
    """`pattern` with its first braces multiplied out: *.{js,ts} is *.js and *.ts."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    return [
        f"{pattern[: found.start()]}{word}{pattern[found.end() :]}" for word in found[1].split(",")
    ]


def _passing_stars(glob: list[str], states: set[int]) -> set[int]:
    """A `**` may stand for no folder at all, so whoever stands before it stands behind it too."""
    passed = set(states)
    for state in range(len(glob)):
        if state in passed and glob[state] == "**":
            passed.add(state + 1)
    return passed


def _step(glob: list[str], states: set[int], name: str) -> set[int]:
    """How far into `glob` one may be after `name`, having been at `states` before it."""
    after: set[int] = set()
    for state in states:
        if state < len(glob):
            if glob[state] == "**":
                after.add(state)
            elif fnmatch.fnmatchcase(name, glob[state]):
                after.add(state + 1)
    return _passing_stars(glob, after)
