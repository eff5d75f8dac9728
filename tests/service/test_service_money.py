"""Laws of money that is spent by many at once: what is held bounds what is spent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from service_harness import World, metered, problems, world

from chogori.api.platform import Caller, Refused

EACH = 500
"""Microdollars that a request may cost: 200 tokens of a reply."""


async def payer(here: World, microdollars: int) -> Caller:
    """Somebody whose organisation has so much."""
    caller = await here.caller()
    await here.administration.top_up("default", microdollars)
    await here.service.refresh()
    return caller


async def left(here: World) -> int:
    [organisation] = await here.administration.organisations()
    return organisation.funds.cash


async def spend(here: World, caller: Caller) -> bool:
    """Ask, and write all that was held for; whether it was let in."""
    try:
        admission = await here.service.gate.admit(caller, here.demand(0, 200))
    except Refused as refused:
        if refused.code != "insufficient_quota":
            raise
        return False
    await asyncio.sleep(0)
    await admission.settle(metered(0, 200))
    return True


@pytest.mark.parametrize(("many", "fit"), [(2, 1), (50, 7)])
async def test_of_those_that_spend_at_once_only_as_many_are_let_in_as_there_is_money_for(
    tmp_path: Path, many: int, fit: int
) -> None:
    async with world(tmp_path) as here:
        caller = await payer(here, fit * EACH + EACH - 1)
        came = await asyncio.gather(*(spend(here, caller) for _ in range(many)))
        assert came.count(True) == fit
        assert await left(here) == EACH - 1
        assert here.service.purse.held == 0
        assert await problems(here.store) == []


async def test_while_a_bill_is_written_its_money_is_not_there_for_another(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await payer(here, 2 * EACH - 1)
        first = await here.service.gate.admit(caller, here.demand(0, 200))
        settling = asyncio.create_task(first.settle(metered(0, 200)))
        while not settling.done():
            assert not await spend(here, caller)
            await asyncio.sleep(0)
        assert not await spend(here, caller)


async def test_what_was_held_too_little_is_owed_and_nothing_more_is_let_in(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await payer(here, EACH)
        admission = await here.service.gate.admit(caller, here.demand(0, 200))
        await admission.settle(metered(10, 200))
        assert await left(here) == -6, "ten tokens of a prompt that was estimated at none"
        assert not await spend(here, caller)
