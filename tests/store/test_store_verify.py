"""Laws of the chain: whatever somebody without the key changes is found, and named."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_harness import appended, files, scratch, tampering, verdict

from chogori.store import Record, StoreError, Verdict, chain, logs, open_store
from chogori.store.database import KEY_NAME

COUNT = 6
RECORDS = [
    Record(b"body %d" % number, (b"text %d" % number, b"said again")) for number in range(COUNT)
]
places = st.integers(0, COUNT - 1)
Change = Callable[[sqlite3.Connection], object]


def after(*changes: Change, noted: str | None = None) -> Verdict:
    """What `verify` says of the log once `changes` were made to the file."""

    async def play(folder: Path) -> Verdict:
        async with open_store(folder) as store:
            await appended(store, "other", RECORDS)
            await appended(store, "log", RECORDS)
        with tampering(folder) as connection:
            for change in changes:
                change(connection)
        async with open_store(folder) as store:
            other = await verdict(store, "other")
            assert (other.problem, other.count) == ("", COUNT), "its neighbour is as it was"
            return await verdict(store, "log", noted)

    with scratch() as folder:
        return asyncio.run(play(folder))


def sql(statement: str, *parameters: object) -> Change:
    return lambda connection: connection.execute(
        statement.replace("{log}", "(select id from logs where name = 'log')"), parameters
    )


def sealed_as(count: int) -> Change:
    """The head row says `count` entries and the right hash; only the seal cannot be made."""

    def change(connection: sqlite3.Connection) -> None:
        [(head,)] = connection.execute(
            "select hash from entries where sequence = ? "
            "and log = (select id from logs where name = 'log')",
            (count - 1,),
        )
        sql("update logs set count = ?, head = ? where name = 'log'", count, head)(connection)

    return change


def rewritten(at: int) -> Change:
    """Entry `at` has another body, and every hash from there on is made to fit."""

    def change(connection: sqlite3.Connection) -> None:
        sql("update entries set body = ? where log = {log} and sequence = ?", b"lie", at)(
            connection
        )
        head = chain.first("log", "run", None)
        rows = connection.execute(
            "select sequence, body, blobs from entries "
            "where log = (select id from logs where name = 'log') order by sequence"
        ).fetchall()
        for sequence, body, addresses in rows:
            head = chain.link(head, body, [addresses[:32], addresses[32:]])
            sql("update entries set hash = ? where log = {log} and sequence = ?", head, sequence)(
                connection
            )

    return change


def test_an_untouched_log_fits() -> None:
    told = after()
    assert (told.problem, told.count, told.sequence, told.removed) == ("", COUNT, None, 0)


@settings(max_examples=25)
@given(places, st.sampled_from(["body", "blobs", "hash"]), st.integers(0, 255))
def test_a_changed_entry_is_named(at: int, column: str, byte: int) -> None:
    told = after(
        sql(
            f"update entries set {column} = cast(? || {column} as blob) "
            "where log = {log} and sequence = ?",
            bytes([byte]),
            at,
        )
    )
    assert (told.sequence, told.count) == (at, at)
    assert told.problem == f"entry {at} is not what was written"


@settings(max_examples=10)
@given(places)
def test_a_gap_is_named(at: int) -> None:
    told = after(sql("delete from entries where log = {log} and sequence = ?", at))
    assert (told.sequence, told.count) == (at, at)
    assert f"entry {at} is missing" in told.problem


@settings(max_examples=10)
@given(st.lists(places, min_size=2, max_size=2, unique=True))
def test_swapped_entries_are_named(at: list[int]) -> None:
    move = "update entries set sequence = ? where log = {log} and sequence = ?"
    told = after(sql(move, -1, at[0]), sql(move, at[0], at[1]), sql(move, at[1], -1))
    assert told.sequence == min(at)


@settings(max_examples=10)
@given(places)
def test_a_cut_tail_is_named(at: int) -> None:
    told = after(sql("delete from entries where log = {log} and sequence >= ?", at))
    assert (told.sequence, told.count) == (at, at)
    assert told.problem == f"entry {at} is missing: the log was sealed with {COUNT} entries"


@settings(max_examples=10)
@given(st.integers(1, COUNT - 1))
def test_a_cut_tail_shows_even_if_the_count_was_made_to_fit(at: int) -> None:
    told = after(sql("delete from entries where log = {log} and sequence >= ?", at), sealed_as(at))
    assert "its seal is not ours" in told.problem


@settings(max_examples=10)
@given(places)
def test_a_log_written_anew_without_the_key_shows(at: int) -> None:
    assert "last entry" in after(rewritten(at)).problem
    assert "its seal is not ours" in after(rewritten(at), sealed_as(COUNT)).problem


def test_an_added_entry_is_named() -> None:
    def add(connection: sqlite3.Connection) -> None:
        [(log, head)] = connection.execute("select id, head from logs where name = 'log'")
        row = (log, COUNT, b"lie", b"", chain.link(head, b"lie", []))
        connection.execute("insert into entries values (?, ?, ?, ?, ?)", row)

    told = after(add)
    assert told.sequence == COUNT
    assert told.problem == f"entry {COUNT} was added: the log was sealed with {COUNT} entries"


@pytest.mark.parametrize("column", ["kind", "parent"])
def test_what_a_log_says_of_itself_cannot_be_changed(column: str) -> None:
    assert after(sql(f"update logs set {column} = 'x' where name = 'log'")).sequence == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *[("count", 99), ("count", -1), ("count", "x"), ("head", b"x"), ("head", "x")],
        *[("seal", b"x"), ("seal", 5), ("kind", 5), ("kind", b"run"), ("parent", 5)],
    ],
)
def test_a_changed_head_shows(column: str, value: object) -> None:
    assert after(sql(f"update logs set {column} = ? where name = 'log'", value)).problem


@pytest.mark.parametrize("column", ["sequence", "body", "blobs", "hash"])
@pytest.mark.parametrize("value", ["text", 5.5, b"", -7])
def test_an_entry_with_a_value_of_another_type_is_named(column: str, value: object) -> None:
    told = after(
        sql(f"update entries set {column} = ? where log = {{log}} and sequence = 2", value)
    )
    assert told.problem
    assert told.sequence in (0, 2)


@pytest.mark.parametrize("column", ["nonce", "content"])
@pytest.mark.parametrize("value", ["text", 5.5, b"", b"x" * 99])
def test_a_content_with_a_value_of_another_type_is_named(column: str, value: object) -> None:
    told = after(
        sql(f"update blobs set {column} = ? where log = {{log}} and content = ?", value, b"text 2")
    )
    assert told.problem == "content of entry 2 is not what was written"


@settings(max_examples=10)
@given(places)
def test_changed_and_lost_contents_are_named(at: int) -> None:
    where = "where log = {log} and content = ?"
    lie = after(sql(f"update blobs set content = 'x' {where}", b"text %d" % at))
    assert lie.problem == f"content of entry {at} is not what was written"
    lost = after(sql(f"delete from blobs {where}", b"text %d" % at))
    assert lost.problem == f"content of entry {at} is missing"
    assert lie.sequence == lost.sequence == at


async def test_a_head_noted_elsewhere_tells_an_older_copy_from_the_log(tmp_path: Path) -> None:
    here, copy = tmp_path / "here", tmp_path / "copy"
    async with open_store(here) as store:
        before = await appended(store, "log", RECORDS[:3])
    shutil.copytree(here, copy)
    async with open_store(here) as store:
        await store.write(lambda tx: logs.append(tx, "log", RECORDS[3:]))
        noted = (await verdict(store, "log")).head
        assert (await verdict(store, "log", before.head)).problem == "", "it has been the head"
        assert (await verdict(store, "log", f" {noted.upper()}\n")).problem == ""
    async with open_store(copy) as store:
        assert (await verdict(store, "log")).problem == "", "by itself it fits"
        assert (
            "no entry has the head that was noted" in (await verdict(store, "log", noted)).problem
        )


@pytest.mark.parametrize(
    "change", [sealed_as(2), sql("update logs set count = 2"), sql("update logs set count = 'x'")]
)
async def test_nothing_is_added_to_a_log_that_was_tampered_with(
    tmp_path: Path, change: Change
) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", RECORDS)
    with tampering(tmp_path) as connection:
        change(connection)
    before = files(tmp_path)
    async with open_store(tmp_path) as store:
        with pytest.raises(StoreError, match="does not fit its seal"):
            await store.write(lambda tx: logs.append(tx, "log", [Record(b"more")]))
    assert files(tmp_path) == before


async def test_a_database_without_its_key_is_not_given_another(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "log", RECORDS)
    (tmp_path / KEY_NAME).unlink()
    before = files(tmp_path)
    with pytest.raises(StoreError, match=r"seal.key is missing or damaged"):
        async with open_store(tmp_path):
            raise AssertionError("it was opened")
    assert files(tmp_path) == before
