"""Models for tests of the server: deltas as they are given, and waiting until told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

from chogori.chat import (
    Conversation,
    Delta,
    Options,
    Profile,
    ToolSpec,
    profile_for,
)
from chogori.errors import ChogoriError


class StreamingModel:
    """Streams these very deltas; an error among them is raised. With `goes_on` it waits for that
    before each delta after the first."""

    def __init__(
        self,
        deltas: Iterable[Delta | ChogoriError],
        *,
        profile: Profile | None = None,
        goes_on: asyncio.Event | None = None,
        waits_at: int = 1,
    ) -> None:
        self.profile = profile or profile_for("m")
        self.deltas: list[Delta | ChogoriError] = list(deltas)
        self.goes_on = goes_on
        self.waits_at = waits_at
        self.running = 0
        self.asked = 0
        self.closed = 0
        """Streams that were left before their end."""
        self.conversations: list[Conversation] = []

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncGenerator[Delta]:
        self.running += 1
        self.asked += 1
        self.conversations.append(conversation)
        is_over = False
        try:
            for number, delta in enumerate(self.deltas):
                if self.goes_on is not None and number >= self.waits_at:
                    await self.goes_on.wait()
                if isinstance(delta, ChogoriError):
                    is_over = True
                    raise delta
                is_over = number == len(self.deltas) - 1
                yield delta
        finally:
            self.running -= 1
            self.closed += not is_over

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return sum(len(message.text.split()) for message in conversation)

    async def aclose(self) -> None:
        """Nothing is held."""
