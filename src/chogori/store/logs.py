"""Append-only logs, each with a name, a kind and perhaps a parent. `chain` says what binds entries.

All are functions of a transaction, so that what they do can be one with what else a work does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chogori.errors import StoreError
from chogori.store import blobs, chain, leases
from chogori.store.leases import Lease
from chogori.store.store import Transaction, Value, rows_of

ALL = 2**62
_COLUMNS = "name, kind, parent, begun, count, head"


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be appended: a body that stays, and contents that can be removed later."""

    body: bytes
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that was appended."""

    sequence: int
    body: bytes
    blobs: tuple[bytes, ...]
    """The addresses of the record's contents, in its order."""
    hash: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """A log as it stands."""

    name: str
    kind: str
    parent: str | None
    begun: float
    """Seconds since the epoch."""
    count: int
    """How many entries it has."""
    head: str
    """The hash of the last entry, in hexadecimal: note it elsewhere to prove the log later."""


def create(tx: Transaction, name: str, kind: str, parent: str | None = None) -> Log:
    """A new log, without entries. Raises `StoreError` if there is one of that name."""
    if find(tx, name):
        raise StoreError(f"there is a log {name} already")
    head = chain.first(name, kind, parent)
    tx.execute(
        "insert into logs (id, name, kind, parent, begun, count, head, seal, posted) "
        "select coalesce(max(id), 0) + 1, ?, ?, ?, ?, 0, ?, ?, 0 from logs",
        (name, kind, parent, tx.now, head, chain.seal(tx.key, name, 0, head)),
    )
    return Log(name, kind, parent, tx.now, 0, head.hex())


@dataclass(frozen=True, slots=True)
class Appended:
    """Where records came to be, and what else is known of their log by then."""

    sequence: int
    """Of the first of them."""
    posted: int
    """The number of the last message that was posted to the log (`inbox`), 0 if none was."""


def append(
    tx: Transaction, name: str, records: Sequence[Record], lease: Lease | None = None
) -> Appended:
    """Append `records`.

    Raises `LeaseLost` if `lease` is no longer held, and `StoreError` if the log does not fit its
    seal: nothing is added to a log that somebody tampered with.
    """
    found = tx.execute(
        "select logs.id, count, head, seal, posted, leases.owner, fence from logs "
        "left join leases on leases.name = ? where logs.name = ?",
        ("" if lease is None else lease.name, name),
    )
    if not found:
        raise StoreError(f"there is no log {name}")
    [(id, count, head, seal, posted, owner, fence)] = found
    if lease is not None and (owner is None or fence != lease.fence):
        leases.check(tx, lease)  # which says who has it
    if not chain.is_sealed(tx.key, name, count, head, seal):
        raise StoreError(f"the log {name} does not fit its seal: it was changed, or seal.key was")
    kept = iter(blobs.keep_all(tx, id, [content for it in records for content in it.blobs]))
    values: list[Value] = []
    for sequence, record in enumerate(records, count):
        addresses = [next(kept) for _ in record.blobs]
        head = chain.link(head, record.body, addresses)
        values += (id, sequence, record.body, b"".join(addresses), head)
    if records:
        tx.execute("insert into entries values " + rows_of(len(records), 5), values)
    total = count + len(records)
    tx.execute(
        "update logs set count = ?, head = ?, seal = ? where id = ?",
        (total, head, chain.seal(tx.key, name, total, head), id),
    )
    return Appended(count, posted)


def entries(tx: Transaction, name: str, after: int = -1, limit: int = ALL) -> list[Entry]:
    """The entries of a log whose sequence is above `after`, in order, at most `limit`."""
    rows = tx.execute(
        "select sequence, body, blobs, hash from entries "
        "where log = (select id from logs where name = ?) and sequence > ? "
        "order by sequence limit ?",
        (name, after, limit),
    )
    return [Entry(row[0], row[1], tuple(chain.split(row[2])), row[3]) for row in rows]


def find(tx: Transaction, name: str) -> Log | None:
    """The log of that name, if there is one."""
    rows = tx.execute(f"select {_COLUMNS} from logs where name = ?", (name,))
    return _log(rows[0]) if rows else None


def newest(tx: Transaction, kind: str, limit: int = ALL) -> list[Log]:
    """The logs of a kind, newest first."""
    rows = tx.execute(
        f"select {_COLUMNS} from logs where kind = ? order by id desc limit ?", (kind, limit)
    )
    return [_log(row) for row in rows]


def children(tx: Transaction, parent: str) -> list[Log]:
    """The logs whose parent is the log of that name, oldest first."""
    rows = tx.execute(f"select {_COLUMNS} from logs where parent = ? order by id", (parent,))
    return [_log(row) for row in rows]


def _log(row: tuple[Any, ...]) -> Log:
    head = row[5]  # of any type, if somebody tampered with it
    return Log(*row[:5], head=head.hex() if isinstance(head, bytes) else "")
