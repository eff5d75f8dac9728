"""Laws across processes: two may write at once, and what a killed one was told is safe is there."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import store_writer
from store_harness import appended, found, scratch, verdict

from chogori.store import (
    LeaseHeld,
    Record,
    SqliteStore,
    Transaction,
    blobs,
    leases,
    logs,
    open_store,
)


@contextmanager
def writer(folder: Path, name: str, count: int) -> Generator[subprocess.Popen[str]]:
    """The program in `store_writer`, once it has its lease."""
    program = [sys.executable, store_writer.__file__, str(folder), name, str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
        child.kill()


async def expected(store: SqliteStore, name: str) -> int:
    """How many entries the log has; all are those that its writer meant."""

    def read(tx: Transaction) -> list[Record]:
        contents = blobs.contents_of(tx, name)
        return [
            Record(entry.body, tuple(contents[address] for address in entry.blobs))
            for entry in logs.entries(tx, name)
        ]

    kept = await store.read(read)
    assert kept == [store_writer.record(sequence) for sequence in range(len(kept))]
    assert (await verdict(store, name)).problem == ""
    return len(kept)


@pytest.mark.parametrize("seed", range(12))
async def test_a_killed_writer_leaves_a_prefix_with_all_that_was_acknowledged(seed: int) -> None:
    chance = random.Random(seed)
    with scratch() as folder:
        acknowledged = 0
        for _ in range(2):  # the second one goes on after the first
            with writer(folder, "run", 10_000) as child:
                assert child.stdout is not None
                lines = [child.stdout.readline() for _ in range(chance.randint(0, 200))]
                child.kill()
                told = [int(line) for line in (*lines, *child.stdout) if line.endswith("\n")]
            acknowledged = max([acknowledged, *(sequence + 1 for sequence in told)])
            async with open_store(folder) as store:
                assert await expected(store, "run") >= acknowledged
                lease = await store.write(lambda tx: leases.acquire(tx, "run", 3_600))
                await store.write(lambda tx, held=lease: leases.release(tx, held))


async def test_two_processes_write_to_one_store_at_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        with writer(tmp_path, "theirs", 100) as child:
            with pytest.raises(LeaseHeld, match=f"theirs is driven by process {child.pid} on"):
                await store.write(lambda tx: leases.acquire(tx, "theirs", 30))
            await appended(store, "ours", [store_writer.record(number) for number in range(50)])
            child.communicate(timeout=60)
            assert child.returncode == 0
        assert (await expected(store, "ours"), await expected(store, "theirs")) == (50, 100)
        assert (await found(store, "theirs")).kind == "run"
        await store.write(lambda tx: leases.acquire(tx, "theirs", 30))


async def test_processes_that_begin_at_once_make_one_store(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    program = [sys.executable, store_writer.__file__, str(tmp_path / "new")]
    children = [
        subprocess.Popen(
            [*program, name, "10"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        for name in names
    ]
    assert [child.wait(60) for child in children] == [0] * len(names)
    async with open_store(tmp_path / "new") as store:
        assert [await expected(store, name) for name in names] == [10] * len(names)
