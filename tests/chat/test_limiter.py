"""The fixed limiter, on a clock of our own."""

from __future__ import annotations

import asyncio

from chogori.chat import FixedLimiter


class Clock:
    """Time that passes each time it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self.step = step
        self.read = 0

    def __call__(self) -> float:
        self.read += 1
        self.now += self.step
        return self.now


async def test_no_more_than_its_width_hold_a_slot() -> None:
    limiter, inside, most = FixedLimiter(3, Clock()), 0, 0

    async def ask() -> None:
        nonlocal inside, most
        async with limiter.slot():
            inside += 1
            most = max(most, inside)
            for _ in range(3):
                await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(ask() for _ in range(20)))
    assert (most, inside) == (3, 0)


async def test_a_refusal_with_a_time_holds_everybody_back_until_then() -> None:
    clock = Clock(step=0.0005)
    limiter = FixedLimiter(2, clock)
    limiter.refused(429, 0.002)
    until = clock.now + 0.002
    entered: list[float] = []

    async def ask() -> None:
        async with limiter.slot():
            entered.append(clock.now)

    await asyncio.gather(ask(), ask(), ask())
    assert len(entered) == 3
    assert min(entered) >= until


async def test_a_refusal_without_a_time_holds_nobody_back() -> None:
    limiter = FixedLimiter(1, Clock())
    limiter.refused(503, None)
    limiter.refused(429, 0.0)
    async with limiter.slot():
        pass
    limiter.answered(0.1)


async def test_the_longest_refusal_counts() -> None:
    clock = Clock(step=0.0005)
    limiter = FixedLimiter(1, clock)
    limiter.refused(429, 0.004)
    until = clock.now + 0.004
    limiter.refused(429, 0.001)
    async with limiter.slot():
        assert clock.now >= until


async def test_a_slot_comes_back_when_its_request_fails() -> None:
    limiter = FixedLimiter(1, Clock())
    for _ in range(3):
        try:
            async with limiter.slot():
                raise OSError
        except OSError:
            pass
    async with limiter.slot():
        pass
