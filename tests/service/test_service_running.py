"""Laws of a service at work: what it keeps for clients, and when it lets nobody in any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from service_harness import Clocks, metered, world

from chogori.api.platform import Refused
from chogori.service import Grant, Limits, rules
from chogori.service.running import LEASE
from chogori.store import leases

DAY = 86_400.0


async def test_reasoning_is_found_again_by_all_three_or_not_at_all(tmp_path: Path) -> None:
    clocks = Clocks()
    async with world(tmp_path, clocks) as here:
        kept = here.service.reasoning
        await kept.keep("acme", "functions.look:0", b"before", "I look.")
        await kept.keep("acme", "functions.look:0", b"after", "I look again.")
        await kept.keep("acme", "functions.look:0", b"after", "I look once more.")
    async with world(tmp_path, clocks) as here:
        kept = here.service.reasoning
        assert await kept.find("acme", "functions.look:0", b"before") == "I look."
        assert await kept.find("acme", "functions.look:0", b"after") == "I look once more."
        for organisation, call, digest in (
            ("other", "functions.look:0", b"before"),
            ("acme", "functions.look:1", b"before"),
            ("acme", "functions.look:0", b"other"),
        ):
            assert await kept.find(organisation, call, digest) is None


async def test_reasoning_is_forgotten_after_a_week(tmp_path: Path) -> None:
    clocks = Clocks()
    async with world(tmp_path, clocks) as here:
        kept = here.service.reasoning
        await kept.keep("acme", "old", b"", "I think.")
        clocks.turn(4 * DAY)
        await kept.keep("acme", "new", b"", "I think.")
        clocks.turn(4 * DAY)
        await kept.forget()
        assert await kept.find("acme", "old", b"") is None
        assert await kept.find("acme", "new", b"") == "I think."


async def test_who_lost_the_folder_to_another_process_lets_nobody_in_and_bills_what_is_under_way(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller()
        running = await here.service.gate.admit(caller, here.demand())
        await here.store.write(
            lambda tx: leases.acquire(tx, LEASE, 3_600, may_live=lambda owner: False)
        )
        async with asyncio.timeout(60):
            while True:
                try:
                    await here.service.gate.admit(caller, here.demand())
                except Refused as error:
                    refused = error
                    break
                await asyncio.sleep(0.02)
        assert refused.status == 503
        assert "the lease of service was taken over by process" in refused.message
        assert await running.settle(metered(0, 100)) == 250


@pytest.mark.parametrize("ago", [0.0, 30.0, 59.0])
async def test_a_restart_gives_no_more_requests_and_tokens(tmp_path: Path, ago: float) -> None:
    limits = Limits(requests_per_minute=5, tokens_per_minute=8_000, tokens_per_day=86_400)
    clocks = Clocks()
    async with world(tmp_path, clocks) as here:
        caller = await here.caller(limits=limits)
        for _ in range(3):
            admission = await here.service.gate.admit(caller, here.demand(1_000, 4_000))
            await admission.settle(metered(500, 500))
        clocks.turn(ago)
        before = await here.service.gate.admit(caller, here.demand(0, 0))
    async with world(tmp_path, clocks) as here:
        after = await here.service.gate.admit(caller, here.demand(0, 0))
        assert after.headers == before.headers
        await here.service.gate.admit(caller, here.demand(0, 0))
        with pytest.raises(Refused, match="requests per minute: current 5"):
            await here.service.gate.admit(caller, here.demand(0, 0))


async def test_a_restart_gives_no_second_day(tmp_path: Path) -> None:
    clocks = Clocks()
    async with world(tmp_path, clocks) as here:
        caller = await here.caller(limits=Limits(tokens_per_day=86_400))
        admission = await here.service.gate.admit(caller, here.demand(0, 80_000))
        await admission.settle(metered(0, 80_000))
    clocks.turn(3_600 * 10)
    async with world(tmp_path, clocks) as here:
        with pytest.raises(Refused, match="tokens per day") as refused:
            await here.service.gate.admit(caller, here.demand(0, 60_000))
        wait = 80_000 + 60_000 - 86_400 - 36_000
        told = int(refused.value.headers["retry-after"])
        assert wait <= told <= wait + 600, "ten minutes are one stretch"
    clocks.turn(3_600 * 20)
    async with world(tmp_path, clocks) as here:
        await here.service.gate.admit(caller, here.demand(0, 86_400))


async def test_a_key_that_is_revoked_ends_its_own_requests_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        first, second = await here.caller(), await here.caller()
        ended = [await here.service.gate.admit(first, here.demand()) for _ in range(3)]
        goes_on = await here.service.gate.admit(second, here.demand())
        await here.administration.revoke_key(first.key_id)
        await here.service.refresh()
        assert all(admission.revoked.is_set() for admission in ended)
        assert not goes_on.revoked.is_set()
        assert await ended[0].settle(metered(0, 40)) == 100, "what was produced is billed"


async def test_a_look_takes_in_what_another_has_changed_and_nothing_twice(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await here.store.read(lambda tx: rules.read(tx, 0)) is None
        keys = [await here.administration.create_key(Grant()) for _ in range(3)]
        decided = await here.store.read(lambda tx: rules.read(tx, 1))
        assert decided is not None
        assert (decided.version, len(decided.keys)) == (3, 2)
        await here.service.refresh()
        for key in keys:
            await here.identified(key.text)
