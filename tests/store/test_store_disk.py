"""Laws of bad disks: full ones, torn ones. What was acknowledged stays; the rest is told."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_harness import appended, bodies, files, scratch, small_disk, verdict

from chogori.store import Record, SqliteStore, StoreError, Transaction, logs, open_store
from chogori.store.database import KEY_NAME, NAME

FULL = "no space left .*free some space; what was recorded is intact"


def body(number: int) -> bytes:
    return b"%d " % number * 500


async def fill(store: SqliteStore) -> int:
    """Append until the disk is full; returns how many were acknowledged."""
    for number in range(10_000):
        try:
            await store.write(
                lambda tx, number=number: logs.append(tx, "log", [Record(body(number))])
            )
        except StoreError:
            return number
    raise AssertionError("the disk never was full")


async def expect_prefix(store: SqliteStore, count: int) -> None:
    assert await bodies(store, "log") == [body(number) for number in range(count)]
    assert (await verdict(store, "log")).problem == ""


async def test_a_full_database_fails_the_group_and_works_on_when_there_is_space(
    tmp_path: Path,
) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [])
        await store.write(lambda tx: tx.execute("pragma max_page_count = 60"))
        count = await fill(store)
        group = [
            store.submit(lambda tx: None),
            store.submit(lambda tx: logs.append(tx, "log", [Record(b"x" * 400_000)])),
            store.submit(lambda tx: None),
        ]
        for future in group:
            with pytest.raises(StoreError, match=FULL):
                await future
        await expect_prefix(store, count)
        await store.write(lambda tx: tx.execute("pragma max_page_count = 100000"))
        await store.write(lambda tx: logs.append(tx, "log", [Record(body(count))]))
        await expect_prefix(store, count + 1)


async def test_a_full_disk_loses_nothing_and_works_on_when_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2_000) as folder:
        ballast = folder / "ballast"
        ballast.write_bytes(b"x" * 500_000)
        async with open_store(folder) as store:
            await appended(store, "log", [])
            count = await fill(store)
            with pytest.raises(StoreError, match=FULL):
                await store.write(lambda tx: logs.append(tx, "log", [Record(b"x" * 600_000)]))
            await expect_prefix(store, count)
            ballast.unlink()
            await store.write(lambda tx: logs.append(tx, "log", [Record(body(count))]))
            await expect_prefix(store, count + 1)
        async with open_store(folder) as store:
            await expect_prefix(store, count + 1)


async def test_a_store_that_was_left_on_a_full_disk_is_opened_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1_500) as folder:
        async with open_store(folder) as store:
            await appended(store, "log", [])
            count = await fill(store)
        async with open_store(folder) as store:
            await expect_prefix(store, count)


async def test_where_there_is_no_space_at_all_opening_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as folder:
        (folder / "ballast").write_bytes(b"x" * 60_000)
        with pytest.raises(StoreError, match=r"no space left|disk is neither full nor failing"):
            async with open_store(folder):
                raise AssertionError("it was opened")


def as_killed(folder: Path) -> dict[str, bytes]:
    """The files that a killed process leaves: the log of writes not yet carried over."""

    async def play() -> dict[str, bytes]:
        async with open_store(folder) as store:
            await appended(store, "log", [Record(body(number)) for number in range(COUNT)])
            return files(folder)

    return asyncio.run(play())


COUNT = 30


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return as_killed(tmp_path_factory.mktemp("killed"))


def opened(kept: dict[str, bytes]) -> list[bytes]:
    async def play(folder: Path) -> list[bytes]:
        async with open_store(folder) as store:
            log = await store.read(lambda tx: logs.find(tx, "log"))
            if log is None:
                return []
            assert (await verdict(store, "log")).problem == ""
            assert await store.write(add) == log.count
            return (await bodies(store, "log"))[:-1]

    def add(tx: Transaction) -> int:
        return logs.append(tx, "log", [Record(b"goes on")]).sequence

    with scratch() as folder:
        for name in (NAME, f"{NAME}-wal", KEY_NAME):
            (folder / name).write_bytes(kept[name])
        return asyncio.run(play(folder))


@settings(max_examples=40)
@given(st.floats(0, 1))
def test_a_log_of_writes_with_a_torn_tail_gives_a_prefix(
    killed: dict[str, bytes], share: float
) -> None:
    wal = killed[f"{NAME}-wal"]
    kept = opened({**killed, f"{NAME}-wal": wal[: round(len(wal) * share)]})
    assert kept == [body(number) for number in range(len(kept))]
    assert share < 1 or len(kept) == COUNT


@settings(max_examples=40)
@given(st.floats(0, 1), st.integers(1, 5_000))
def test_a_log_of_writes_with_pages_that_never_reached_the_disk_gives_a_prefix(
    killed: dict[str, bytes], share: float, size: int
) -> None:
    wal = killed[f"{NAME}-wal"]
    at = round(len(wal) * share)
    torn = wal[:at] + bytes(size) + wal[at + size :]
    kept = opened({**killed, f"{NAME}-wal": torn})
    assert kept == [body(number) for number in range(len(kept))]


async def test_a_damaged_database_is_told_with_what_to_do(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [Record(body(number)) for number in range(100)])
    path = tmp_path / NAME
    held = path.read_bytes()
    path.write_bytes(held[:8_192] + b"\xff" * (len(held) - 8_192))
    backup = shutil.copy(path, tmp_path / "copy")
    with pytest.raises(StoreError, match=r"is damaged .*put it back from a backup"):
        async with open_store(tmp_path) as store:
            await bodies(store, "log")
    assert path.read_bytes() == Path(backup).read_bytes()
