"""The world outside: a file to which every deed is appended, and which no kill can undo."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chogori.chat import Tool, ToolContext, tool

EFFECTS = ("look", "put", "edit", "send")
"""The tools: pure, idempotent, reconcilable, once."""


class World:
    """Deeds, and what else is to be remembered when a process has died, one JSON object a line."""

    def __init__(self, path: Path, boundary: Callable[[str], None] = lambda kind: None) -> None:
        """`boundary` is called just before each deed ("doing") and just after it ("done")."""
        self._path = path
        self._boundary = boundary

    def note(self, **what: Any) -> None:
        """Append a line; it is on the disk when this returns."""
        line = json.dumps(what).encode() + b"\n"
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)

    def lines(self) -> list[dict[str, Any]]:
        """Everything that was noted, in order."""
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_bytes().splitlines()]

    def tools(self) -> list[Tool]:
        """One of each effect."""
        return [
            tool(effect="pure")(self.look),
            tool(effect="idempotent")(self.put),
            tool(effect="reconcilable", reconcile=self.was_edited)(self.edit),
            tool(effect="once", approval=False)(self.send),
        ]

    def _do(self, name: str, value: str, key: str = "") -> str:
        self._boundary("doing")
        self.note(did=name, value=value, key=key)
        self._boundary("done")
        return f"{name} {value}: done"

    async def look(self, value: str) -> str:
        """Look at a value."""
        return self._do("look", value)

    async def put(self, value: str, context: ToolContext) -> str:
        """Put a value there; under one key that has an effect once, however often it is done."""
        return self._do("put", value, context.key)

    async def edit(self, value: str) -> str:
        """Edit a value."""
        return self._do("edit", value)

    async def was_edited(self, value: str) -> str | None:
        """What `edit` would have said."""
        found = any(line.get("did") == "edit" and line["value"] == value for line in self.lines())
        return f"edit {value}: done" if found else None

    async def send(self, value: str) -> str:
        """Send a value."""
        return self._do("send", value)


def broken_promises(
    lines: Sequence[dict[str, Any]], calls: Sequence[str], lost: set[str]
) -> list[str]:
    """What `calls` ("tool value") did that their effects do not allow; `lost` are those of which
    the model was told that nobody knows."""
    done = Counter(f"{line['did']} {line['value']}" for line in lines if "did" in line)
    keys = {call: {line["key"] for line in lines if _is(line, call)} for call in calls}
    broken: list[str] = []
    for call in calls:
        times = done[call]
        match call.split()[0]:
            case "look":
                is_kept = times >= 1
            case "put":
                is_kept = times >= 1 and len(keys[call]) == 1
            case "edit":
                is_kept = times == 1
            case _:
                is_kept = times == 1 or (times == 0 and call in lost)
        if not is_kept or (call in lost and not call.startswith("send")):
            broken.append(f"{call} was done {times} times")
    return broken


def _is(line: dict[str, Any], call: str) -> bool:
    return "did" in line and f"{line['did']} {line['value']}" == call


def asked_again(lines: Sequence[dict[str, Any]]) -> int:
    """How many recorded replies were asked for again."""
    recorded = again = 0
    for line in lines:
        recorded = max(recorded, line.get("recorded", 0))
        again += "asked" in line and line["asked"] < recorded
    return again
