"""Asks one bounded request at a time. A request that fails is an answer like any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from chogori.chat import (
    ChatModel,
    Conversation,
    Delta,
    Finished,
    Message,
    MessageBuilder,
    Options,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
    assistant,
)
from chogori.errors import ChogoriError

MOST_REQUESTS = 15
FIRST_TOKENS, THINKING_TOKENS, PLAIN_TOKENS = 1_024, 2_048, 256
"""The limit of a reply: before it is known whether the model reasons, if it does, if not. None is
longer than an eighth of the context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of one request."""

    failure: str = ""
    """Why it failed; where it did, nothing else counts."""
    message: Message = Message("assistant")
    finished: Finished = Finished("stop")
    pieces: int = 0
    """In how many deltas the text came, or the reasoning if that came in more."""
    first_seconds: float = 0.0
    """From the request to the first delta."""
    last_seconds: float = 0.0

    @property
    def usage(self) -> Usage:
        """The tokens that were reported."""
        return self.finished.usage

    @property
    def is_cut(self) -> bool:
        """Whether the reply reached our limit."""
        return self.finished.reason == "length"

    def says(self, word: str) -> bool:
        """Whether `word` is in the text, or in the reasoning that led to it."""
        return word.lower() in f"{self.message.reasoning or ''} {self.message.text}".lower()


class Asker:
    """Asks `model`. `requests` counts; past `MOST_REQUESTS` or `total_seconds` nothing is sent."""

    def __init__(
        self,
        model: ChatModel,
        *,
        seconds: float,
        total_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.model = model
        self.requests = 0
        self.reasoned: Message | None = None
        """A reply with reasoning, once there was one."""
        self._seconds = seconds
        self._clock = clock
        self._ends = clock() + total_seconds

    async def ask(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> Heard:
        """What comes of one request."""
        started = self._clock()
        left = min(self._seconds, self._ends - started)
        if left <= 0 or self.requests >= MOST_REQUESTS:
            return Heard(failure="not asked: the probe has used up its seconds or its requests")
        self.requests += 1
        if options.max_tokens is None:
            options = replace(options, max_tokens=self._max_tokens())
        stream = self.model.stream(conversation, tools, options)
        builder, kinds, stamps = MessageBuilder(), Counter[type](), [0.0]
        try:
            async with (
                asyncio.timeout(left),
                aclosing(cast(AsyncGenerator[Delta], stream)) as deltas,
            ):
                async for delta in deltas:
                    builder.add(delta)
                    if not isinstance(delta, Finished):
                        kinds[type(delta)] += 1
                        stamps.append(self._clock() - started)
        except TimeoutError:
            return Heard(failure=f"the reply had not ended after {left:g} s")
        except ChogoriError as error:
            return Heard(failure=str(error))
        message = builder.message
        if message.reasoning:
            self.reasoned = message
        return Heard(
            message=message,
            finished=builder.finished or Finished("stop"),
            pieces=max(kinds[TextDelta], kinds[ReasoningDelta]),
            first_seconds=stamps[1] if len(stamps) > 1 else 0.0,
            last_seconds=stamps[-1],
        )

    def reply(self, said: str = "", *, reasoning: str, calls: Sequence[ToolCall] = ()) -> Message:
        """A reply as this model would have given it: without reasoning if it shows none, and else
        with the names under which it came, since it goes back under those."""
        if self.reasoned is None:
            return assistant(said, calls=calls)
        came = self.reasoned.extra
        kept = {name: came[name] for name in ("reasoning_field", "endpoint") if name in came}
        return replace(assistant(said, reasoning=reasoning, calls=calls), extra=kept)

    def _max_tokens(self) -> int:
        if self.reasoned:
            limit = THINKING_TOKENS
        else:
            limit = FIRST_TOKENS if self.requests == 1 else PLAIN_TOKENS
        return min(limit, self.model.profile.context_tokens // 8)
