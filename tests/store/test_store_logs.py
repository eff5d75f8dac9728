"""Laws of logs: what is appended is read back, in order, by whoever asks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_harness import Clock, appended, bodies, found, scratch, verdict

from chogori.store import (
    Record,
    SqliteStore,
    Store,
    StoreError,
    Together,
    Transaction,
    blobs,
    logs,
    open_store,
)

contents = st.binary(max_size=40) | st.sampled_from([b"", b"same", b"x" * 9_000])
records = st.builds(Record, st.binary(max_size=60), st.lists(contents, max_size=3).map(tuple))
steps = st.tuples(st.sampled_from(["a", "b/1", "ç"]), st.lists(records, max_size=3), st.booleans())


async def read_back(store: SqliteStore, name: str) -> list[Record]:
    def read(tx):
        contents = blobs.contents_of(tx, name)
        return [
            Record(entry.body, tuple(contents[address] for address in entry.blobs))
            for entry in logs.entries(tx, name)
        ]

    return await store.read(read)


@settings(max_examples=40)
@given(st.lists(steps, max_size=10))
def test_what_is_appended_is_read_back_whatever_is_closed_between(told) -> None:
    async def play(folder: Path) -> None:
        model: defaultdict[str, list[Record]] = defaultdict(list)
        store = await SqliteStore.open(folder)
        for name, new, is_reopened in told:
            if name not in model:
                await store.write(lambda tx, name=name: logs.create(tx, name, "run"))
            place = await store.write(
                lambda tx, name=name, new=new: logs.append(tx, name, new).sequence
            )
            assert place == len(model[name])
            model[name] += new
            if is_reopened:
                await store.aclose()
                store = await SqliteStore.open(folder)
        for name, kept in model.items():
            assert await read_back(store, name) == kept
            assert (await found(store, name)).count == len(kept)
            assert (await verdict(store, name)).problem == ""
        await store.aclose()

    with scratch() as folder:
        asyncio.run(play(folder))


async def test_entries_are_read_from_anywhere(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "a", [Record(b"%d" % number) for number in range(9)])
        some = await store.read(lambda tx: logs.entries(tx, "a", after=3, limit=2))
    assert [(entry.sequence, entry.body) for entry in some] == [(4, b"4"), (5, b"5")]


async def test_equal_contents_of_a_log_are_kept_once_and_have_one_address(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "a", [Record(b"", (b"one", b"two")), Record(b"", (b"one",))])
        await appended(store, "b", [Record(b"", (b"one",))])
        first, second = await store.read(lambda tx: logs.entries(tx, "a"))
        [other] = await store.read(lambda tx: logs.entries(tx, "b"))
        kept = await store.read(lambda tx: blobs.contents_of(tx, "a"))
    assert first.blobs[0] == second.blobs[0] != other.blobs[0]
    assert sorted(kept.values()) == [b"one", b"two"]


async def test_logs_are_listed_newest_first_and_have_children(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as store:
        for name, kind, parent in [
            ("old", "run", None),
            ("other", "audit", None),
            ("new", "run", "old"),
            ("newer", "run", "old"),
        ]:
            clock.now -= 60.0  # the order is that of writing, whatever the clock says
            await store.write(lambda tx, log=(name, kind, parent): logs.create(tx, *log))
        listed = await store.read(lambda tx: logs.newest(tx, "run", limit=2))
        children = await store.read(lambda tx: logs.children(tx, "old"))
    assert [log.name for log in listed] == ["newer", "new"]
    assert [(log.name, log.parent) for log in children] == [("new", "old"), ("newer", "old")]
    assert listed[0].begun == clock.now


async def test_a_name_is_given_once_and_a_log_must_be_there(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "a", [])
        with pytest.raises(StoreError, match="there is a log a already"):
            await store.write(lambda tx: logs.create(tx, "a", "run"))
        with pytest.raises(StoreError, match="there is no log b"):
            await store.write(lambda tx: logs.append(tx, "b", [Record(b"")]))
        with pytest.raises(StoreError, match="there is no log b"):
            await verdict(store, "b")
        with pytest.raises(StoreError, match="a has no blob 0101"):
            await store.read(lambda tx: blobs.content_of(tx, "a", b"\x01\x01"))
        assert await store.read(lambda tx: logs.find(tx, "b")) is None
        assert await bodies(store, "b") == []


async def test_appends_that_wait_together_come_out_as_if_each_had_been_alone(
    tmp_path: Path,
) -> None:
    """Several to one log, with ends that are known, unknown and wrong, and contents that come
    twice; beside them one that fails, which is undone alone."""
    appends = [
        [Record(b"%d.%d" % (number, n), (b"content %d" % (n % 2),)) for n in range(number % 3 + 1)]
        for number in range(40)
    ]
    heads: list[list[str]] = []
    for place in ("together", "apart"):
        async with open_store(tmp_path / place) as store:
            for name in "abc":
                await appended(store, name, [])
            works = [_Appends("abc"[number % 3], it) for number, it in enumerate(appends)]
            works.insert(20, _Appends("there is none", appends[0]))
            if place == "together":
                futures = [store.submit(work) for work in works]
                outcomes = await asyncio.gather(*futures, return_exceptions=True)
                assert store.commits < 20
            else:
                outcomes = [await _outcome(store, work) for work in works]
            assert isinstance(outcomes.pop(20), StoreError)
            assert all(isinstance(outcome, int) for outcome in outcomes)
            heads.append([*map(str, outcomes)])
            for name in "abc":
                assert not (await verdict(store, name)).problem
                bodies_ = await bodies(store, name)
                heads[-1] += [body.decode() for body in bodies_]
    assert heads[0] == heads[1]


@dataclass(frozen=True, slots=True)
class _Appends(Together[int]):
    name: str
    records: list[Record]

    @classmethod
    def together(cls, them: Sequence[Self], tx: Transaction) -> list[int]:
        made = [
            logs.Append(it.name, it.records, end=_wrong_end(it.name) if index % 2 else None)
            for index, it in enumerate(them)
        ]
        return [done.sequence for done in logs.append_all(tx, made)]


def _wrong_end(name: str) -> logs.End | None:
    return logs.End("abc".index(name) + 1, 7, b"wrong", b"wrong") if name in "abc" else None


async def _outcome(store: Store, work: _Appends) -> int | Exception:
    try:
        return await store.write(work)
    except StoreError as error:
        return error
