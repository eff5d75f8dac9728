"""Shows the model the beginning of the files that a task names.

A person who writes "in sales.csv, ..." has pointed at the file; a look at its first lines saves the
model a step, and keeps it from guessing the file's shape. Nothing else in the folder is shown.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from chogori.agent import Agent, Agreement
from chogori.agent.agent import Task, Verbs
from chogori.chat import Answer, Event, TextPart, Waiting, content_of, text_of

LINES = 6
LINE_CHARS = 160
WHOLE_BYTES = 400
FILES = 6
_NAME = re.compile(r"[\w./-]*[\w-]\.[A-Za-z]\w{0,7}\b")


@dataclass(frozen=True, slots=True)
class Mentions(Verbs):
    """An agent whose tasks come with the beginning of the files they name."""

    agent: Agent | Agreement
    workspace: Path

    def stream(self, task: Task, *, run_id: str | None = None) -> AsyncIterator[Event]:
        return self.agent.stream(self._shown(task), run_id=run_id)

    def continue_(
        self,
        leg: Answer | Waiting,
        message: Task | None = None,
        *,
        approve: Mapping[str, bool] | None = None,
        results: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Event]:
        told = None if message is None else self._shown(message)
        return self.agent.continue_(leg, told, approve=approve, results=results)

    def _shown(self, task: Task) -> Task:
        content = content_of(task)
        shown = [preview(path, name) for name, path in self._named(text_of(content))]
        return (*content, *(TextPart(f"\n\n{text}") for text in shown if text))

    def _named(self, text: str) -> list[tuple[str, Path]]:
        root = self.workspace.resolve()
        found: dict[str, Path] = {}
        for name in dict.fromkeys(_NAME.findall(text)):
            path = (root / name.removeprefix("/work/")).resolve()
            if path.is_relative_to(root) and path.is_file() and len(found) < FILES:
                found[name] = path
        return list(found.items())


def preview(path: Path, name: str) -> str:
    """The first lines of a text file, or "" where it is none."""
    with path.open("rb") as file:
        data = file.read(LINES * LINE_CHARS * 4)
    if b"\0" in data:
        return ""
    text = data.decode("utf-8", "replace")
    size = path.stat().st_size
    if size <= WHOLE_BYTES:
        return f"{name} ({size} bytes):\n{text.rstrip()}"
    lines = [line[:LINE_CHARS] for line in text.split("\n")[:LINES]]
    return f"{name} ({size} bytes) begins:\n" + "\n".join(lines)
