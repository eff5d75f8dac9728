"""Laws of admission: all or nothing, at every level; what is refused is told why and until when."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from service_harness import MODEL, World, metered, world

from chogori.api.platform import Admission, Balance, Caller, Pricing, Refused
from chogori.service import TIERS, Grant, Limits, Price, Subject

ORGANISATION = Subject("organisation", "default")
PROJECT = Subject("project", "default/default")


async def limited(here: World, subject: Subject, limits: Limits) -> None:
    await here.administration.set_limits(subject, limits)
    await here.service.refresh()


async def refused(here: World, caller: Caller, prompt: int = 100, completion: int = 100) -> Refused:
    with pytest.raises(Refused) as raised:
        await here.service.gate.admit(caller, here.demand(prompt, completion))
    return raised.value


async def admitted(here: World, caller: Caller, *, tries: int, tokens: int = 200) -> int:
    """How many of so many requests at once are let in; they end having taken nothing."""
    gate = here.service.gate
    came = await asyncio.gather(
        *(gate.admit(caller, here.demand(0, tokens)) for _ in range(tries)), return_exceptions=True
    )
    inside = [each for each in came if not isinstance(each, BaseException)]
    assert all(isinstance(each, Refused) for each in came if each not in inside)
    for admission in inside:
        await admission.settle(metered(0, 0))
    return len(inside)


async def test_the_101st_request_in_a_minute_is_refused_until_the_first_is_a_minute_old(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(limits=TIERS["free"])
        for _ in range(100):
            admission = await here.service.gate.admit(caller, here.demand())
            await admission.settle(metered())
            here.clocks.turn(0.25)
        error = await refused(here, caller)
        assert (error.status, error.kind) == (429, "rate_limit_reached_error")
        assert error.code == "rate_limit_exceeded"
        assert "requests per minute: current 100, limit 100; try again in 35 s" in error.message
        assert error.headers == {
            "x-ratelimit-limit-requests": "100",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "59.75s",
            "x-ratelimit-limit": "100",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "60",
            "ratelimit-policy": '"requests";q=100;w=60',
            "ratelimit": '"requests";r=0;t=60',
            "retry-after": "35",
            "retry-after-ms": "35000",
        }
        here.clocks.turn(34.999)
        assert (await refused(here, caller)).headers["retry-after-ms"] == "1"
        here.clocks.turn(0.001)
        await here.service.gate.admit(caller, here.demand())


async def test_an_answer_says_how_the_tightest_limits_stand(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(limits=Limits(tokens_per_minute=1_000))
        await limited(here, ORGANISATION, Limits(requests_per_minute=10, tokens_per_day=100_000))
        admission = await here.service.gate.admit(caller, here.demand(100, 200))
        assert admission.headers == {
            "x-ratelimit-limit-requests": "10",
            "x-ratelimit-remaining-requests": "9",
            "x-ratelimit-reset-requests": "1m0s",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "700",
            "x-ratelimit-reset-tokens": "18s",
            "x-ratelimit-limit": "1000",
            "x-ratelimit-remaining": "700",
            "x-ratelimit-reset": "18",
            "ratelimit-policy": '"requests";q=10;w=60, "tokens";q=1000;w=60',
            "ratelimit": '"requests";r=9;t=60, "tokens";r=700;t=18',
        }
        await admission.settle(metered(50, 50))
        after = await here.service.gate.admit(caller, here.demand(0, 0))
        assert after.headers["x-ratelimit-remaining-tokens"] == "900", "200 came back"


@pytest.mark.parametrize("subject", ["key", "project", "organisation"])
@pytest.mark.parametrize(
    ("limits", "dimension", "wait"),
    [
        (Limits(requests_per_minute=3), "requests per minute", 60),
        (Limits(tokens_per_minute=700), "tokens per minute", 9),
        (Limits(tokens_per_day=700), "tokens per day", 12_343),
        (Limits(concurrent_requests=3), "concurrent requests", 1),
    ],
)
async def test_each_limit_holds_at_each_level(
    tmp_path: Path, subject: str, limits: Limits, dimension: str, wait: int
) -> None:
    async with world(tmp_path) as here:
        caller, other = await here.caller(), await here.caller(Grant(organisation="other"))
        of = {"key": Subject("key", caller.key_id), "project": PROJECT}.get(subject, ORGANISATION)
        await limited(here, of, limits)
        held = [await here.service.gate.admit(caller, here.demand()) for _ in range(3)]
        error = await refused(here, caller)
        assert dimension in error.message
        assert error.headers["retry-after"] == str(wait)
        assert ("this key" if subject == "key" else of.id) in error.message
        await here.service.gate.admit(other, here.demand())
        for admission in held:
            await admission.settle(metered(10, 0))
        here.clocks.turn(0 if dimension != "requests per minute" else 60)
        await here.service.gate.admit(caller, here.demand())


async def test_a_refused_request_takes_nothing_of_any_limit(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(
            limits=Limits(requests_per_minute=5, tokens_per_minute=10_000, concurrent_requests=5)
        )
        await limited(here, ORGANISATION, Limits(tokens_per_day=300))
        first = await here.service.gate.admit(caller, here.demand(0, 200))
        for _ in range(20):
            error = await refused(here, caller)
            assert error.headers["x-ratelimit-remaining-requests"] == "4"
        await first.settle(metered(0, 0))
        assert await admitted(here, caller, tries=1, tokens=300) == 1
        assert here.service.purse.held == 0


async def test_the_longest_wait_is_the_one_that_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(limits=Limits(tokens_per_minute=200, tokens_per_day=200))
        await limited(here, ORGANISATION, Limits(requests_per_minute=1, concurrent_requests=1))
        await here.service.gate.admit(caller, here.demand())
        assert "tokens per day" in (await refused(here, caller)).message


async def test_what_can_never_be_allowed_is_not_to_be_tried_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(limits=Limits(tokens_per_minute=100))
        error = await refused(here, caller, 1, 100)
        assert "asks for 101 tokens, and this key may take 100 tokens per minute" in error.message
        assert error.headers["x-should-retry"] == "false"
        assert "retry-after" not in error.headers


@pytest.mark.parametrize(
    "limits",
    [
        Limits(tokens_per_minute=1_400),
        Limits(tokens_per_day=1_400),
        Limits(requests_per_minute=7),
        Limits(concurrent_requests=7),
    ],
)
async def test_of_50_that_race_for_the_last_of_a_limit_exactly_what_is_left_is_admitted(
    tmp_path: Path, limits: Limits
) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(limits=limits)
        held: list[Admission] = [await here.service.gate.admit(caller, here.demand(0, 200))]
        assert await admitted(here, caller, tries=50) == 6
        assert len(held) == 1, "the first one is under way all the while"


async def test_a_changed_limit_holds_for_what_is_taken_already(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(limits=Limits(requests_per_minute=3, tokens_per_minute=900))
        for _ in range(3):
            await here.service.gate.admit(caller, here.demand())
        key = Subject("key", caller.key_id)
        await limited(here, key, Limits(requests_per_minute=4, tokens_per_minute=700))
        assert "tokens per minute: current 600" in (await refused(here, caller)).message
        await limited(here, key, Limits(requests_per_minute=4, tokens_per_minute=800))
        await here.service.gate.admit(caller, here.demand())
        assert "requests per minute: current 4" in (await refused(here, caller)).message
        await limited(here, key, TIERS["none"])
        await here.service.gate.admit(caller, here.demand())


async def test_a_request_that_is_lost_frees_its_hold_at_once_and_its_slot_within_a_minute(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller(limits=Limits(concurrent_requests=1))
        lost = await here.service.gate.admit(caller, here.demand())
        here.clocks.turn(59)
        await here.service.gate.renew()
        here.clocks.turn(59)
        assert here.service.purse.held > 0
        assert "concurrent requests" in (await refused(here, caller)).message, "it is renewed"
        del lost
        assert here.service.purse.held == 0
        await here.service.gate.renew()
        here.clocks.turn(1)
        await here.service.gate.admit(caller, here.demand())


async def test_a_price_is_what_was_last_decided_by_then(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller, now = await here.caller(), here.clocks.wall()
        assert here.service.gate.price(MODEL) == Pricing(600_000, 150_000, 2_500_000)
        assert here.service.gate.price("unknown") is None
        await here.administration.set_price(Price(MODEL, now + 60, 1_000_000, 0, 0))
        await here.service.refresh()
        before = await here.service.gate.admit(caller, here.demand(1_000, 1_000))
        here.clocks.turn(60)
        after = await here.service.gate.admit(caller, here.demand(1_000, 1_000))
        free = await here.service.gate.admit(caller, here.demand(1_000, 1_000, "unknown"))
        taken = metered(1_000, 100, cached=900)
        assert await before.settle(taken) == (100 * 600 + 900 * 150 + 100 * 2_500 + 999) // 1_000
        assert await after.settle(taken) == 100
        assert await free.settle(taken) is None


async def test_a_model_that_is_served_under_another_name_costs_what_it_costs(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        gate, caller, now = here.service.gate, await here.caller(), here.clocks.wall()
        demand = replace(here.demand(1_000, 1_000, "kimi"), stands_for=MODEL)
        admission = await gate.admit(caller, demand)
        assert await admission.settle(metered(0, 100)) == 250
        await here.administration.set_price(Price("kimi", now, 0, 0, 1_000_000))
        await here.service.refresh()
        assert gate.price("kimi", MODEL) == Pricing(0, 0, 1_000_000), "its own comes first"
        demand = replace(here.demand(1_000, 1_000, "kimi"), stands_for=MODEL)
        admission = await gate.admit(caller, demand)
        assert await admission.settle(metered(0, 100)) == 100


async def test_who_pays_beforehand_gets_what_the_balance_covers_and_no_more(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        gate, caller = here.service.gate, await here.caller()
        assert await gate.balance(caller) is None
        await gate.admit(caller, here.demand(1_000_000, 1_000_000))
        await here.administration.top_up("default", 500 * 7 + 499)
        await here.service.refresh()
        assert await admitted(here, caller, tries=50) == 7, "each may cost 500 microdollars"
        assert await gate.balance(caller) == Balance(cash=500 * 7 + 499)
        held = [await gate.admit(caller, here.demand(0, 200)) for _ in range(7)]
        error = await refused(here, caller, 0, 200)
        assert (error.status, error.kind) == (429, "exceeded_current_quota_error")
        assert error.code == "insufficient_quota"
        assert error.headers == {"x-should-retry": "false"}
        assert "is $0.000499" in error.message
        assert "may cost $0.0005" in error.message
        await held[0].settle(metered(0, 100))
        assert await gate.balance(caller) == Balance(cash=500 * 7 + 249)
        await refused(here, caller, 0, 300)
        await gate.admit(caller, here.demand(0, 299))


async def test_a_voucher_is_spent_before_cash(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        gate, caller = here.service.gate, await here.caller()
        await here.administration.top_up("default", 1_000)
        await here.administration.top_up("default", 300, "welcome", voucher=True)
        await here.service.refresh()
        admission = await gate.admit(caller, here.demand(0, 200))
        assert await gate.balance(caller) == Balance(1_000, 300)
        assert await admission.settle(metered(0, 200)) == 500
        assert await gate.balance(caller) == Balance(800, 0)
