"""Laws of opening: who may, on which disk, with which version; a refusal changes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path

import pytest
from store_harness import appended, bodies, files, read_only, small_disk, verdict

from chogori.store import Record, StoreError, leases, logs, open_store
from chogori.store.database import KEY_NAME, NAME
from chogori.store.filesystems import kind_of

FIRST = "create table cats (name text); insert into cats values ('tom; or ''not''');"
SECOND = "create table dogs (name text); -- and; more\ncreate index by_name on dogs (name)"

MOUNTS = r"""
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:40 / /home rw - nfs4 server:/home rw
41 40 0:41 / /home/me/local rw - btrfs /dev/vdb rw
42 27 0:42 / /mnt/two\040words rw master:3 propagate_from:2 - cifs //server/share rw
43 27 0:43 / /over rw - ext4 /dev/vdc rw
44 27 0:44 / /over rw - fuse.sshfs me@server: rw
not a line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        *[("/", "ext4"), ("/data/chogori", "ext4"), ("/homes", "ext4"), ("/home", "nfs4")],
        *[("/home/me", "nfs4"), ("/home/me/local/x", "btrfs"), ("/over/x", "fuse.sshfs")],
        *[("/mnt/two words/x", "cifs"), ("/mnt", "ext4"), ("/proc/1", "proc")],
    ],
)
def test_a_folder_is_on_the_deepest_and_latest_mount_above_it(folder: str, kind: str) -> None:
    assert kind_of(Path(folder), MOUNTS) == kind
    assert kind_of(Path(folder), "") == ""


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "lustre", "fuse.sshfs"]
)
async def test_a_network_file_system_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    mounted = f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path} rw - {kind} server:/x rw"
    with pytest.raises(StoreError, match=rf"network file system \({kind}\).*--data"):
        async with open_store(tmp_path / "data", mountinfo=mounted):
            raise AssertionError("it was opened")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "btrfs", "fuseblk", "overlay", "zfs"])
async def test_a_local_file_system_is_fine(tmp_path: Path, kind: str) -> None:
    async with open_store(tmp_path, mountinfo=f"1 0 0:1 / / rw - {kind} /dev/vda rw") as store:
        await appended(store, "log", [])


async def test_everything_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    async with open_store(folder) as store:
        await appended(store, "log", [])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {NAME, KEY_NAME, f"{NAME}-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


async def test_rooms_bring_tables_of_their_own_version_by_version(tmp_path: Path) -> None:
    names = "select name from cats"
    async with open_store(tmp_path, {"pets": [FIRST]}) as store:
        assert await store.read(lambda tx: tx.execute(names)) == [("tom; or 'not'",)]
    for _ in range(2):
        async with open_store(tmp_path, {"pets": [FIRST, SECOND], "none": []}) as store:
            await store.write(lambda tx: tx.execute("insert into dogs values ('rex')"))
            assert await store.read(lambda tx: tx.execute(names)) == [("tom; or 'not'",)]
    async with open_store(tmp_path) as store:
        assert len(await store.read(lambda tx: tx.execute("select * from dogs"))) == 2


@pytest.mark.parametrize("broken", ["create table dogs (", "insert into nowhere values (1);"])
async def test_a_migration_that_fails_leaves_the_version_before(
    tmp_path: Path, broken: str
) -> None:
    async with open_store(tmp_path, {"pets": [FIRST]}):
        pass
    for script in (f"create table dogs (name text); {broken}", broken):
        with pytest.raises((StoreError, ValueError), match=r"refused a statement|ends within"):
            async with open_store(tmp_path, {"pets": [FIRST, script]}):
                raise AssertionError("it was opened")
    async with open_store(tmp_path, {"pets": [FIRST, SECOND]}) as store:
        assert await store.read(lambda tx: tx.execute("select * from dogs")) == []


def contents(folder: Path) -> dict[str, bytes]:
    """All but SQLite's locks and its index of the log of writes."""
    return {name: held for name, held in files(folder).items() if not name.endswith("-shm")}


@asynccontextmanager
async def left_by_a_newer(folder: Path, *, is_closed: bool) -> AsyncGenerator[Path]:
    """A folder that a newer version wrote; closed, or as a killed process leaves it."""
    async with open_store(folder / "newer", {"pets": [FIRST, SECOND]}) as store:
        await appended(store, "log", [Record(b"precious")])
        if not is_closed:
            yield shutil.copytree(folder / "newer", folder / "killed")
    if is_closed:
        yield folder / "newer"


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_newer_version_is_refused_and_not_a_byte_of_it_changed(
    tmp_path: Path, is_closed: bool
) -> None:
    async with left_by_a_newer(tmp_path, is_closed=is_closed) as folder:
        before = contents(folder)
        with pytest.raises(
            StoreError, match=r"version 2, .* up to 1; pip install --upgrade chogori"
        ):
            async with open_store(folder, {"pets": [FIRST]}):
                raise AssertionError("it was opened")
        assert contents(folder) == before


async def test_what_cannot_be_written_can_be_read(tmp_path: Path) -> None:
    with _disk(tmp_path / "disk") as folder:
        async with open_store(folder) as store:
            noted = await appended(store, "log", [Record(b"kept", (b"text",))])
        before = files(folder)
        with read_only(folder):
            async with open_store(folder) as store:
                assert store.is_read_only
                assert await bodies(store, "log") == [b"kept"]
                assert [log.name for log in await store.read(lambda tx: logs.newest(tx, "run"))]
                assert (await verdict(store, "log", noted.head)).problem == ""
                with pytest.raises(StoreError, match=r"is read-only.*make it and its folder"):
                    await store.write(lambda tx: leases.acquire(tx, "log", 30))
            with pytest.raises(StoreError, match="is of an older version and cannot be written"):
                async with open_store(folder, {"pets": [FIRST]}):
                    raise AssertionError("it was opened")
            with pytest.raises(StoreError, match="cannot be used for a store"):
                async with open_store(folder / "new"):
                    raise AssertionError("it was opened")
        assert files(folder) == before


def _disk(folder: Path):
    """A folder that `read_only` can seal: for root, a file system of its own."""
    if os.geteuid() == 0:
        return small_disk(folder, 4_000)
    folder.mkdir()
    return nullcontext(folder)


async def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"Dear diary, " * 500)
    before = files(tmp_path)
    with pytest.raises(StoreError, match="is not a database: move it away"):
        async with open_store(tmp_path):
            raise AssertionError("it was opened")
    assert files(tmp_path) == before


async def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match=r"data cannot be used for a store: File exists"):
        async with open_store(tmp_path / "data"):
            raise AssertionError("it was opened")


async def test_an_opening_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    (tmp_path / KEY_NAME).write_bytes(b"half a key")
    async with open_store(tmp_path) as store:
        await appended(store, "log", [Record(b"")])
        assert (await verdict(store, "log")).problem == ""
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
