"""Shows the model the beginning of the files that a task names.

A person who writes "in sales.csv, ..." has pointed at the file; a look at its first lines saves the
model a step, and keeps it from guessing the file's shape. "note_1.md to note_6.md" points at six.
Nothing else in the folder is shown.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from chogori.agent import Agent, Agreement
from chogori.agent.guards import could_be_settled
from chogori.agent.run import Begin, Run, Start
from chogori.agent.verbs import Verbs
from chogori.chat import Content, Event, LegStarted, RunStarted, TextPart, text_of
from chogori.store import Store

SHOWN_CHARS = 360
LINE_CHARS = 200
WHOLE_BYTES = 400
FILES = 12
_NAME = re.compile(r"[\w./-]*[\w-]\.[A-Za-z]\w{0,7}\b")
_RANGE = re.compile(
    rf"({_NAME.pattern})\s*(?:to|through|until|-|\u2013|\u2014|\.\.\.?|bis|à|a|hasta)\s*({_NAME.pattern})"
)
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")


@dataclass(frozen=True, slots=True)
class Mentions(Verbs):
    """An agent whose tasks come with the beginning of the files they name."""

    agent: Agent | Agreement
    workspace: Path | None
    cue: str = ""
    """What a small model is told after a task that takes more than reading what is shown."""

    @property
    def kept_in(self) -> Store | None:
        return self.agent.kept_in

    def describe(self) -> dict[str, Any]:
        return self.agent.describe()

    async def drive(self, start: Start, run: Run, branch: str = "") -> AsyncIterator[Event]:
        """What is said is told as it was said; the model is shown more."""
        asked = start.task if isinstance(start, Begin) else start.said
        shown = await run.branch(branch).noted("shown", lambda: self._shown(asked))
        content = (*asked, *(TextPart(text) for text in shown))
        more = (
            replace(start, task=content)
            if isinstance(start, Begin)
            else replace(start, said=content)
        )
        events = cast(AsyncGenerator[Event], self.agent.drive(more, run, branch))
        async with aclosing(events) as told:
            async for event in told:
                match event:
                    case RunStarted():
                        yield replace(event, task=asked)
                    case LegStarted():
                        yield replace(event, said=asked)
                    case _:
                        yield event

    async def _shown(self, content: Content) -> list[str]:
        """The beginnings of the files that `content` names, and the cue where one is due."""
        text = text_of(content)
        named = self._named(text)
        shown = [told for name, path in named if (told := preview(path, name))]
        is_all_there = bool(named) and all(path.stat().st_size <= WHOLE_BYTES for _, path in named)
        if self.cue and could_be_settled(text) and not is_all_there:
            shown.append(self.cue)
        return [f"\n\n{told}" for told in shown]

    def _named(self, text: str) -> list[tuple[str, Path]]:
        if self.workspace is None:
            return []
        root = self.workspace.resolve()
        found: dict[str, Path] = {}
        for name in dict.fromkeys([*_ranges(text), *_NAME.findall(text)]):
            path = (root / name.removeprefix("/work/")).resolve()
            if path.is_relative_to(root) and path.is_file() and len(found) < FILES:
                found[name] = path
        return list(found.items())


def _ranges(text: str) -> list[str]:
    """The names that "note_1.md to note_6.md" stands for."""
    names: list[str] = []
    for first, last in _RANGE.findall(text):
        one, other = _NUMBERED.fullmatch(first), _NUMBERED.fullmatch(last)
        if one and other and (one[1], one[3]) == (other[1], other[3]):
            numbers = range(int(one[2]), min(int(other[2]), int(one[2]) + FILES) + 1)
            names += [f"{one[1]}{number:0{len(one[2])}}{one[3]}" for number in numbers]
    return names


def preview(path: Path, name: str) -> str:
    """The first lines of a text file, or "" where it is none."""
    with path.open("rb") as file:
        data = file.read(4 * WHOLE_BYTES)
    if b"\0" in data:
        return ""
    text = data.decode("utf-8", "replace")
    size = path.stat().st_size
    if size <= WHOLE_BYTES:
        return f"{name} ({size} bytes):\n{text.rstrip()}"
    shown = ""
    for line in text.split("\n")[:-1] or [text]:
        if shown and len(shown) + len(line) > SHOWN_CHARS:
            break
        shown += line[:LINE_CHARS] + "\n"
    return f"{name} ({size} bytes) begins:\n{shown}...{_fields(shown)}"


def _fields(lines: str) -> str:
    """Where each value stands, in files of columns without names: small models count badly."""
    rows = [line.split() for line in lines.splitlines()]
    even = len(rows) > 1 and len({len(row) for row in rows}) == 1 and 4 <= len(rows[0]) <= 20
    if not even or all("," in line for line in lines.splitlines()):
        return ""
    numbered = ", ".join(f"[{number}] {value}" for number, value in enumerate(rows[0]))
    return f"\nThe first line after split(): {numbered}"
