"""Turns at an engine: so many requests at once, so many waiting, and no more. Who comes when the
line is full is told so at once, and so is who has waited too long: an honest refusal with a time,
rather than a wait without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from chogori.api.server.refusals import overloaded

WAITING = 64
LONGEST_WAIT_SECONDS = 600.0


class Turns:
    """`width` at once (None: no bound), `waiting` in line."""

    def __init__(
        self,
        width: int | None,
        *,
        waiting: int = WAITING,
        longest_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        self.width = width
        self.running = 0
        self.waiting = 0
        self._most_waiting = waiting
        self._longest_seconds = longest_seconds
        self._slots = None if width is None else asyncio.Semaphore(width)
        self._usual_seconds = 1.0
        """How long a turn takes, as last seen; smoothed."""

    @property
    def is_full(self) -> bool:
        """Whether another request would be refused."""
        return self.width is not None and self.waiting >= self._most_waiting

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait for a turn and hold it. Raises `Refused`: 429 where the line is full, 503 where it
        does not move."""
        if self._slots is None:
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1
            return
        await self._wait(self._slots)
        self.running += 1
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            yield
        finally:
            self.running -= 1
            self._usual_seconds += 0.2 * (loop.time() - begun - self._usual_seconds)
            self._slots.release()

    async def _wait(self, slots: asyncio.Semaphore) -> None:
        if not slots.locked():
            await slots.acquire()
            return
        if self.is_full:
            raise overloaded(
                f"The engine is busy: {self.running} requests run and {self.waiting} wait, which "
                f"is all it takes.",
                after_seconds=self._usual_seconds * self.waiting / (self.width or 1),
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(self._longest_seconds):
                await slots.acquire()
        except TimeoutError:
            raise overloaded(
                f"The engine was busy for {self._longest_seconds:g} seconds.",
                after_seconds=self._usual_seconds,
                status=503,
            ) from None
        finally:
            self.waiting -= 1
