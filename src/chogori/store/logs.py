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
from chogori.store.store import Transaction, Value, insert, rows_of

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


@dataclass(frozen=True, slots=True)
class Append:
    """Records that are to be appended to a log."""

    name: str
    records: Sequence[Record]
    lease: Lease | None = None
    """To be held."""
    end: End | None = None
    """Where the caller believes the log to end, which spares looking: where it is wrong, the log is
    looked at."""


def append(
    tx: Transaction,
    name: str,
    records: Sequence[Record],
    lease: Lease | None = None,
    end: End | None = None,
) -> Appended:
    """As `append_all`, to one log."""
    return append_all(tx, [Append(name, records, lease, end)])[0]


def append_all(tx: Transaction, them: Sequence[Append]) -> list[Appended]:
    """Append to many logs, in as few statements as for one.

    Raises `LeaseLost` if a lease is no longer held, and `StoreError` if a log does not fit its
    seal: nothing is added to a log that somebody tampered with.
    """
    done: dict[int, Appended] = {}
    ends: dict[str, End] = {}
    left = list(range(len(them)))
    while left:
        # Of each log the first: what comes after it follows its end.
        now = {them[index].name: index for index in reversed(left[:_AT_ONCE])}
        believed = {
            index: ends.get(name) or them[index].end or _looked_up(tx, them[index])
            for name, index in now.items()
        }
        appended = _append_at(tx, [(them[index], end) for index, end in believed.items()])
        for index, it in zip(believed, appended, strict=True):
            if it is None:
                ends[them[index].name] = _looked_up(tx, them[index])
            else:
                done[index], ends[them[index].name] = it, it.end
        left = [index for index in left if index not in done]
    return [done[index] for index in range(len(them))]


def _looked_up(tx: Transaction, it: Append) -> End:
    found = tx.execute("select id, count, head, seal from logs where name = ?", (it.name,))
    if not found:
        raise StoreError(f"there is no log {it.name}")
    if it.lease is not None:
        leases.check(tx, it.lease)
    [(id, count, head, seal)] = found
    if not chain.is_sealed(tx.key, it.name, count, head, seal):
        raise StoreError(
            f"the log {it.name} does not fit its seal: it was changed, or seal.key was"
        )
    return End(id, count, head, seal)


def _append_at(tx: Transaction, them: Sequence[tuple[Append, End]]) -> list[Appended | None]:
    """Append to each log that ends so, if its lease is held: one statement asks both of all."""
    contents = [
        (end.id, it) for what, end in them for record in what.records for it in record.blobs
    ]
    kept = iter(blobs.keep_all(tx, contents))
    ends: list[Value] = []
    linked: list[tuple[End, list[tuple[Value, ...]]]] = []
    for it, end in them:
        head, rows = end.head, list[tuple[Value, ...]]()
        for sequence, record in enumerate(it.records, end.count):
            addresses = [next(kept) for _ in record.blobs]
            head = chain.link(head, record.body, addresses)
            rows.append((end.id, sequence, record.body, b"".join(addresses), head))
        count = end.count + len(it.records)
        new = End(end.id, count, head, chain.seal(tx.key, it.name, count, head))
        linked.append((new, rows))
        held = (None, None) if it.lease is None else (it.lease.name, it.lease.fence)
        ends += (end.id, end.count, end.head, end.seal, new.count, new.head, new.seal, *held)
    posted = dict(tx.execute(_MOVE.format(rows_of(len(them), 9)), ends))
    insert(tx, "entries", [row for new, rows in linked if new.id in posted for row in rows])
    return [
        Appended(end.count, posted[end.id], new) if end.id in posted else None
        for (_, end), (new, _) in zip(them, linked, strict=True)
    ]


_AT_ONCE = 100
"""Logs; databases take no more than some thousand parameters."""
_MOVE = """
update logs set count = column5, head = column6, seal = column7 from (values {}) as their
where id = column1 and count = column2 and head = column3 and seal = column4 and (
    column8 is null
    or exists (select 1 from leases where name = column8 and fence = column9 and owner is not null)
) returning id, posted
"""
"""The ends of logs, from where they are believed to be to where they come to be."""


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
