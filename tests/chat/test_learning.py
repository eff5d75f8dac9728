"""The learning limiter before simulated endpoints, and what its window promises of any."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import SimulatedEndpoint, ask, simulate, subagents

from chogori.chat import LearningLimiter, on_behalf_of
from chogori.chat.window import MOST, Window

Clock = Callable[[], float]


@pytest.mark.parametrize(("limit", "seconds"), [(4, 0.05), (20, 0.2), (20, 5.0), (100, 1.0)])
def test_an_endpoint_is_kept_busy_and_hardly_refuses(limit: int, seconds: float) -> None:
    async def work(clock: Clock) -> tuple[SimulatedEndpoint, float]:
        endpoint = SimulatedEndpoint(clock, lambda now: limit, lambda: seconds)
        await subagents(LearningLimiter(clock=clock), endpoint, 300, 7)
        return endpoint, clock()

    endpoint, end = simulate(work)
    assert len(endpoint.answered) == 2100
    assert 2100 / end >= 0.85 * limit / seconds
    assert endpoint.refused_part < 0.06


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_a_limit_that_rises_is_found_within_five_seconds(seconds: float) -> None:
    async def work(clock: Clock) -> SimulatedEndpoint:
        endpoint = SimulatedEndpoint(clock, lambda now: 20 if now < 5 else 100, lambda: seconds)
        doing = asyncio.create_task(subagents(LearningLimiter(clock=clock), endpoint, 300, 1_000))
        await asyncio.sleep(12)
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        return endpoint

    endpoint = simulate(work)
    assert endpoint.rate(10, 12) >= 0.85 * 100 / seconds
    assert len(endpoint.refused) < 100  # 44 of them at the start


def test_a_limit_that_falls_is_found_within_some_round_trips() -> None:
    async def work(clock: Clock) -> SimulatedEndpoint:
        endpoint = SimulatedEndpoint(clock, lambda now: 100 if now < 5 else 20, lambda: 0.2)
        await subagents(LearningLimiter(clock=clock), endpoint, 300, 10)
        return endpoint

    endpoint = simulate(work)
    assert endpoint.rate(6, 9) >= 0.85 * 20 / 0.2
    assert endpoint.refused_part < 0.05


@pytest.mark.parametrize("status", [429, 503])
def test_an_outage_is_over_seconds_after_it_ended(status: int) -> None:
    async def work(clock: Clock) -> SimulatedEndpoint:
        endpoint = SimulatedEndpoint(
            clock, lambda now: 0 if 5 < now < 7 else 64, lambda: 0.2, status=status
        )
        await subagents(LearningLimiter(clock=clock), endpoint, 300, 14)
        return endpoint

    endpoint = simulate(work)
    assert endpoint.rate(5.5, 7) == 0
    assert endpoint.rate(10, 12) >= 0.85 * 64 / 0.2


def test_an_endpoint_that_names_a_time_is_not_asked_before() -> None:
    sent: list[float] = []

    async def work(clock: Clock) -> SimulatedEndpoint:
        class Noted(SimulatedEndpoint):
            async def ask(self) -> None:
                sent.append(self.clock())
                await super().ask()

        endpoint = Noted(clock, lambda now: 4, lambda: 0.2, after_seconds=1.0)
        await subagents(LearningLimiter(Window(8), clock), endpoint, 30, 4)
        return endpoint

    endpoint = simulate(work)
    heard = [at + 0.0005 for at in endpoint.refused]
    assert [at for at in sent for no in heard if no + 1e-6 < at < no + 1.0 - 1e-6] == []
    assert len(endpoint.answered) == 120


def test_answers_that_come_ever_later_make_it_narrower() -> None:
    async def work(clock: Clock) -> LearningLimiter:
        endpoint = SimulatedEndpoint(clock, lambda now: 1_000, lambda: 2.0, lanes=4)
        limiter = LearningLimiter(clock=clock)
        await subagents(limiter, endpoint, 300, 1)
        return limiter

    assert simulate(work).width < 64


def test_a_run_with_three_hundred_subagents_does_not_hold_up_another() -> None:
    async def work(clock: Clock) -> list[float]:
        endpoint = SimulatedEndpoint(clock, lambda now: 10, lambda: 1.0)
        limiter, waits = LearningLimiter(clock=clock), list[float]()

        async def swarm() -> None:
            with on_behalf_of("swarm"):
                await subagents(limiter, endpoint, 300, 2)

        async def single() -> None:
            with on_behalf_of("single"):
                await asyncio.sleep(5)
                for _ in range(10):
                    began = clock()
                    await ask(limiter, endpoint, random.Random(1))
                    waits.append(clock() - began)

        await asyncio.gather(swarm(), single())
        return waits

    # A turn of the swarm's ends first; a request of the single agent may be the one that probes.
    waits = sorted(simulate(work))
    assert waits[-2] <= 2.2
    assert waits[-1] <= 4


def test_whose_turn_it_is_is_said_by_whoever_is_outermost() -> None:
    async def work(clock: Clock) -> list[str]:
        limiter, order = LearningLimiter(Window(1), clock), list[str]()

        async def one(outer: str, inner: str) -> None:
            with on_behalf_of(outer), on_behalf_of(inner):
                async with limiter.slot():
                    order.append(inner)
                    await asyncio.sleep(1)

        names = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")]
        await asyncio.gather(*(one(*pair) for pair in names))
        return order

    assert simulate(work) == ["a1", "a2", "b1", "a3"]


@given(st.lists(st.floats(0.01, 3.0), max_size=40), st.integers(1, 5))
def test_whoever_gives_up_waiting_leaves_the_turn_to_others(
    patience: list[float], width: int
) -> None:
    async def work(clock: Clock) -> None:
        limiter = LearningLimiter(Window(width, most=width), clock)

        async def one(seconds: float) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds), limiter.slot():
                    await asyncio.sleep(0.5)

        await asyncio.gather(*map(one, patience))
        async with asyncio.timeout(0.1), AsyncExitStack() as stack:
            for _ in range(width):  # all of them are there for whoever comes
                await stack.enter_async_context(limiter.slot())

    simulate(work)


_refusals = st.tuples(st.just("refused"), st.floats(0, 5), st.booleans(), st.floats(0, 3))
_answers = st.tuples(st.just("answered"), st.floats(0, 60), st.booleans(), st.just(0.0))


@given(st.lists(st.tuples(st.one_of(_refusals, _answers), st.integers(0, 600)), max_size=300))
def test_whatever_happens_the_width_stays_within_its_bounds(
    events: list[tuple[tuple[str, float, bool, float], int]],
) -> None:
    window, now = Window(), 0.0
    for (kind, seconds, flag, after), inside in events:
        now, before = now + seconds / 10, window.width
        if kind == "refused":
            window.refused(now, seconds, inside=inside, is_new=flag, after_seconds=after or None)
            assert window.width <= before, "a refusal never makes it wider"
        else:
            window.answered(now, seconds, inside=inside, is_full=flag)
            assert flag or window.width <= before, "nor does an answer nobody waits behind"
        assert 1 <= window.width <= MOST
