"""Conversations as the token ids that a model of the Kimi K2 family reads.

- **Incremental.** Each turn is encoded once and kept beside its message (`Conversation.encoded`),
  with reasoning and without, so a further step encodes what it adds.
- **What was generated is never tokenised again.** A reply carries its ids in `Message.extra` under
  `TOKENS`; they go back as they are, without the reasoning where the retention drops it. Whoever
  alters such a message must take `TOKENS` away. Ids of another vocabulary are left aside.
- **Nobody writes themselves a role.** Every text is encoded with special tokens off; markers are
  put by id.
- **Call ids are Kimi's own.** Ids of a history from elsewhere are told to the model as
  `functions.NAME:N`, N counting all calls of the conversation, as Moonshot's API does, since models
  call worse after foreign ids. The conversation itself keeps its ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from chogori.chat.conversation import Conversation
from chogori.chat.markers import ASSISTANT, END, MIDDLE, SECTION_BEGIN, THINK_END, Marker
from chogori.chat.messages import Message, ToolSpec
from chogori.chat.profiles import Retention
from chogori.chat.templates import NO_THOUGHT, Piece, Template, reasoning_from, wire_form
from chogori.chat.token_ids import TOKENS, tokens_told
from chogori.chat.token_reader import TokenReader
from chogori.chat.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model reads, and what must be known to read its reply."""

    ids: Sequence[int]
    opening: Sequence[int]
    """The last of `ids`: those with which the reply already begins."""
    reasons: bool
    """Whether what the model writes begins with reasoning."""
    calls: int
    """Calls in the conversation."""
    taken: frozenset[str]
    """Their ids, as the conversation and as the model knows them."""


class Prompts:
    """Makes the prompts of one model. Safe to share between threads."""

    def __init__(
        self, tokenizer: Tokenizer, template: Template, *, retention: Retention = "chain"
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.retention: Retention = retention
        self._key = (__name__, tokenizer.fingerprint, template)
        self._declared: tuple[tuple[ToolSpec, ...], list[int]] = ((), [])

    def prompt(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        *,
        thinking: bool = True,
        prefill: str | None = None,
    ) -> Prompt:
        """The prompt for the next reply, which goes on from `prefill` if there is one.

        Raises `ConfigError` where the model cannot be shown what the messages hold.
        """
        template, numbers = self.template, _Numbers()
        start = reasoning_from(conversation, self.retention)
        ids = [*self._declaration(tools), *self.encode(template.default_turn(conversation))]
        for at, turn in enumerate(conversation.encoded(self._key, _Turn)):
            own = self._own_ids(turn.message)
            names = numbers.take(turn.message, keep=own is not None)
            ids += self._turn(turn, own, names, reasons=at >= start)
        opening = self.encode(template.opening(thinking=thinking, prefill=prefill))
        ids += [*self.encode((ASSISTANT, "assistant", MIDDLE)), *opening]
        return Prompt(
            ids=ids,
            opening=opening,
            reasons=template.lets_reason(thinking=thinking, prefill=prefill),
            calls=numbers.count,
            taken=frozenset(numbers.taken),
        )

    def reader(self, prompt: Prompt, tools: Sequence[ToolSpec] = ()) -> TokenReader:
        """Takes apart the reply to `prompt`."""
        return TokenReader(
            self.tokenizer,
            reasons=prompt.reasons,
            tools=tools,
            taken=prompt.taken,
            calls=prompt.calls,
        )

    def reply_extra(self, prompt: Prompt, generated: Sequence[int]) -> dict[str, Any]:
        """The `extra` of the reply to `prompt`; `generated` may end with a stop id."""
        written = list(generated)
        while written and written[-1] in self.tokenizer.stop_ids:
            written.pop()
        return tokens_told(self.tokenizer.fingerprint, prompt.opening, written)

    def encode(self, pieces: Sequence[Piece]) -> list[int]:
        """The ids of pieces; neighbouring texts are one text."""
        ids: list[int] = []
        text: list[str] = []
        for piece in (*pieces, None):
            if isinstance(piece, str):
                text.append(piece)
                continue
            ids += self.tokenizer.encode("".join(text))
            text.clear()
            if piece is not None:
                ids.append(self.tokenizer.id_of(piece))
        return ids

    def _declaration(self, tools: Sequence[ToolSpec]) -> list[int]:
        specs, ids = self._declared
        if specs != tuple(tools):
            specs = tuple(tools)
            ids = self.encode(self.template.declaration([wire_form(spec) for spec in specs]))
            self._declared = specs, ids
        return ids

    def _turn(
        self, turn: _Turn, own: list[int] | None, names: tuple[str, ...], *, reasons: bool
    ) -> list[int]:
        made = turn.made.get((names, reasons))
        if made is None:
            body = None if own is None else self._own_body(own, reasons)
            if body is None:
                made = self.encode(self.template.turn(turn.named(names), reasons=reasons))
            else:
                head, end = self.encode(self.template.head(turn.message)), self._id(END)
                made = [*head, *body, end]
            turn.made[names, reasons] = made
        return made

    def _own_ids(self, message: Message) -> list[int] | None:
        kept = message.extra.get(TOKENS) if message.role == "assistant" else None
        if not isinstance(kept, Mapping):
            return None
        kept = cast(Mapping[str, Any], kept)
        is_ours = kept.get("vocabulary") == self.tokenizer.fingerprint
        return list(cast(Sequence[int], kept["ids"])) if is_ours else None

    def _own_body(self, ids: list[int], reasons: bool) -> list[int] | None:
        """The ids of a reply, its reasoning cut off if need be; None where its end is not found."""
        if reasons or not self.template.thinks:
            return ids
        for marker, width in ((THINK_END, 1), (SECTION_BEGIN, 0)):
            if (id := self._id(marker)) in ids:
                return [*self.encode(NO_THOUGHT), *ids[ids.index(id) + width :]]
        return None

    def _id(self, marker: Marker) -> int:
        return self.tokenizer.id_of(marker)


class _Turn:
    """What is kept beside a message: its ids, for the names of its calls, and reasoning or not."""

    __slots__ = ("made", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.made: dict[tuple[tuple[str, ...], bool], list[int]] = {}

    def named(self, names: tuple[str, ...]) -> Message:
        """The message with these call ids."""
        message = self.message
        if message.role == "tool":
            return replace(message, tool_call_id=names[0])
        calls = zip(message.tool_calls, names, strict=True)
        return replace(message, tool_calls=tuple(replace(call, id=name) for call, name in calls))


@dataclass(slots=True)
class _Numbers:
    """Numbers the calls of a conversation, message by message."""

    count: int = 0
    taken: set[str] = field(default_factory=set[str])
    _due: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By the conversation's id: the names of the calls that wait for a result."""

    def take(self, message: Message, *, keep: bool) -> tuple[str, ...]:
        """The names of the calls of `message`, or of the one it answers; `keep`: they are what the
        model itself wrote."""
        if message.role == "tool":
            id = message.tool_call_id or ""
            due = self._due.get(id, [id])
            return (due.pop(0) if len(due) > 1 else due[0],)
        self._due.update((call.id, []) for call in message.tool_calls)
        names: list[str] = []
        for call in message.tool_calls:
            name = call.id if keep else f"functions.{call.name}:{self.count}"
            self.count += 1
            self.taken |= {call.id, name}
            self._due[call.id].append(name)
            names.append(name)
        return tuple(names)
