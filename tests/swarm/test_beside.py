"""The events of an orchestrator, whether or not anybody is told what its subagents do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from chogori.chat import Event, Landing
from chogori.swarm.beside import Beside

EVENTS = [Landing("one"), Landing("two")]
is_watched = pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "unwatched"])


@is_watched
async def test_an_event_is_asked_for_when_the_one_before_was_taken(is_watched: bool) -> None:
    asked = 0

    async def events() -> AsyncGenerator[Event]:
        nonlocal asked
        for event in EVENTS:
            asked += 1
            yield event

    merged, told = Beside(is_watched=is_watched).merge(events()), list[Event]()
    async for event in merged:
        await asyncio.sleep(0.01)
        told.append(event)
        assert asked == len(told)
    assert told == EVENTS


@is_watched
async def test_a_leg_that_is_ended_is_stopped_where_it_is_and_raises_why(is_watched: bool) -> None:
    beside, was_stopped = Beside(is_watched=is_watched), False

    async def events() -> AsyncGenerator[Event]:
        nonlocal was_stopped
        yield EVENTS[0]
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_stopped = True
            beside.end(ValueError("later"))
            raise

    merged = beside.merge(events())
    assert await anext(merged) == EVENTS[0]
    asyncio.get_running_loop().call_later(0.01, beside.end, ValueError("first"))
    with pytest.raises(ValueError, match="first"):
        await anext(merged)
    assert was_stopped


@is_watched
async def test_what_the_leg_raises_is_raised(is_watched: bool) -> None:
    async def events() -> AsyncGenerator[Event]:
        yield EVENTS[0]
        raise TimeoutError("its own")

    merged = Beside(is_watched=is_watched).merge(events())
    assert await anext(merged) == EVENTS[0]
    with pytest.raises(TimeoutError, match="its own"):
        await anext(merged)
