"""Looks after requests that are being answered, a few times a second and all at one go: a request
that is answered at once costs nothing here, and there is no task for each.

Idle streams get a comment, clients that left or stopped reading and keys that were revoked end what
is done for them, and so does time.
"""

from __future__ import annotations

import asyncio
import time

from chogori.api.server.exchange import Exchange

LOOK_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 5.0
STALL_SECONDS = 60.0
LONGEST_SECONDS = 7200.0
"""Moonshot's own bound."""


class Watch:
    """Holds the exchanges that run."""

    def __init__(
        self,
        *,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        stall_seconds: float = STALL_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._keep_alive_seconds = keep_alive_seconds
        self._stall_seconds = stall_seconds
        self._longest_seconds = longest_seconds
        self._look_seconds = look_seconds
        self._exchanges: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._exchanges)

    def enter(self, exchange: Exchange) -> None:
        """Look after it from now on."""
        self._exchanges.add(exchange)
        self._is_empty.clear()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._look_seconds, self._look)

    def leave(self, exchange: Exchange) -> None:
        """It is over."""
        self._exchanges.discard(exchange)
        if not self._exchanges:
            self._is_empty.set()
        exchange.leave()

    async def all_left(self) -> None:
        """Wait until nothing is answered."""
        while self._exchanges:
            await self._is_empty.wait()

    def _look(self) -> None:
        now = time.perf_counter()
        for exchange in list(self._exchanges):
            self._look_at(exchange, now)
        self._timer = None
        if self._exchanges:
            self._timer = asyncio.get_running_loop().call_later(self._look_seconds, self._look)

    def _look_at(self, exchange: Exchange, now: float) -> None:
        since = exchange.sending_since
        if since is not None and now - since > self._stall_seconds:
            exchange.end("stalled")
            exchange.abort()
        if exchange.is_over:
            return
        exchange.watch_client()
        if exchange.admission is not None and exchange.admission.revoked.is_set():
            exchange.end("revoked")
        elif now - exchange.started > self._longest_seconds:
            exchange.end("late")
        elif exchange.keeps_alive and now - exchange.last_sent >= self._keep_alive_seconds:
            exchange.keep_alive()
