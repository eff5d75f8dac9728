"""What the laws of the store need: a clock to turn, the raw file, and disks that are small."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chogori.store import Log, Record, SqliteStore, Verdict, logs, verify
from chogori.store.database import NAME


class Clock:
    """Stands still unless it is set."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Generator[Path]:
    """A folder for one example of many: in memory, where there is such a place, since every commit
    waits for the disk."""
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, byte by byte."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@contextmanager
def tampering(folder: Path) -> Generator[sqlite3.Connection]:
    """The database of a closed store, for somebody who may write the file but lacks the key."""
    with closing(sqlite3.connect(folder / NAME)) as connection:
        yield connection
        connection.commit()


async def appended(store: SqliteStore, name: str, records: Sequence[Record]) -> Log:
    """A log with one entry for each of `records`."""
    log = await store.write(lambda tx: logs.create(tx, name, "run"))
    for record in records:
        await store.write(lambda tx, record=record: logs.append(tx, name, [record]))
    return await found(store, log.name)


async def found(store: SqliteStore, name: str) -> Log:
    log = await store.read(lambda tx: logs.find(tx, name))
    assert log is not None
    return log


async def bodies(store: SqliteStore, name: str) -> list[bytes]:
    return [entry.body for entry in await store.read(lambda tx: logs.entries(tx, name))]


async def verdict(store: SqliteStore, name: str, noted: str | None = None) -> Verdict:
    return await store.read(lambda tx: verify(tx, name, noted))


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Generator[Path]:
    """A file system of that size, mounted at `folder`; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


@contextmanager
def read_only(folder: Path) -> Generator[None]:
    """Nothing in `folder`, a mounted file system if we are root, can be written."""
    if os.geteuid() == 0:  # whom no mode keeps from writing
        _mount("-o", "remount,ro", str(folder))
        yield
        return
    modes = {path: path.stat().st_mode for path in (folder, *folder.iterdir())}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this test mounts a file system, which is not allowed here: {error}")
