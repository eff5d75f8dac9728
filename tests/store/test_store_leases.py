"""Laws of leases: one at a time; and whoever lost his writes nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_harness import Clock, appended, bodies

from chogori.store import LeaseHeld, LeaseLost, Owner, Record, leases, logs, open_store
from chogori.store.owners import may_live, this_process


def alive(_: Owner) -> bool:
    return True


def dead(_: Owner) -> bool:
    return False


async def test_one_holds_a_lease_and_the_other_is_told_who(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store, open_store(tmp_path) as other:
        lease = await store.write(lambda tx: leases.acquire(tx, "run", 30))
        assert lease.until == clock.now + 30
        with pytest.raises(LeaseHeld, match=f"run is driven by process {os.getpid()} on") as held:
            await store.write(lambda tx: leases.acquire(tx, "run", 30))
        assert (held.value.owner, held.value.until) == (
            f"process {os.getpid()} on {lease.owner.host}",
            lease.until,
        )
        await store.write(lambda tx: leases.acquire(tx, "another", 30))
        assert await other.read(lambda tx: leases.holder(tx, "run")) == lease
        await store.write(lambda tx: leases.release(tx, lease))
        assert await other.read(lambda tx: leases.holder(tx, "run")) is None
        again = await other.write(lambda tx: leases.acquire(tx, "run", 30))
        assert again.fence == lease.fence + 1


async def test_a_lease_that_was_taken_over_writes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with (
        open_store(tmp_path, clock=clock) as store,
        open_store(tmp_path, clock=clock) as other,
    ):
        await appended(store, "run", [Record(b"0")])
        late = await store.write(lambda tx: leases.acquire(tx, "run", 30))
        clock.now += 31
        await store.write(lambda tx: logs.append(tx, "run", [Record(b"1")], late))
        taken = await other.write(lambda tx: leases.acquire(tx, "run", 30))
        for work in (
            lambda tx: logs.append(tx, "run", [Record(b"lost")], late),
            lambda tx: leases.renew(tx, late, 30),
        ):
            with pytest.raises(LeaseLost, match="run was taken over by process"):
                await store.write(work)
        await store.write(lambda tx: leases.release(tx, late))
        await other.write(lambda tx: logs.append(tx, "run", [Record(b"2")], taken))
        assert await bodies(store, "run") == [b"0", b"1", b"2"]


async def test_a_lease_that_was_given_back_writes_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "run", [])
        lease = await store.write(lambda tx: leases.acquire(tx, "run", 30))
        await store.write(lambda tx: leases.release(tx, lease))
        with pytest.raises(LeaseLost, match="given back; nothing was written"):
            await store.write(lambda tx: logs.append(tx, "run", [Record(b"lost")], lease))
        assert await bodies(store, "run") == []


async def test_a_renewed_lease_is_held_for_longer(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        lease = await store.write(lambda tx: leases.acquire(tx, "run", 30))
        clock.now += 29
        renewed = await store.write(lambda tx: leases.renew(tx, lease, 30))
        assert renewed == replace(lease, until=clock.now + 30)
        clock.now += 29
        with pytest.raises(LeaseHeld):
            await store.write(lambda tx: leases.acquire(tx, "run", 30))


@pytest.mark.parametrize("shift", [-86_400.0, 0.0])
async def test_a_clock_that_goes_backwards_locks_nobody_out(tmp_path: Path, shift: float) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        first = await store.write(lambda tx: leases.acquire(tx, "run", 30))
        clock.now += shift
        with pytest.raises(LeaseHeld):
            await store.write(lambda tx: leases.acquire(tx, "run", 30, may_live=alive))
        second = await store.write(lambda tx: leases.acquire(tx, "run", 30, may_live=dead))
        assert second.fence == first.fence + 1
        with pytest.raises(LeaseLost):
            await store.write(lambda tx: leases.check(tx, first))


@contextmanager
def process() -> Generator[tuple[subprocess.Popen[str], Owner]]:
    """Another process, and how it describes itself."""
    code = "from chogori.store.owners import this_process\nprint(this_process().to_text())\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        yield child, Owner.from_text(child.stdout.readline())
        child.kill()


def test_an_owner_lives_until_it_is_killed_buried_or_not() -> None:
    with process() as (child, owner):
        assert owner.pid == child.pid
        assert may_live(owner)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not may_live(owner), "dead, though its parent has not asked for it"
        child.wait()
        assert not may_live(owner)


def test_another_process_with_its_number_is_not_the_owner() -> None:
    here = this_process()
    assert may_live(here)
    assert not may_live(replace(here, started="1"))


def test_of_what_cannot_be_seen_from_here_the_worst_is_assumed() -> None:
    nobody = replace(this_process(), pid=2**22 + 1)
    assert not may_live(nobody)
    assert may_live(replace(nobody, host="elsewhere"))
    assert may_live(replace(nobody, pids="pid:[1]")), "a container numbers its own"
    assert not may_live(replace(this_process(), boot="another")), "this host began anew"


@given(st.builds(Owner, *[st.text()] * 3, st.integers(0, 2**22), st.text(), st.text()))
def test_an_owner_is_read_back_from_its_text(owner: Owner) -> None:
    assert Owner.from_text(owner.to_text()) == owner
