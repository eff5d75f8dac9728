"""What SQLite complains of, said to the person who can do something about it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chogori.errors import StoreError

_INTACT = "what was recorded is intact"
_REASONS = {
    sqlite3.SQLITE_FULL: f"there is no space left for {{path}}: free some space; {_INTACT}",
    sqlite3.SQLITE_IOERR: (
        "{path} could not be read or written ({said}): see that its disk is neither full nor "
        f"failing; {_INTACT}"
    ),
    sqlite3.SQLITE_READONLY: (
        "{path} is read-only ({said}): what is in it can be read; to write, make it and its folder "
        "writable"
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "{path} cannot be opened ({said}): see that it and its folder can be read and written"
    ),
    sqlite3.SQLITE_PERM: "{path} cannot be opened ({said}): see that you may read and write it",
    sqlite3.SQLITE_NOMEM: f"there was no memory left to write {{path}}: end something; {_INTACT}",
    sqlite3.SQLITE_CORRUPT: (
        "{path} is damaged ({said}): put it back from a backup, or move it away to begin anew; "
        "sqlite3's .recover may save what is in it"
    ),
    sqlite3.SQLITE_NOTADB: (
        "{path} is not a database: move it away, or name another folder with --data"
    ),
    sqlite3.SQLITE_BUSY: (
        "{path} stayed locked: another process has been writing to it for too long; "
        "end that process, or try again"
    ),
}
_OF_THE_DISK = frozenset(_REASONS)


def is_of_the_disk(error: BaseException) -> bool:
    """Whether `error` says that the database failed, not the statement."""
    return isinstance(error, sqlite3.Error) and _code(error) in _OF_THE_DISK


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """`error`, about the database at `path`, for a person."""
    reason = _REASONS.get(_code(error), "{path} refused a statement: {said}")
    explained = StoreError(reason.format(path=path, said=error))
    explained.__cause__ = error
    return explained


def _code(error: sqlite3.Error) -> int:
    # Only errors that come from SQLite itself have a code; its lower byte is the primary one.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
