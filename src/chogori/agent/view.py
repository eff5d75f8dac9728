"""What the model is shown of one run, and how long that is.

What is shown follows from the messages, the usages and the replies alone: no clock, no count by
the model. A run that is driven again is shown the same again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self, cast

from chogori.agent.recall import Record
from chogori.chat import (
    ChatModel,
    Compacted,
    Conversation,
    Event,
    Message,
    Options,
    TextPart,
    Tool,
    ToolSpec,
    Usage,
)

WORTHWHILE = 0.2
"""Of the threshold: a compaction that would free less waits until it frees so much."""
TOKEN_CHARS = 3.5
PICTURE_CHARS = 3_584
"""A part that is not text counts as so many characters: Moonshot bills a picture 1,024 tokens."""


class View:
    """What the model is shown of one run, from its first leg to its last; this one shows it all.

    `show` goes before each request, and `saw` after its reply."""

    def __init__(self) -> None:
        self.shown = Conversation()
        """What goes to the model."""
        self.spent = Usage()
        """What the view has asked of the model for itself: its summaries."""

    def tools(self) -> tuple[Tool, ...]:
        """What the model is to have beside the agent's own tools. From the first request on: a
        tool that came later would change every prefix."""
        return ()

    async def show(
        self,
        conversation: Conversation,
        model: ChatModel,
        options: Options,
        tools: Sequence[ToolSpec] = (),
    ) -> AsyncIterator[Event]:
        """Bring `shown` up to date with `conversation`, which extends the one of the last time.

        Tells `Compacted` where it was. A summary is asked of `model`, with the same `tools`; what
        the model raises is raised: a run that got by without the summary and is driven again, this
        time with it, would not be shown the same."""
        self.shown = conversation
        return
        yield  # this is a generator, of nothing

    def saw(self, usage: Usage, reply: Message) -> None:
        """What the endpoint counted for the request just sent, and the reply it counted."""

    def copy(self) -> Self:
        """Another view that stands where this one stands, and goes its own way."""
        twin = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list | Size):
                setattr(twin, name, copy(cast(object, value)))
            elif isinstance(value, Record):
                setattr(twin, name, value.copy())
        return twin


class Compacting(View):
    """Shows the conversation as it is until a compaction is due."""

    def __init__(
        self, policy: str, threshold: int, context_tokens: int, *, recalls: bool = True
    ) -> None:
        super().__init__()
        self.recalls = recalls
        self.policy = policy
        self.threshold = threshold
        self.context_tokens = context_tokens
        self.record = Record()
        self.size = Size()
        self._seen = 0
        self._is_whole = True
        self._counted: Message | None = None

    def tools(self) -> tuple[Tool, ...]:
        return (self.record.tool,) if self.recalls else ()

    async def show(
        self,
        conversation: Conversation,
        model: ChatModel,
        options: Options,
        tools: Sequence[ToolSpec] = (),
    ) -> AsyncIterator[Event]:
        self._take(conversation)
        before = self.size.tokens
        if before >= self.threshold and self.size.part(self.frees()) >= self.worth():
            await self.prepare(model, options, tools)
            changed = self.compact(conversation)
            self._is_whole = False
            self.size.become(sum(map(characters, self.shown)))
            yield Compacted(self.policy, changed, before, self.size.tokens)

    def saw(self, usage: Usage, reply: Message) -> None:
        if usage.prompt:  # else the endpoint does not count
            self.size.count(usage.prompt + usage.completion)
            self._counted = reply

    def _take(self, conversation: Conversation) -> None:
        assert len(conversation) >= self._seen, "a conversation only grows"
        new = conversation[self._seen :]
        for message in new:
            self.size.add(characters(message), counted=message == self._counted)
            self.add(message)
        self._seen, self._counted = len(conversation), None
        self.shown = conversation if self._is_whole else self.shown.append(*new)

    def worth(self) -> int:
        """Tokens that a compaction must free."""
        return max(1, round(WORTHWHILE * self.threshold))

    async def prepare(self, model: ChatModel, options: Options, tools: Sequence[ToolSpec]) -> None:
        """Ask what must be asked before a compaction."""

    def add(self, message: Message) -> None:
        """Take note of one more message."""
        raise NotImplementedError

    def frees(self) -> int:
        """Characters that a compaction would free."""
        raise NotImplementedError

    def compact(self, conversation: Conversation) -> int:
        """Make `shown` shorter; how many messages are no longer shown as they were."""
        raise NotImplementedError


@dataclass(slots=True)
class Size:
    """How long the next request is: what was counted last, and characters since then."""

    characters: int = 0
    """Of all that is shown."""
    counted: int = 0
    """Tokens, as the endpoint told last."""
    since: int = 0
    """Characters that it has not counted."""

    @property
    def tokens(self) -> int:
        """About so many."""
        return self.counted + round(self.since / TOKEN_CHARS)

    def add(self, characters: int, *, counted: bool) -> None:
        """One more message is shown; `counted` if the last count includes it."""
        self.characters += characters
        self.since += 0 if counted else characters

    def count(self, tokens: int) -> None:
        """So many it was, up to here."""
        self.counted, self.since = tokens, 0

    def part(self, characters: int) -> int:
        """The tokens of a part of what is shown, if it is as dense as the whole."""
        return round(self.tokens * characters / max(1, self.characters))

    def become(self, characters: int) -> None:
        """What is shown has been made so short."""
        self.count(self.part(characters))
        self.characters = characters


def characters(message: Message) -> int:
    """How long a message is: text, reasoning, calls, and the id of the call that it answers."""
    told = [part.text for part in message.content if isinstance(part, TextPart)]
    told += [message.reasoning or "", message.tool_call_id or ""]
    for call in message.tool_calls:
        told += [call.id, call.name, call.arguments]
    others = sum(not isinstance(part, TextPart) for part in message.content)
    return sum(map(len, told)) + others * PICTURE_CHARS
