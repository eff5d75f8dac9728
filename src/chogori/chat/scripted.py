"""A chat model that says what it was told to say, for tests and for demos without weights.

Which reply comes is decided by the conversation alone, never by how often the model was asked:
so a script serves a hundred runs at once, and a run that is resumed gets the reply it was due.
A conversation with n assistant messages is at position n.

`scripted:FILE` reads JSON lines; each is a reply:

    {"content": "...", "reasoning": "...",
     "calls": [{"name": "add", "arguments": {"a": 1}}],   one id a call is made up, or given as "id"
     "at": 3,                   the reply for position 3
     "match": "regex",          the reply when the last message's text matches
     "delay_seconds": 0.5,      before the first delta
     "delta_seconds": 0.01,     before each further one
     "fault": "cut",            after half of the deltas: "cut" the stream, "refuse" (429) or
                                "fail" (500) before the first
     "times": 1}                the fault strikes only so often at one position of one task

A match goes before a position; lines with neither are the replies for positions 0, 1, 2, ...;
with `"repeat": true` the last of them serves every later position too.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import orjson

from chogori.chat.conversation import Conversation
from chogori.chat.messages import (
    Delta,
    Message,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
    assistant,
    deltas_of,
)
from chogori.chat.model import Options
from chogori.chat.profiles import Profile, profile_for
from chogori.errors import ConfigError, RateLimited, StreamCut

Fault = Literal["cut", "refuse", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One line of a script."""

    message: Message
    at: int | None = None
    match: str | None = None
    delay_seconds: float = 0.0
    delta_seconds: float = 0.0
    fault: Fault | None = None
    times: int | None = None
    repeat: bool = False

    def __post_init__(self) -> None:
        if self.fault not in (None, *get_args(Fault)):
            known = ", ".join(get_args(Fault))
            raise ConfigError(f"there is no fault {self.fault!r}; there are: {known}")
        for name, kind in _KINDS.items():
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} cannot be {getattr(self, name)!r}")
        try:
            re.compile(self.match or "")
        except re.error as error:
            raise ConfigError(f"match is no regular expression: {error}") from error


_KINDS: dict[str, Any] = {
    "at": int | None,
    "match": str | None,
    "delay_seconds": int | float,
    "delta_seconds": int | float,
    "times": int | None,
    "repeat": bool,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request a `ScriptedModel` received."""

    conversation: Conversation
    tools: tuple[ToolSpec, ...]
    options: Options


Script = Iterable[Message | str | Reply] | Callable[[Conversation], Message | str]


class ScriptedModel:
    """Replies by the position of the conversation, and remembers what it was asked."""

    def __init__(self, script: Script, *, profile: Profile | None = None) -> None:
        self.profile = profile or profile_for("scripted")
        self.asked: list[Asked] = []
        self._function = script if callable(script) else None
        replies = [] if callable(script) else [_as_reply(reply) for reply in script]
        self._matches = [reply for reply in replies if reply.match is not None]
        self._placed = {reply.at: reply for reply in replies if reply.at is not None}
        self._rest = [reply for reply in replies if reply.at is None and reply.match is None]
        self._struck: Counter[tuple[str, int]] = Counter()

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        self.asked.append(Asked(conversation, tuple(tools), options))
        reply = self._choose(conversation)
        await asyncio.sleep(reply.delay_seconds)
        fault = self._fault(reply, conversation)
        if fault == "refuse":
            raise RateLimited("the script refuses", url="scripted:", status=429)
        if fault == "fail":
            raise StreamCut("the script fails", url="scripted:", status=500)
        deltas = _in_pieces(deltas_of(reply.message, self._usage(conversation, reply.message)))
        for number, delta in enumerate(deltas):
            if fault == "cut" and number >= len(deltas) // 2:
                raise StreamCut("the script cuts the stream", url="scripted:")
            if number:
                await asyncio.sleep(reply.delta_seconds)
            yield delta

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return sum(conversation.encoded("scripted-count", _tokens))

    async def aclose(self) -> None:
        """Nothing is held."""

    def _choose(self, conversation: Conversation) -> Reply:
        position = sum(conversation.encoded("is-assistant", lambda m: m.role == "assistant"))
        if self._function is not None:
            return _as_reply(self._function(conversation))
        last = conversation[-1].text if len(conversation) else ""
        for reply in self._matches:
            if re.search(reply.match or "", last, re.DOTALL):
                return reply
        if position in self._placed:
            return self._placed[position]
        if position < len(self._rest):
            return self._rest[position]
        if self._rest and self._rest[-1].repeat:
            return self._rest[-1]
        raise ConfigError(
            f"the script has no reply for position {position}; it has {len(self._rest)} in order, "
            f"{len(self._placed)} by position and {len(self._matches)} by match"
        )

    def _fault(self, reply: Reply, conversation: Conversation) -> Fault | None:
        if reply.fault is None:
            return None
        task = next((message.text for message in conversation if message.role == "user"), "")
        self._struck[task, len(conversation)] += 1
        spent = reply.times is not None and self._struck[task, len(conversation)] > reply.times
        return None if spent else reply.fault

    def _usage(self, conversation: Conversation, message: Message) -> Usage:
        reasoning = _count_words(message.reasoning or "")
        return Usage(
            prompt=sum(conversation.encoded("scripted-count", _tokens)),
            completion=_tokens(message),
            reasoning=reasoning,
        )


def read_script(path: Path) -> list[Reply]:
    """The replies of a `scripted:FILE`. Raises `ConfigError` naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ConfigError(f"no script at {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    replies: list[Reply] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("//"):
            continue
        try:
            replies.append(_read_line(orjson.loads(line), number))
        except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ConfigError) as error:
            raise ConfigError(
                f"{path}, line {number}: expected a JSON object that is a reply, found {error}"
            ) from error
    return replies


def _read_line(line: dict[str, Any], number: int) -> Reply:
    calls = tuple(
        ToolCall(
            call.get("id", f"call_{number}_{index}"),
            call["name"],
            call["arguments"]
            if isinstance(call.get("arguments", {}), str)
            else orjson.dumps(call.get("arguments", {})).decode(),
        )
        for index, call in enumerate(cast(list[dict[str, Any]], line.pop("calls", [])))
    )
    content, reasoning = line.pop("content", ""), line.pop("reasoning", None)
    if not isinstance(content, str) or not isinstance(reasoning, str | None):
        raise TypeError("content or reasoning that is not text")
    return Reply(message=assistant(content, reasoning=reasoning, calls=calls), **line)


def _as_reply(reply: Message | str | Reply) -> Reply:
    match reply:
        case Reply():
            return reply
        case Message():
            return Reply(message=reply)
        case str():
            return Reply(message=assistant(reply))


def _in_pieces(deltas: list[Delta]) -> list[Delta]:
    """Text goes out a word at a time, as from a real model."""
    pieces: list[Delta] = []
    for delta in deltas:
        if isinstance(delta, TextDelta):
            pieces += [TextDelta(word) for word in re.findall(r"\S+\s*|\s+", delta.text)]
        else:
            pieces.append(delta)
    return pieces


def _tokens(message: Message) -> int:
    called = " ".join(call.arguments for call in message.tool_calls)
    return sum(map(_count_words, (message.text, message.reasoning or "", called)))


def _count_words(text: str) -> int:
    return len(text.split())
