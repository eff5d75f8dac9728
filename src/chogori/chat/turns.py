"""Turns at something that few may use at once, given out fairly.

Whoever waits does so on somebody's behalf: a run's, a user's. Next is one of those on whose behalf
the fewest turns are held; equals are served one after another. So three hundred who wait for one
run hold up another run by one turn, and not by three hundred.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_asks_for: ContextVar[str] = ContextVar("chogori_asks_for", default="")


@contextmanager
def on_behalf_of(name: str) -> Generator[None]:
    """Turns that are waited for in here, and in tasks begun in here, are waited for on behalf of
    `name`, unless somebody outside has said on whose: a subagent's are its swarm's."""
    before = behalf()
    _asks_for.set(before or name)
    try:
        yield
    finally:
        _asks_for.set(before)  # not `reset`: a generator may be closed in another context


def behalf() -> str:
    """On whose behalf turns are waited for here; "" if nobody has said."""
    return _asks_for.get()


@dataclass(frozen=True, slots=True)
class Turn:
    """One that is held."""

    name: str
    """On whose behalf."""
    number: int
    """Turns are numbered from 1, as they are given out."""
    since: float


class Turns:
    """At most `width()` are held at once, and none are given out before `opens_at`."""

    def __init__(self, width: Callable[[], float], clock: Callable[[], float]) -> None:
        self._width = width
        self._clock = clock
        self._opens_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[str, deque[asyncio.Future[Turn]]] = {}
        """In the order in which they were served last."""
        self._held: Counter[str] = Counter()
        self.inside = 0
        """Turns that are held."""
        self.taken = 0
        """Turns so far; the number of the last one."""
        self.left = 0
        """The number of the turn that was given back last."""
        self.left_after = 0.0
        """How many seconds it had been held."""

    @property
    def is_full(self) -> bool:
        """Whether more would be held if more were to be had."""
        return bool(self._waiting) or self.inside >= int(self._width())

    def close_until(self, time: float) -> None:
        """Give out none before `time`."""
        self._opens_at = max(self._opens_at, time)

    async def take(self) -> Turn:
        """Wait for a turn."""
        name = behalf()
        if self._waiting or not self._is_open():
            return await self._wait(name)
        return self._hold(name)

    def give_back(self, turn: Turn) -> None:
        """The turn has ended. Nobody else has it before whoever gives it back has had the time to
        say what came of it."""
        self._held[turn.name] -= 1
        if not self._held[turn.name]:
            del self._held[turn.name]
        self.inside -= 1
        self.left, self.left_after = turn.number, self._clock() - turn.since
        for waiting in self._waiting.values():
            waiting[0].get_loop().call_soon(self.serve)
            break

    def serve(self) -> None:
        """Give out what is to be had."""
        while self._waiting and self._is_open():
            name = min(self._waiting, key=self._held.__getitem__)
            waiting = self._waiting.pop(name)
            future = waiting.popleft()
            if waiting:
                self._waiting[name] = waiting
            if not future.done():
                future.set_result(self._hold(name))

    async def _wait(self, name: str) -> Turn:
        future: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(future)
        self.serve()
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it was given a turn, and is gone
                self.give_back(future.result())
            raise

    def _hold(self, name: str) -> Turn:
        self._held[name] += 1
        self.inside += 1
        self.taken += 1
        return Turn(name, self.taken, self._clock())

    def _is_open(self) -> bool:
        wait = self._opens_at - self._clock()
        if wait > 0 and self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._open)
        return wait <= 0 and self.inside < max(1, int(self._width()))

    def _open(self) -> None:
        self._timer = None
        self.serve()
