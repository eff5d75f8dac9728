"""The files of a store: `chogori.db`, what SQLite keeps beside it, `seal.key` and `chogori.bell`.

All are for their owner alone. Opening is done under a lock of the folder, so that of two processes
that begin at once one makes them. What cannot be written is opened for reading.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chogori.errors import StoreError
from chogori.store.failures import explain
from chogori.store.filesystems import refuse_network
from chogori.store.migrations import Schemas, is_current, migrate, refuse_newer, versions

NAME = "chogori.db"
KEY_NAME = "seal.key"
KEY_BYTES = 32
_LOCKED_SECONDS = 30.0
"""How long a group waits for another process that writes."""
CHECKPOINT_PAGES = 512
"""The log of writes is carried into the database when it has so many pages (of 4 KiB): a small run
leaves few bytes, a large swarm seldom waits."""
_KEPT_BYTES = 8 * 2**20
"""The log of writes may stay so large once it has grown."""
_PRAGMAS = (
    "synchronous = full",
    "fullfsync = on",  # macOS: what fsync promises elsewhere
    "checkpoint_fullfsync = on",
    "secure_delete = on",
    "temp_store = memory",
    f"journal_size_limit = {_KEPT_BYTES}",
)


@dataclass(frozen=True, slots=True)
class Database:
    """An open database. Its connections may each be used by one thread at a time."""

    path: Path
    key: bytes
    """Empty where there is none to read."""
    writing: sqlite3.Connection | None
    """None: it can only be read."""
    reading: sqlite3.Connection


def open_database(
    folder: Path, schemas: Schemas, mountinfo: str, checkpoint_pages: int = CHECKPOINT_PAGES
) -> Database:
    """Open the database in `folder`; makes both if need be. Raises `StoreError`."""
    folder = folder.absolute()
    path = folder / NAME
    refuse_network(folder, mountinfo)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder):
            if path.exists():
                refuse_newer(_connect_read_only(path), schemas, path)
            if _is_writable(path):
                return _open(path, schemas, checkpoint_pages)
            return _open_read_only(path, schemas)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder} cannot be used for a store: {error.strerror}; "
            "mend that, or name another folder with --data"
        ) from error


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _open(path: Path, schemas: Schemas, checkpoint_pages: int) -> Database:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    writing = _connect(str(path))
    try:
        [(mode,)] = writing.execute("pragma journal_mode = wal")
        if mode != "wal":
            raise StoreError(
                f"{path} is on a file system without shared memory, which a store needs; "
                "name a folder on another with --data"
            )
        for pragma in (*_PRAGMAS, f"wal_autocheckpoint = {checkpoint_pages}"):
            writing.execute(f"pragma {pragma}")
        key = _read_key(path.parent) or _make_key(path, is_new=not versions(writing))
        migrate(writing, schemas, path)
        reading = _connect(str(path))
        reading.execute("pragma query_only = on")
    except BaseException:
        writing.close()
        raise
    return Database(path, key, writing, reading)


def _open_read_only(path: Path, schemas: Schemas) -> Database:
    if not path.exists():
        raise StoreError(f"there is no store in {path.parent}, and the folder cannot be written")
    reading = _connect_read_only(path)
    try:
        if not is_current(reading, schemas, path):
            raise StoreError(
                f"{path} is of an older version and cannot be written: make it and its folder "
                "writable once, and it is brought up to date"
            )
    except BaseException:
        reading.close()
        raise
    return Database(path, _read_key(path.parent), None, reading)


def _connect(address: str) -> sqlite3.Connection:
    return sqlite3.connect(
        address,
        timeout=_LOCKED_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=address.startswith("file:"),
    )


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes no file, and needs none to be writable.

    Where a log of writes lies beside the database, it holds the newest state and must be read too.
    """
    has_log = path.with_name(f"{path.name}-wal").exists()
    return _connect(f"{path.as_uri()}?mode=ro{'' if has_log else '&immutable=1'}")


def _read_key(folder: Path) -> bytes:
    """The key that seals logs, or nothing."""
    try:
        key = (folder / KEY_NAME).read_bytes()
    except (FileNotFoundError, PermissionError):
        return b""
    return key if len(key) == KEY_BYTES else b""


def _make_key(path: Path, *, is_new: bool) -> bytes:
    """A new key, safe on disk. A database that was sealed with another gets none."""
    if not is_new:
        raise StoreError(
            f"{path.parent / KEY_NAME} is missing or damaged: it seals the logs of {path}, and "
            "without it no change could be told; put it back from a backup, or move both away"
        )
    key = secrets.token_bytes(KEY_BYTES)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(path.parent / KEY_NAME, flags, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key
