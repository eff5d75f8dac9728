"""Laws of the writer: what waits is committed at once, each work stands or falls alone."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from store_harness import appended, bodies, verdict

from chogori.store import Record, SqliteStore, StoreError, Transaction, logs, open_store


def append(number: int):
    return lambda tx: logs.append(tx, "log", [Record(b"%d" % number)]).sequence


class Gate:
    """A work that holds the writer until it is opened."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def __call__(self, tx: Transaction) -> bool:
        return self._opened.wait(30)

    def open(self) -> None:
        self._opened.set()


async def test_what_waits_is_committed_together_and_in_order(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [])
        before, gate = store.commits, Gate()
        held = store.submit(gate)
        waiting = [store.submit(append(number)) for number in range(500)]
        gate.open()
        assert await held
        assert await asyncio.gather(*waiting) == list(range(500))
        assert store.commits - before <= 2, "the group of the gate, and that of all the others"
        assert await bodies(store, "log") == [b"%d" % number for number in range(500)]


async def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        asked = ("journal_mode", "synchronous", "secure_delete")
        told = [await store.write(lambda tx, of=of: tx.execute(f"pragma {of}")) for of in asked]
    assert told == [[("wal",)], [(2,)], [(1,)]]


async def test_only_a_group_in_which_no_work_is_synced_does_not_wait_for_the_disk(
    tmp_path: Path,
) -> None:
    def synchronous(tx: Transaction) -> int:
        return tx.execute("pragma synchronous")[0][0]

    async with open_store(tmp_path) as store:
        assert await store.write(synchronous, synced=False) == 1
        assert await store.write(synchronous) == 2
        gate = Gate()
        held = store.submit(gate, synced=False)
        group = [store.submit(synchronous, synced=synced) for synced in (False, True, False)]
        gate.open()
        assert await held
        assert await asyncio.gather(*group) == [2, 2, 2]
        assert await store.write(synchronous, synced=False) == 1


async def test_many_agents_share_their_commits(tmp_path: Path) -> None:
    async def agent(store: SqliteStore, name: str) -> None:
        await appended(store, name, [Record(b"%d" % number) for number in range(10)])

    async with open_store(tmp_path) as store:
        await asyncio.gather(*(agent(store, f"agent {number}") for number in range(50)))
        assert store.commits < 50 * 11 / 5
        for number in range(50):
            assert len(await bodies(store, f"agent {number}")) == 10


async def test_a_work_that_fails_is_undone_alone(tmp_path: Path) -> None:
    def fail(tx: Transaction) -> None:
        append(-1)(tx)
        raise ValueError("halfway")

    def stumble(tx: Transaction) -> None:
        append(-1)(tx)
        tx.execute("insert into nowhere values (1)")

    def leave(tx: Transaction) -> None:
        append(-1)(tx)
        raise SystemExit

    async with open_store(tmp_path) as store:
        await appended(store, "log", [])
        gate = Gate()
        works = [
            gate,
            append(0),
            fail,
            append(1),
            stumble,
            lambda tx: next(iter(())),
            append(2),
            leave,
        ]
        futures = [store.submit(work) for work in works]
        gate.open()
        told = await asyncio.gather(*futures, return_exceptions=True)
        assert [told[1], told[3], told[6]] == [0, 1, 2]
        assert isinstance(told[2], ValueError)
        assert isinstance(told[4], StoreError)
        assert "no such table: nowhere" in str(told[4])
        assert isinstance(told[5], RuntimeError)
        assert isinstance(told[7], SystemExit), "the thread lives on"
        assert await bodies(store, "log") == [b"0", b"1", b"2"]
        assert (await verdict(store, "log")).problem == ""


async def test_what_is_awaited_is_seen_by_the_next_read(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [])
        for number in range(20):
            await store.write(append(number))
            assert len(await bodies(store, "log")) == number + 1


async def test_a_read_cannot_write(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [])
        with pytest.raises(StoreError, match="readonly"):
            await store.read(append(0))
        with pytest.raises(ZeroDivisionError):
            await store.read(lambda tx: 1 / 0)
        assert await bodies(store, "log") == []


async def test_a_cancelled_waiter_disturbs_nobody(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [])
        gate = Gate()
        held = store.submit(gate)
        cancelled, kept = store.submit(append(0)), store.submit(append(1))
        cancelled.cancel()
        gate.open()
        assert (await held, await kept) == (True, 1)
        assert await bodies(store, "log") == [b"0", b"1"], "what was submitted is done"


async def test_closing_finishes_what_was_submitted_and_takes_no_more(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    await appended(store, "log", [])
    futures = [store.submit(append(number)) for number in range(50)]
    await asyncio.gather(store.aclose(), store.aclose())
    await store.aclose()
    assert [await future for future in futures] == list(range(50))
    with pytest.raises(StoreError, match="the store is closed"):
        store.submit(append(50))
    with pytest.raises(StoreError, match="the store is closed"):
        await store.read(lambda tx: logs.find(tx, "log"))
    async with open_store(tmp_path) as again:
        assert len(await bodies(again, "log")) == 50
    assert not tmp_path.joinpath("chogori.db-wal").exists(), "nothing is left beside it"


def test_a_store_serves_many_event_loops_in_turn(tmp_path: Path) -> None:
    async def play(number: int) -> None:
        assert await store.write(append(number)) == number
        store.submit(append(number + 1))  # the loop ends without waiting for it

    store = asyncio.run(SqliteStore.open(tmp_path))
    asyncio.run(appended(store, "log", []))  # pyright: ignore[reportArgumentType]
    for number in range(0, 10, 2):
        asyncio.run(play(number))
    assert len(asyncio.run(bodies(store, "log"))) >= 9  # pyright: ignore[reportArgumentType]
    asyncio.run(store.aclose())
    for _ in range(3):
        asyncio.run(reopened(tmp_path))


async def reopened(folder: Path) -> None:
    async with open_store(folder) as store:
        assert len(await bodies(store, "log")) == 10


def test_many_event_loops_use_a_store_at_once(tmp_path: Path) -> None:
    async def play(name: str) -> None:
        await appended(store, name, [Record(b"")] * 20)

    store = asyncio.run(SqliteStore.open(tmp_path))
    threads = [
        threading.Thread(target=lambda name=name: asyncio.run(play(name))) for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "abcd":
        assert len(asyncio.run(bodies(store, name))) == 20  # pyright: ignore[reportArgumentType]
    asyncio.run(store.aclose())
