"""The tool calls of one reply, put together from fragments that may be numbered wrongly or not.

A fragment belongs to the call of its `index`; without one, to the call of its id, or to the last.
It begins another call when it brings a name and

  - another id, where fragments have no index (ollama 7881);
  - another name, where neither index nor id says that it is the same call;
  - a name at all, once the arguments at that index are a closed object (every call numbered 0).

An id or a name that comes again is not appended ("get_weatherget_weather"). An id that the
conversation knows already, or none, is replaced by a new one. The name goes out as soon as it is
known, the arguments as far as they are certain (`arguments`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chogori.api.arguments import Arguments, as_text, mended, parsed_object
from chogori.api.fields import record
from chogori.api.ids import Taken, unique_id
from chogori.api.markers import Written, name_in
from chogori.api.sse import Halves
from chogori.chat import ToolCallDelta, ToolSpec


@dataclass(slots=True)
class _Call:
    place: int
    number: int | None
    """The index that the endpoint gave it."""
    id: str = ""
    """The id that the endpoint gave it."""
    name: str = ""
    arguments: Arguments = field(default_factory=Arguments)
    halves: Halves = field(default_factory=Halves)
    texts: list[str] = field(default_factory=list[str])
    is_out: bool = False


class Calls:
    """Fragments in, `ToolCallDelta` out."""

    def __init__(self, taken: Taken = (), tools: Sequence[ToolSpec] = ()) -> None:
        self._taken = taken
        self._new = set[str]()
        self._tools = {tool.name: tool for tool in tools}
        self._calls: list[_Call] = []

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, fragment: Mapping[str, Any]) -> list[ToolCallDelta]:
        """One entry of a delta's `tool_calls`."""
        function = record(fragment.get("function"))
        index = fragment.get("index")
        number = index if isinstance(index, int) else None
        id, name = str(fragment.get("id") or ""), str(function.get("name") or "")
        arguments = as_text(function.get("arguments"))
        if not (id or name or arguments):
            return []
        call = self._find(number, id, name)
        if call is None or self._begins_another(call, number, id, name, arguments):
            call = _Call(len(self._calls), number)
            self._calls.append(call)
        call.id = call.id or id
        deltas: list[ToolCallDelta] = []
        if name and not call.name:
            deltas.append(self._name(call, self._known_name(name)))
        elif name and self._extends(call, name):
            call.name += name
            deltas.append(ToolCallDelta(call.place, name=name))
        return deltas + self._argue(call, call.halves.feed(arguments))

    def write(self, written: Written) -> list[ToolCallDelta]:
        """A call that was written out in markers."""
        call = _Call(len(self._calls), None, written.id)
        self._calls.append(call)
        named = self._name(call, written.name or self._infer(written) or written.id)
        return [named, *self._argue(call, written.arguments)]

    def holds(self, written: Written) -> bool:
        """Whether the endpoint sent the same call as a call, too."""
        name, arguments = written.name, mended(written.arguments)
        return any(
            call.name == name
            and (parsed_object(mended("".join(call.texts))) or {})
            == (parsed_object(arguments) or {})
            for call in self._calls
        )

    def end(self, *, cut_short: bool) -> list[ToolCallDelta]:
        """What is left of the arguments. `cut_short` concerns the last call: no other was cut."""
        deltas: list[ToolCallDelta] = []
        for call in self._calls:
            if not call.is_out:
                deltas.append(self._name(call, ""))
            rest = call.arguments.end(cut_short=cut_short and call is self._calls[-1])
            if rest:
                deltas.append(ToolCallDelta(call.place, arguments=rest))
        return deltas

    def _find(self, number: int | None, id: str, name: str) -> _Call | None:
        last = self._calls[-1] if self._calls else None
        if number is not None:
            same = (call for call in reversed(self._calls) if call.number == number)
            return next(same, None if id or name else last)
        return next((call for call in self._calls if id and call.id == id), last)

    def _begins_another(
        self, call: _Call, number: int | None, id: str, name: str, arguments: str
    ) -> bool:
        if not name or (id and id == call.id):
            return False
        has_new_id = bool(id and call.id)
        if not call.name or (has_new_id and number is None):
            return has_new_id
        if self._extends(call, name):
            return False
        if self._known_name(name) != call.name:
            return has_new_id or number is None or call.arguments.is_complete
        return (has_new_id or bool(arguments)) and call.arguments.is_complete

    def _extends(self, call: _Call, name: str) -> bool:
        """Whether `name` is the rest of a tool's name."""
        return (
            call.arguments.is_empty
            and call.name not in self._tools
            and (call.name + name in self._tools)
        )

    def _known_name(self, name: str) -> str:
        """The tool's name, where the endpoint left Kimi's dress on it ("functions.NAME:0")."""
        bare = name_in(name)
        return bare if name not in self._tools and bare in self._tools else name

    def _name(self, call: _Call, name: str) -> ToolCallDelta:
        id = unique_id(call.id, name, self._is_taken, len(self._taken) + call.place)
        self._new.add(id)
        call.name, call.is_out = name, True
        return ToolCallDelta(call.place, id, name)

    def _is_taken(self, id: str) -> bool:
        return id in self._new or id in self._taken

    def _argue(self, call: _Call, text: str) -> list[ToolCallDelta]:
        if not text:
            return []
        call.texts.append(text)
        certain = call.arguments.feed(text)
        return [ToolCallDelta(call.place, arguments=certain)] if certain else []

    def _infer(self, written: Written) -> str:
        """The one tool that has all the arguments, where the id is a bare number."""
        keys = set(parsed_object(mended(written.arguments)) or {})
        fitting = [
            name
            for name, tool in self._tools.items()
            if keys and keys <= set(tool.parameters.get("properties", {}))
        ]
        return fitting[0] if len(fitting) == 1 else ""
