"""Tool-call ids that are unique in a conversation.

Some endpoints number calls anew in every turn (`list_dir:0` twice, fireconnect 16, vllm 50295), and
results are found by id. A first use keeps its id, so that cached prefixes stay; a later one gets
the next free number: `functions.NAME:7` in Kimi's own form, `ID-2` in any other.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import replace

from chogori.chat import Conversation, Message, ToolCall

_NUMBERED = re.compile(r"(?P<stem>.*[:_])\d+")


def ids_in(conversation: Conversation) -> list[str]:
    """The ids of every call, in order. Each message is read once."""
    read = conversation.encoded("chogori.api.ids", _ids_of)
    return [id for ids in read for id in ids]


def unique_id(id: str, name: str, taken: Container[str], number: int) -> str:
    """`id`, or where it is empty or taken the next one like it; `number` calls came before."""
    if id and id not in taken:
        return id
    numbered = _NUMBERED.fullmatch(id) if id else None
    stem = numbered["stem"] if numbered else f"{id}-" if id else f"functions.{name}:"
    number = number if numbered or not id else 2
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def unique_ids(conversation: Conversation) -> dict[int, Message]:
    """The messages that must be written differently, by position, for ids to be unique.

    A result answers the latest call of its id that has none; results of calls with one id in
    one message are taken in order.
    """
    ids = ids_in(conversation)
    if len(set(ids)) == len(ids) and "" not in ids:
        return {}
    changed: dict[int, Message] = {}
    # New ids must not meet any old one, not even of a call that comes later.
    original, taken = set(ids), set[str]()
    waiting: dict[str, list[str]] = {}
    number = 0
    for at, message in enumerate(conversation):
        if message.tool_calls:
            calls: list[ToolCall] = []
            waiting.update((call.id, []) for call in message.tool_calls)
            for call in message.tool_calls:
                new = call.id
                if not call.id or call.id in taken:
                    new = unique_id(call.id, call.name, original | taken, number)
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


def _ids_of(message: Message) -> tuple[str, ...]:
    return tuple(call.id for call in message.tool_calls)
