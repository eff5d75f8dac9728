"""A simulated endpoint and those who ask it, on a clock that does not wait."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chogori.api.retries import Retries
from chogori.chat import Limiter

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Where a loop would wait, time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for nothing that would ever come"
        self.now += max(0.0, timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is simulated: nothing waits, and every run of it is the same."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def simulate(work: Callable[[Callable[[], float]], Coroutine[Any, Any, T]]) -> T:
    """Run `work`, which is given the clock, to its end."""
    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(work(loop.time))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@dataclass
class Refused(Exception):
    status: int
    after_seconds: float | None


@dataclass
class SimulatedEndpoint:
    """Takes `limit` at once and refuses the rest; with `lanes`, it works on so many at a time and
    the others wait there."""

    clock: Callable[[], float]
    limit: Callable[[float], int]
    """By the time."""
    seconds: Callable[[], float]
    """How long a reply takes."""
    lanes: int = 10_000
    status: int = 429
    after_seconds: float | None = None
    inside: int = 0
    refused: list[float] = field(default_factory=list[float])
    """When."""
    answered: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self._lanes = asyncio.Semaphore(self.lanes)

    async def ask(self) -> None:
        await asyncio.sleep(0.0005)
        if self.inside >= self.limit(self.clock()):
            self.refused.append(self.clock())
            await asyncio.sleep(0.0005)
            raise Refused(self.status, self.after_seconds)
        self.inside += 1
        try:
            async with self._lanes:
                await asyncio.sleep(self.seconds())
            self.answered.append(self.clock())
        finally:
            self.inside -= 1

    @property
    def refused_part(self) -> float:
        """Of all requests."""
        return len(self.refused) / max(1, len(self.refused) + len(self.answered))

    def rate(self, begin: float, end: float) -> float:
        """Answers a second between two times."""
        return sum(begin < at <= end for at in self.answered) / (end - begin)


async def ask(limiter: Limiter, endpoint: SimulatedEndpoint, chance: random.Random) -> None:
    """One request, as `api.client` makes it: tried again while there is hope."""
    retries = Retries(random=chance.random)
    tried, waited = 0, 0.0
    while True:
        try:
            async with limiter.slot():
                started = endpoint.clock()
                await endpoint.ask()
                limiter.answered(endpoint.clock() - started)
            return
        except Refused as refused:
            limiter.refused(refused.status, refused.after_seconds)
            tried += 1
            wait = retries.wait_seconds(tried, waited, refused.after_seconds)
            assert wait is not None, "a request was given up"
        waited += wait
        await asyncio.sleep(wait)


async def subagents(
    limiter: Limiter,
    endpoint: SimulatedEndpoint,
    number: int,
    calls: int,
    tool_seconds: float = 0.02,
    seed: int = 1,
) -> None:
    """So many agents side by side, each with so many requests and a tool after each."""

    async def one(chance: random.Random) -> None:
        for _ in range(calls):
            await ask(limiter, endpoint, chance)
            await asyncio.sleep(tool_seconds)

    await asyncio.gather(*(one(random.Random(seed + n)) for n in range(number)))
