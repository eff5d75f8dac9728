"""Who waits, and for how long, before an endpoint is asked.

One limiter stands for one endpoint and key. A client enters it for each request and tells it
every refusal; what it makes of them (how many at once, how long to hold back) is its own affair.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        async with self._slots:
            while (wait := self._closed_until - self._clock()) > 0:
                await asyncio.sleep(wait)
            yield

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        if retry_after_seconds:
            self._closed_until = max(self._closed_until, self._clock() + retry_after_seconds)

    def answered(self, first_token_seconds: float) -> None:
        """Nothing to learn: the width is fixed."""
