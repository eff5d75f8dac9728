"""Laws of deletion: what was removed is in no file, and the chain is whole."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_harness import appended, files, scratch, verdict

from chogori.store import Record, blobs, inbox, logs, open_store
from chogori.store.blobs import address_of


def secret(number: int, size: int) -> bytes:
    """Bytes that occur nowhere else."""
    return random.Random(number).randbytes(24) + b"x" * size


def traces(folder: Path, number: int) -> list[str]:
    """The files in which something of a secret is left."""
    return [name for name, held in files(folder).items() if secret(number, 0)[:8] in held]


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from([0, 40, 900, 2_500, 4_000, 30_000]), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_removed_content_is_in_no_file(sizes: list[int], chance: random.Random) -> None:
    async def play(folder: Path) -> None:
        async with open_store(folder) as store:
            told = [Record(b"said", (secret(n, size),)) for n, size in enumerate(sizes)]
            await store.write(lambda tx: logs.create(tx, "log", "run"))
            await store.write(lambda tx: logs.append(tx, "log", told))
            entries = await store.read(lambda tx: logs.entries(tx, "log"))
            gone = chance.sample(range(len(sizes)), chance.randint(1, len(sizes)))
            for number in gone:
                [address] = entries[number].blobs
                assert traces(folder, number), "it was there"
                await store.write(lambda tx, a=address: blobs.remove(tx, "log", a))
                assert traces(folder, number) == []
            found = await verdict(store, "log")
            assert (found.problem, found.removed) == ("", len(gone))
        assert [number for number in gone if traces(folder, number)] == []

    with scratch() as folder:
        asyncio.run(play(folder))


async def test_the_content_of_a_whole_log_can_be_removed(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        told = [Record(b"said", (secret(n, 2_000),)) for n in range(50)]
        await appended(store, "log", told)
        await appended(store, "other", told[:1])
        await store.write(lambda tx: inbox.post(tx, "log", secret(99, 10)))
        for _ in range(2):  # once more does no harm
            await store.write(lambda tx: blobs.remove_all(tx, "log"))
        found = await verdict(store, "log")
        assert (found.problem, found.count, found.removed) == ("", 50, 50)
        assert await store.read(lambda tx: inbox.waiting(tx, "log")) == []
        assert traces(tmp_path, 0), "another log said it too"
        assert [number for number in (*range(1, 50), 99) if traces(tmp_path, number)] == []
        assert (await verdict(store, "other")).removed == 0
        await store.write(lambda tx: logs.append(tx, "log", [Record(b"goes on", (b"new",))]))
        assert (await verdict(store, "log")).problem == ""


async def test_a_short_text_that_was_removed_cannot_be_guessed(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [Record(b"", (b"yes", b"no"))])
        [entry] = await store.read(lambda tx: logs.entries(tx, "log"))
        kept = dict(await store.read(lambda tx: tx.execute("select address, nonce from blobs")))
        assert address_of(b"yes", kept[entry.blobs[0]]) == entry.blobs[0]
        await store.write(lambda tx: blobs.remove(tx, "log", entry.blobs[0]))
        assert await store.read(lambda tx: blobs.content_of(tx, "log", entry.blobs[0])) is None
    held = b"".join(files(tmp_path).values())
    assert kept[entry.blobs[0]] not in held, "the nonce is what a guess would need"
    assert kept[entry.blobs[1]] in held


async def test_content_that_comes_again_after_its_removal_is_kept_anew(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", [Record(b"", (b"yes",))])
        [first] = await store.read(lambda tx: logs.entries(tx, "log"))
        await store.write(lambda tx: blobs.remove(tx, "log", first.blobs[0]))
        await store.write(lambda tx: logs.append(tx, "log", [Record(b"", (b"yes",))]))
        kept = await store.read(lambda tx: blobs.contents_of(tx, "log"))
        assert list(kept.values()) == [b"yes"]
        assert first.blobs[0] not in kept
        assert (await verdict(store, "log")).removed == 1


async def test_a_removal_waits_for_whoever_reads(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store, open_store(tmp_path) as other:
        await appended(store, "log", [Record(b"", (secret(1, 5),))])
        [entry] = await store.read(lambda tx: logs.entries(tx, "log"))
        reading = asyncio.Event()
        loop = asyncio.get_running_loop()

        def read(tx) -> int:
            before = len(logs.entries(tx, "log"))
            loop.call_soon_threadsafe(reading.set)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result()
            return before

        slow = asyncio.create_task(other.read(read))
        await reading.wait()
        await store.write(lambda tx: blobs.remove(tx, "log", entry.blobs[0]))
        assert traces(tmp_path, 1) == []
        assert await slow == 1


@pytest.mark.parametrize("size", [10, 5_000])
async def test_two_logs_are_removed_one_after_the_other(tmp_path: Path, size: int) -> None:
    async with open_store(tmp_path) as store:
        for name in "ab":
            await store.write(lambda tx, name=name: logs.create(tx, name, "run"))
        for number in range(0, 40, 2):
            for name, one in (("a", number), ("b", number + 1)):
                record = Record(b"", (secret(one, size),))
                await store.write(lambda tx, n=name, r=record: logs.append(tx, n, [r]))
        for name in "ab":
            await store.write(lambda tx, name=name: blobs.remove_all(tx, name))
        assert [number for number in range(40) if traces(tmp_path, number)] == []
