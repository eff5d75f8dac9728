"""Slots of embedded engines, leased from one actor: as many requests at once as an engine answers.

A lease ends by itself unless it is renewed, so that whoever dies with a slot holds up nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from chogori.chat import ChatModel, Conversation, Delta, Options, Profile, ToolSpec

LEASE_SECONDS = 30.0


class Slots:
    """Who holds the slots of one engine, and who waits for one, in the order they came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, float] = {}
        """Until when."""
        self._waiting: deque[str] = deque()

    def take(self, holder: str, slots: int, seconds: float) -> bool:
        """Whether `holder` has one of `slots`, for `seconds` from now. If not, its place in the
        line is kept."""
        now = self._clock()
        self._held = {each: until for each, until in self._held.items() if until > now}
        if holder not in self._held:
            if holder not in self._waiting:
                self._waiting.append(holder)
            before = list(self._waiting).index(holder)
            if len(self._held) + before >= slots:
                return False
            self._waiting.remove(holder)
        self._held[holder] = now + seconds
        return True

    def give_back(self, holder: str) -> None:
        """It holds none, and waits for none."""
        self._held.pop(holder, None)
        with suppress(ValueError):
            self._waiting.remove(holder)


class SlotsActor:
    """The actor: the slots of all engines."""

    def __init__(self) -> None:
        self._engines: dict[str, Slots] = {}

    async def take(self, engine: str, holder: str, slots: int, seconds: float) -> bool:
        """See `Slots.take`."""
        return self._engines.setdefault(engine, Slots()).take(holder, slots, seconds)

    async def give_back(self, engine: str, holder: str) -> None:
        """See `Slots.give_back`."""
        self._engines.setdefault(engine, Slots()).give_back(holder)


class LeasedModel:
    """A `ChatModel` that holds a slot of its engine while it answers."""

    _numbers = itertools.count()

    def __init__(self, model: ChatModel, slots: int, engine: str, actor: Any, name: str) -> None:
        """`engine` names the engine, `actor` is the handle of a `SlotsActor`, and `name` is that
        of whoever asks."""
        self._model = model
        self._slots = slots
        self._engine = engine
        self._actor = actor
        self._name = name

    @property
    def profile(self) -> Profile:
        return self._model.profile

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        async with self._slot():
            async for delta in self._model.stream(conversation, tools, options):
                yield delta

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return await self._model.count(conversation, tools)

    async def aclose(self) -> None:
        await self._model.aclose()

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        holder, wait = f"{self._name}/{next(self._numbers)}", 0.01
        renewing = None
        try:
            while not await self._take(holder):
                await asyncio.sleep(wait)
                wait = min(2 * wait, 0.5)
            renewing = asyncio.create_task(self._renew(holder))
            yield
        finally:
            if renewing is not None:
                renewing.cancel()
            await self._actor.give_back.remote(self._engine, holder)

    async def _take(self, holder: str) -> bool:
        return await self._actor.take.remote(self._engine, holder, self._slots, LEASE_SECONDS)

    async def _renew(self, holder: str) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            await self._take(holder)
