"""The limiters of endpoints, in one actor: subagents on all nodes ask an endpoint as one.

Each task of Ray has a client of its own; by itself none would learn what an endpoint takes, and
none would know of the others. A turn is a lease: who dies with one holds up nobody.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from chogori.chat import LearningLimiter, Limiter, on_behalf_of
from chogori.chat.turns import behalf
from chogori.swarm.ray.slots import LEASE_SECONDS


class LimitersActor:
    """The actor: an endpoint's limiter by its address, and who is inside."""

    def __init__(self, make: Callable[[], Limiter] = LearningLimiter) -> None:
        self._make = make
        self._limiters: dict[str, Limiter] = {}
        self._turns: dict[str, AsyncExitStack] = {}
        self._ends: dict[str, asyncio.TimerHandle] = {}
        self._waiting: set[str] = set()

    async def enter(self, endpoint: str, holder: str, behalf: str, seconds: float) -> None:
        """Wait for a turn. It ends after so many seconds, unless it is renewed."""
        turn = AsyncExitStack()
        self._waiting.add(holder)
        with on_behalf_of(behalf):
            await turn.enter_async_context(self._limiter(endpoint).slot())
        if holder not in self._waiting:  # it has left meanwhile
            await turn.aclose()
            return
        self._waiting.remove(holder)
        self._turns[holder] = turn
        await self.renew(holder, seconds)

    async def renew(self, holder: str, seconds: float) -> None:
        """`holder` is alive: its turn goes on."""
        if holder in self._turns:
            self._forget_end(holder)
            loop = asyncio.get_running_loop()
            end = loop.call_later(seconds, lambda: loop.create_task(self.leave(holder)))
            self._ends[holder] = end

    async def leave(self, holder: str) -> None:
        """It has no turn, and waits for none."""
        self._waiting.discard(holder)
        self._forget_end(holder)
        if (turn := self._turns.pop(holder, None)) is not None:
            await turn.aclose()

    async def refused(self, endpoint: str, status: int, retry_after_seconds: float | None) -> None:
        """See `Limiter.refused`."""
        self._limiter(endpoint).refused(status, retry_after_seconds)

    async def answered(self, endpoint: str, first_token_seconds: float) -> None:
        """See `Limiter.answered`."""
        self._limiter(endpoint).answered(first_token_seconds)

    def _limiter(self, endpoint: str) -> Limiter:
        if endpoint not in self._limiters:
            self._limiters[endpoint] = self._make()
        return self._limiters[endpoint]

    def _forget_end(self, holder: str) -> None:
        if (end := self._ends.pop(holder, None)) is not None:
            end.cancel()


class SharedLimiter:
    """A `Limiter` that asks the actor."""

    _numbers = itertools.count()

    def __init__(self, endpoint: str, actor: Any, name: str) -> None:
        """`actor` is the handle of a `LimitersActor`; `name` is that of whoever asks."""
        self._endpoint = endpoint
        self._actor = actor
        self._name = name
        self._telling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """See `Limiter.slot`."""
        holder, renewing = f"{self._name}/{next(self._numbers)}", None
        try:
            await self._actor.enter.remote(self._endpoint, holder, behalf(), LEASE_SECONDS)
            renewing = asyncio.create_task(self._renew(holder))
            yield
        finally:
            if renewing is not None:
                renewing.cancel()
            await self._actor.leave.remote(holder)

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        """See `Limiter.refused`."""
        self._tell(self._actor.refused.remote(self._endpoint, status, retry_after_seconds))

    def answered(self, first_token_seconds: float) -> None:
        """See `Limiter.answered`."""
        self._tell(self._actor.answered.remote(self._endpoint, first_token_seconds))

    def _tell(self, sent: Awaitable[None]) -> None:
        """Nobody waits for it to arrive."""

        async def arrive() -> None:
            await sent

        task = asyncio.create_task(arrive())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _renew(self, holder: str) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            await self._actor.renew.remote(holder, LEASE_SECONDS)
