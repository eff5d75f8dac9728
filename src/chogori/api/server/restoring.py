"""What clients lose between turns, put back: reasoning, and the ids that Kimi's models know.

A reply that calls tools is remembered with its reasoning: by organisation, by the id of its first
call, and by a digest of the messages before it. When a client sends the reply back without, the
reasoning is put back, if all three match; otherwise nothing is. The digest leaves out what clients
change on the way: reasoning itself, white space in arguments, content as text or as parts.

Models of the K2 family number calls through the whole conversation, as `functions.NAME:INDEX`, and
call worse where they find other ids (Moonshot's API renames them too). So calls are renamed on
their way in. What the model calls next gets an id that is new among the client's, so that each id
the client sees means one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import orjson

from chogori.api.fields import dump
from chogori.api.platform import ReasoningStore
from chogori.api.server.reading import Json
from chogori.chat import Message, TextPart, ToolCall


def canonical(message: Message) -> bytes:
    """What of a message counts for the digest."""
    parts: list[Any] = [
        part.text if isinstance(part, TextPart) else [type(part).__name__, part.url]
        for part in message.content
    ]
    if all(isinstance(part, str) for part in parts):
        parts = ["".join(parts)]
    calls = [[call.id, call.name, _plain(call.arguments)] for call in message.tool_calls]
    return dump([message.role, parts, calls, message.tool_call_id]) + b"\n"


def _plain(arguments: str) -> str:
    try:
        return orjson.dumps(orjson.loads(arguments), option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, TypeError, ValueError):
        return arguments


class Digests:
    """Digests of the messages before each place of a conversation; made as far as asked for."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._hash = sha256()
        self._at = 0

    def before(self, at: int) -> bytes:
        """Of the messages before `at`, which must not decrease from one question to the next."""
        while self._at < at:
            self._hash.update(canonical(self._messages[self._at]))
            self._at += 1
        return self._hash.digest()


@dataclass(frozen=True, slots=True)
class Restored:
    """Messages with what was lost."""

    messages: tuple[Message, ...]
    found: int = 0
    sought: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told of it."""
        return {"x-reasoning-restored": str(self.found)} if self.sought else {}


async def put_back(
    messages: tuple[Message, ...], store: ReasoningStore, organisation: str
) -> Restored:
    """Put reasoning back into the replies that called tools and lost it."""
    lost = [
        at
        for at, message in enumerate(messages)
        if message.role == "assistant" and message.tool_calls and not message.reasoning
    ]
    if not lost:
        return Restored(messages)
    whole, found, digests = list(messages), 0, Digests(messages)
    for at in lost:
        reasoning = await store.find(
            organisation, messages[at].tool_calls[0].id, digests.before(at)
        )
        if reasoning:
            whole[at] = replace(messages[at], reasoning=reasoning)
            found += 1
    return Restored(tuple(whole), found, len(lost))


def k2_ids(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages with every call numbered as K2 does; as they are, where they are so already.

    A result answers the latest call of its id that has none; results of calls with one id in one
    message are taken in order."""
    if not any(message.tool_calls for message in messages):
        return messages
    renamed: list[Message] = []
    waiting: dict[str, list[str]] = {}
    number = 0
    for message in messages:
        if message.tool_calls:
            calls: list[ToolCall] = []
            for call in message.tool_calls:
                waiting[call.id] = []
            for call in message.tool_calls:
                id = f"functions.{call.name}:{number}"
                number += 1
                waiting[call.id].append(id)
                calls.append(call if call.id == id else replace(call, id=id))
            message = replace(message, tool_calls=tuple(calls))
        elif due := waiting.get(message.tool_call_id or ""):
            id = due.pop(0) if len(due) > 1 else due[0]
            if id != message.tool_call_id:
                message = replace(message, tool_call_id=id)
        renamed.append(message)
    return tuple(renamed)


def ids_of(messages: Sequence[Message]) -> list[str]:
    """The ids of all calls, in order."""
    return [call.id for message in messages for call in message.tool_calls]


def patched(body: Json, before: Sequence[Message], after: Sequence[Message]) -> list[Json]:
    """The messages of a body, with what changed between `before` and `after`."""
    entries: list[Json] = list(body["messages"])
    for at, (old, new) in enumerate(zip(before, after, strict=True)):
        if old is new:
            continue
        entry = dict(entries[at])
        if new.reasoning != old.reasoning:
            entry["reasoning_content"] = new.reasoning
        if new.tool_call_id is not None:
            entry["tool_call_id"] = new.tool_call_id
        if new.tool_calls:
            pairs = zip(entry["tool_calls"], new.tool_calls, strict=True)
            entry["tool_calls"] = [{**call, "id": named.id} for call, named in pairs]
        entries[at] = entry
    return entries
