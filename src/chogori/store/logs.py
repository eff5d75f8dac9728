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
class End:
    """The end of a log as it was left by whoever appended last."""

    id: int
    count: int
    head: bytes
    seal: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """Where records came to be, and what else is known of their log by then."""

    sequence: int
    """Of the first of them."""
    posted: int
    """The number of the last message that was posted to the log (`inbox`), 0 if none was."""
    end: End
    """For the next `append`."""


def append(
    tx: Transaction,
    name: str,
    records: Sequence[Record],
    lease: Lease | None = None,
    end: End | None = None,
) -> Appended:
    """Append `records`.

    `end` is where the caller believes the log to end, which spares looking: where it is wrong, the
    log is looked at. Raises `LeaseLost` if `lease` is no longer held, and `StoreError` if the log
    does not fit its seal: nothing is added to a log that somebody tampered with.
    """
    if end is not None and (done := _append_at(tx, name, records, lease, end)):
        return done
    end = _looked_up(tx, name, lease)
    done = _append_at(tx, name, records, lease, end)
    assert done is not None, "it was looked up in this transaction"
    return done


def _looked_up(tx: Transaction, name: str, lease: Lease | None) -> End:
    found = tx.execute("select id, count, head, seal from logs where name = ?", (name,))
    if not found:
        raise StoreError(f"there is no log {name}")
    if lease is not None:
        leases.check(tx, lease)
    [(id, count, head, seal)] = found
    if not chain.is_sealed(tx.key, name, count, head, seal):
        raise StoreError(f"the log {name} does not fit its seal: it was changed, or seal.key was")
    return End(id, count, head, seal)


def _append_at(
    tx: Transaction, name: str, records: Sequence[Record], lease: Lease | None, end: End
) -> Appended | None:
    """Append `records`, if the log ends so and the lease is held: one statement asks both."""
    kept = iter(blobs.keep_all(tx, end.id, [content for it in records for content in it.blobs]))
    head, values = end.head, list[Value]()
    for sequence, record in enumerate(records, end.count):
        addresses = [next(kept) for _ in record.blobs]
        head = chain.link(head, record.body, addresses)
        values += (end.id, sequence, record.body, b"".join(addresses), head)
    count = end.count + len(records)
    new = End(end.id, count, head, chain.seal(tx.key, name, count, head))
    held = () if lease is None else (lease.name, lease.fence)
    found = tx.execute(
        "update logs set count = ?, head = ?, seal = ? where id = ? and seal = ? and head = ? "
        f"and count = ?{_IS_HELD if held else ''} returning posted",
        (new.count, new.head, new.seal, end.id, end.seal, end.head, end.count, *held),
    )
    if not found:
        return None
    if records:
        tx.execute("insert into entries values " + rows_of(len(records), 5), values)
    return Appended(end.count, found[0][0], new)


_IS_HELD = " and exists (select 1 from leases where name = ? and fence = ? and owner is not null)"


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
