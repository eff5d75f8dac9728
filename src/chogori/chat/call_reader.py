"""The tool calls of one reply of a Kimi K2 model, from what is written between their markers.

A call is told as soon as its name is known, its arguments as they come, without the white space
round them; where there are none they are `{}`. The id is the one that was written, if it is of
Kimi's form (`functions.NAME:N`) and not taken; otherwise it becomes the next one of that form. A
bare number names no function: the one tool whose parameters hold all the arguments is meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from chogori.chat.messages import ToolCallDelta, ToolSpec

_NAME = re.compile(r"(?:functions\.)?(?P<name>[\w.\-]+?)(?::\d+)?")
_OWN = re.compile(r"functions\.[\w.\-]+:\d+")
LONGEST_ID = 256
"""Characters; what is longer is no id."""


@dataclass(slots=True)
class _Call:
    id: str = ""
    """As it was written."""
    has_arguments: bool = False
    """Whether they have begun; there may be none."""
    is_told: bool = False
    held: list[str] = field(default_factory=list[str])
    """Arguments of a call whose name is not known yet."""
    is_empty: bool = True
    space: str = ""
    """White space that more arguments may follow."""


class CallReader:
    """What stands in calls in, `ToolCallDelta` out."""

    def __init__(
        self, tools: Sequence[ToolSpec] = (), taken: Container[str] = (), calls: int = 0
    ) -> None:
        """`taken`: the call ids of the conversation, in which there are so many `calls`."""
        self.count = 0
        """Calls that have been told."""
        self._tools = {tool.name: tool for tool in tools}
        self._taken = taken
        self._before = calls
        self._own: set[str] = set()
        self._call = _Call()

    def open(self) -> None:
        """A call begins: what comes next is its id."""
        self._call = _Call()

    def add_to_id(self, text: str) -> None:
        """More of the id; what grows too long is none."""
        self._call.id = (self._call.id + text)[: LONGEST_ID + 1]

    def begin_arguments(self) -> list[ToolCallDelta]:
        """The id is whole, and the arguments begin."""
        self._call.has_arguments = True
        name = self._name()
        return [self._tell(name)] if name else []

    def argue(self, text: str) -> list[ToolCallDelta]:
        """More of the arguments."""
        call = self._call
        text = text.lstrip() if call.is_empty else call.space + text
        body = text.rstrip()
        call.space = text[len(body) :]
        if not body:
            return []
        call.is_empty = False
        if not call.is_told:
            call.held.append(body)
            return []
        return [ToolCallDelta(self.count - 1, arguments=body)]

    def close(self, *, cut_short: bool = False) -> list[ToolCallDelta]:
        """The call is over. One that was cut short before its arguments is none."""
        call = self._call
        if cut_short and not call.has_arguments:
            return []
        held = "".join(call.held)
        if call.is_empty and not cut_short:
            held = "{}"
        told: list[ToolCallDelta] = []
        if not call.is_told:
            told.append(self._tell(self._name() or self._infer(held) or call.id.strip()))
        if held:
            told.append(ToolCallDelta(self.count - 1, arguments=held))
        return told

    def _name(self) -> str:
        """The function's name as the id holds it, by preference that of a tool; "" for none."""
        written = self._call.id.strip()
        found = _NAME.fullmatch(written)
        if not found or found["name"].isdecimal() or len(written) > LONGEST_ID:
            return ""
        name = found["name"]
        last = name.rpartition(".")[2]
        return last if name not in self._tools and last in self._tools else name

    def _infer(self, arguments: str) -> str:
        """The one tool that has all the arguments."""
        keys = set(_parsed(arguments) or {})
        fitting = [
            name
            for name, tool in self._tools.items()
            if keys and keys <= set(tool.parameters.get("properties", {}))
        ]
        return fitting[0] if len(fitting) == 1 else ""

    def _tell(self, name: str) -> ToolCallDelta:
        id, number = self._call.id.strip(), self._before + self.count
        if not _OWN.fullmatch(id):
            id = f"functions.{name}:{number}"
        while id in self._taken or id in self._own:
            id = f"functions.{name}:{number}"
            number += 1
        self._own.add(id)
        self._call.is_told = True
        self.count += 1
        return ToolCallDelta(self.count - 1, id, name)


def is_object(text: str) -> bool:
    """Whether `text` is a JSON object."""
    return _parsed(text) is not None


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None
