"""Tool-call ids that are unique in a conversation.

Some endpoints number calls anew in every turn (`list_dir:0` twice, fireconnect 16, vllm 50295), and
results are found by id. A first use keeps its id, so that cached prefixes stay; a later one gets
the next free number: `functions.NAME:7` in Kimi's own form, `ID-2` in any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol

from chogori.chat import Conversation, Message, ToolCall

_NUMBERED = re.compile(r"(?P<stem>.*[:_])\d+")
_noting = Lock()


class _Notes:
    """In which message an id first came; grows with the longest conversation that shares it."""

    __slots__ = ("messages", "places")

    def __init__(self, places: dict[str, int], messages: int) -> None:
        self.places = places
        self.messages = messages


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of the calls of a conversation. Asking for one does not walk it."""

    notes: _Notes
    messages: int = 0
    calls: int = 0
    are_unique: bool = True
    """Whether every call has an id, and none of them twice."""

    def __contains__(self, id: object) -> bool:
        return self.notes.places.get(id, self.messages) < self.messages  # pyright: ignore

    def __len__(self) -> int:
        return self.calls


class Taken(Protocol):
    """Ids that a new call must not have."""

    def __contains__(self, id: object, /) -> bool: ...

    def __len__(self) -> int:
        """Of how many calls."""
        ...


def ids_in(conversation: Conversation) -> Ids:
    """The ids of every call. Each message is read once."""
    read = conversation.folded("chogori.api.ids", _ids_upto)
    return read[-1] if read else _ids_upto(None, Message("user"))


def _ids_upto(before: Ids | None, message: Message) -> Ids:
    known = before or Ids(_Notes({}, 0))
    new = [call.id for call in message.tool_calls]
    with _noting:
        notes = known.notes
        if notes.messages != known.messages:  # another conversation went on from here
            earlier = {id: at for id, at in notes.places.items() if at < known.messages}
            notes = _Notes(earlier, known.messages)
        come_again = any(id in notes.places for id in new) or len(set(new)) < len(new)
        for id in new:
            notes.places.setdefault(id, known.messages)
        notes.messages += 1
    are_unique = known.are_unique and not come_again and "" not in new
    return Ids(notes, notes.messages, known.calls + len(new), are_unique)


def unique_id(id: str, name: str, is_taken: Callable[[str], bool], number: int) -> str:
    """`id`, or where it is empty or taken the next one like it; `number` calls came before."""
    if id and not is_taken(id):
        return id
    numbered = _NUMBERED.fullmatch(id) if id else None
    stem = numbered["stem"] if numbered else f"{id}-" if id else f"functions.{name}:"
    number = number if numbered or not id else 2
    while is_taken(f"{stem}{number}"):
        number += 1
    return f"{stem}{number}"


def unique_ids(conversation: Conversation) -> dict[int, Message]:
    """The messages that must be written differently, by position, for ids to be unique.

    A result answers the latest call of its id that has none; results of calls with one id in
    one message are taken in order.
    """
    if ids_in(conversation).are_unique:
        return {}
    changed: dict[int, Message] = {}
    # New ids must not meet any old one, not even of a call that comes later.
    original = {call.id for message in conversation for call in message.tool_calls}
    taken = set[str]()
    waiting: dict[str, list[str]] = {}
    number = 0
    for at, message in enumerate(conversation):
        if message.tool_calls:
            calls: list[ToolCall] = []
            waiting.update((call.id, []) for call in message.tool_calls)
            for call in message.tool_calls:
                new = call.id
                if not call.id or call.id in taken:
                    used = original | taken
                    new = unique_id(call.id, call.name, used.__contains__, number)
                taken.add(new)
                number += 1
                waiting[call.id].append(new)
                calls.append(call if new == call.id else replace(call, id=new))
            if calls != list(message.tool_calls):
                changed[at] = replace(message, tool_calls=tuple(calls))
        elif message.tool_call_id in waiting:
            due = waiting[message.tool_call_id]
            new = due.pop(0) if len(due) > 1 else due[0]
            if new != message.tool_call_id:
                changed[at] = replace(message, tool_call_id=new)
    return changed
