"""Messages, and the deltas that build them.

A model never returns a message: it streams deltas, and `MessageBuilder` folds them.
However the stream is cut into deltas, the folded message is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chogori.chat.parts import Content, Part, content_of, text_of

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a model is told about a tool."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments object. A string property may carry `contentMediaType`
    ("text/x-python"): models that write code better outside JSON are asked for a fenced block."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asks of a tool."""

    id: str
    name: str
    arguments: str
    """JSON text exactly as the model wrote it; it may be malformed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Built by `system`, `user`, `assistant` and `tool_result`."""

    role: Role
    content: Content = ()
    reasoning: str | None = None
    """None: it did not reason; "": it reasoned nothing. Some endpoints insist on which."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """On a `tool` message, the call it answers."""
    name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What an adapter needs to know again: the endpoint's field names, fields unknown to us,
    token ids and log-probabilities where the engine is ours."""

    @property
    def text(self) -> str:
        """The text of the content."""
        return text_of(self.content)


def system(text: str) -> Message:
    """The instructions of a conversation."""
    return Message("system", content_of(text))


def user(content: str | Part | Sequence[Part]) -> Message:
    """What a person says."""
    return Message("user", content_of(content))


def assistant(
    content: str = "", *, reasoning: str | None = None, calls: Sequence[ToolCall] = ()
) -> Message:
    """What a model says."""
    return Message("assistant", content_of(content), reasoning, tuple(calls))


def tool_result(call: ToolCall, content: str | Sequence[Part], *, failed: bool = False) -> Message:
    """What came of `call`; `extra` says if it failed."""
    extra = {"failed": True} if failed else {}
    return Message("tool", content_of(content), tool_call_id=call.id, name=call.name, extra=extra)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `completion` includes `reasoning`; `prompt` includes `cached`."""

    prompt: int = 0
    completion: int = 0
    reasoning: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.reasoning + other.reasoning,
            self.cached + other.cached,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt - other.prompt,
            self.completion - other.completion,
            self.reasoning - other.reasoning,
            self.cached - other.cached,
        )


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the tool call at `index`; every field is appended to what came before."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last delta of every stream."""

    reason: FinishReason
    usage: Usage = Usage()
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Becomes the message's `extra`."""


Delta = ReasoningDelta | TextDelta | ToolCallDelta | Finished


class MessageBuilder:
    """Folds a stream of deltas into one assistant message. Pieces are kept and joined once."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] | None = None
        self._calls: dict[int, tuple[list[str], list[str], list[str]]] = {}
        self.finished: Finished | None = None

    def add(self, delta: Delta) -> None:
        match delta:
            case TextDelta(text):
                self._text.append(text)
            case ReasoningDelta(text):
                self._reasoning = self._reasoning or []
                self._reasoning.append(text)
            case ToolCallDelta(index):
                ids, names, arguments = self._calls.setdefault(index, ([], [], []))
                ids.append(delta.id)
                names.append(delta.name)
                arguments.append(delta.arguments)
            case Finished():
                self.finished = delta

    @property
    def is_empty(self) -> bool:
        """Whether nothing but a `Finished` has come."""
        return not (self._text or self._reasoning or self._calls)

    @property
    def message(self) -> Message:
        """What has come so far, as a message."""
        return Message(
            "assistant",
            content_of("".join(self._text)),
            None if self._reasoning is None else "".join(self._reasoning),
            tuple(
                ToolCall(*("".join(pieces) for pieces in self._calls[index]))
                for index in sorted(self._calls)
            ),
            extra={} if self.finished is None else self.finished.extra,
        )


def deltas_of(message: Message, usage: Usage = Usage()) -> list[Delta]:
    """The shortest stream that folds back into `message`."""
    deltas: list[Delta] = []
    if message.reasoning is not None:
        deltas.append(ReasoningDelta(message.reasoning))
    if message.content:
        deltas.append(TextDelta(message.text))
    for index, call in enumerate(message.tool_calls):
        deltas.append(ToolCallDelta(index, call.id, call.name, call.arguments))
    reason = "tool_calls" if message.tool_calls else "stop"
    return [*deltas, Finished(reason, usage, message.extra)]
