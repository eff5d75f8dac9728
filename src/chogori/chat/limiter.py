"""Who waits, and for how long, before an endpoint is asked.

One limiter stands for one endpoint and key. A client enters it for each request and tells it
every refusal; what it makes of them (how many at once, how long to hold back) is its own affair.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Limiter(Protocol):
    """Owns waiting."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn and hold it."""
        ...

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        """The endpoint refused (429, 503, ...); nobody else should ask before it would answer."""
        ...

    def answered(self, first_token_seconds: float) -> None:
        """The endpoint answered, after so long."""
        ...


class FixedLimiter:
    """At most `width` requests at once; a refusal with a time holds everybody back that long."""

    def __init__(self, width: int = 64, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = asyncio.Semaphore(width)
        self._clock = clock
        self._closed_until = 0.0

    def slot(self) -> AbstractAsyncContextManager[None]:
        return _Slot(self)

    async def enter(self) -> None:
        """Wait for a turn. `leave` gives it back."""
        await self._slots.acquire()
        try:
            while (wait := self._closed_until - self._clock()) > 0:
                await asyncio.sleep(wait)
        except BaseException:
            self._slots.release()
            raise

    def leave(self) -> None:
        """Give a turn back."""
        self._slots.release()

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        if retry_after_seconds:
            self._closed_until = max(self._closed_until, self._clock() + retry_after_seconds)

    def answered(self, first_token_seconds: float) -> None:
        """Nothing to learn: the width is fixed."""


class _Slot(AbstractAsyncContextManager[None]):
    """A turn. A class of its own: one is held for every request."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: FixedLimiter) -> None:
        self._limiter = limiter

    async def __aenter__(self) -> None:
        await self._limiter.enter()

    async def __aexit__(self, *why: object) -> None:
        self._limiter.leave()
