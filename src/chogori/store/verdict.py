"""Whether a log is what was written: walks its chain and names the first that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chogori.errors import StoreError
from chogori.store import blobs, chain
from chogori.store.store import Transaction

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found."""

    count: int
    """How many entries, from the first on, fit."""
    head: str
    """The hash of the last of them, in hexadecimal."""
    removed: int
    """How many blobs were removed; that is no error."""
    problem: str = ""
    """What does not fit, for a person; "" if all does."""
    sequence: int | None = None
    """The first entry that does not fit, if the problem can be laid to one."""


class _Misfit(Exception):
    def __init__(self, problem: str, sequence: int | None = None) -> None:
        super().__init__(problem)
        self.sequence = sequence


class _Walk:
    """Goes along a log and remembers how far it came. Trusts no value to be of its column's type:
    SQLite puts up with any."""

    def __init__(self, tx: Transaction, name: str, noted: str | None) -> None:
        self.tx = tx
        self.name = name
        self.noted = None if noted is None else noted.strip().lower()
        self.count = 0
        self.head = b""
        self.has_met_noted = noted is None
        self.removed: set[bytes] = set()

    def all(self) -> None:
        """Raise `_Misfit` at the first thing that does not fit."""
        rows = self.tx.execute(
            "select id, kind, parent, count, head, seal from logs where name = ?", (self.name,)
        )
        if not rows:
            raise StoreError(f"there is no log {self.name}")
        [(id, kind, parent, count, head, seal)] = rows
        if not (isinstance(kind, str) and isinstance(parent, str | None) and _is_int(count)):
            raise _Misfit("what it says of itself is not what was written")
        self.advance(chain.first(self.name, kind, parent))
        for row in _entries(self.tx, id):
            self.entry(id, *row)
        self.end(count, head, seal)

    def entry(self, log: int, sequence: Any, body: Any, addresses: Any, hash: Any) -> None:
        if sequence != self.count:
            raise _Misfit(f"entry {self.count} is missing", self.count)
        are_bytes = isinstance(body, bytes) and isinstance(addresses, bytes)
        if not are_bytes or chain.link(self.head, body, split := chain.split(addresses)) != hash:
            raise _Misfit(f"entry {self.count} is not what was written", self.count)
        for address in split:
            self.blob(log, address)
        self.count += 1
        self.advance(hash)

    def advance(self, head: bytes) -> None:
        self.head = head
        self.has_met_noted = self.has_met_noted or head.hex() == self.noted

    def blob(self, log: int, address: bytes) -> None:
        rows = self.tx.execute(
            "select nonce, content from blobs where log = ? and address = ?", (log, address)
        )
        if not rows:
            raise _Misfit(f"content of entry {self.count} is missing", self.count)
        [(nonce, content)] = rows
        if content is None:
            self.removed.add(address)
        elif not blobs.is_at(address, nonce, content):
            raise _Misfit(f"content of entry {self.count} is not what was written", self.count)

    def end(self, count: int, head: object, seal: object) -> None:
        sealed = f"the log was sealed with {count} entries"
        if self.count < count:
            raise _Misfit(f"entry {self.count} is missing: {sealed}", self.count)
        if self.count > count:
            raise _Misfit(f"entry {count} was added: {sealed}", count)
        if self.head != head:
            raise _Misfit("its last entry is not the one it says", max(self.count - 1, 0))
        if not chain.is_sealed(self.tx.key, self.name, self.count, self.head, seal):
            raise _Misfit("its seal is not ours: it was written anew, or seal.key was replaced")
        if not self.has_met_noted:
            raise _Misfit(f"no entry has the head that was noted, {self.noted}")


def verify(tx: Transaction, name: str, noted_head: str | None = None) -> Verdict:
    """Check every entry and blob of a log, its count, its head and its seal.

    `noted_head`, a `Log.head` that was noted elsewhere, must be the head or have been it. Raises
    `StoreError` if there is no such log, or no key to check with.
    """
    if not tx.key:
        raise StoreError("seal.key cannot be read, so no log can be checked: make it readable")
    walk = _Walk(tx, name, noted_head)
    try:
        walk.all()
    except _Misfit as misfit:
        return _verdict(walk, str(misfit), misfit.sequence)
    return _verdict(walk)


def _verdict(walk: _Walk, problem: str = "", sequence: int | None = None) -> Verdict:
    return Verdict(walk.count, walk.head.hex(), len(walk.removed), problem, sequence)


def _entries(tx: Transaction, log: int) -> Iterator[tuple[Any, ...]]:
    """Every entry of a log, in order, a page at a time; a row of no number comes last."""
    after, rows = None, _page(tx, log, None)
    while rows:
        yield from rows
        after = rows[-1][0]
        rows = _page(tx, log, after) if _is_int(after) else []


def _page(tx: Transaction, log: int, after: int | None) -> list[tuple[Any, ...]]:
    where, parameters = ("", ()) if after is None else (" and sequence > ?", (after,))
    return tx.execute(
        f"select sequence, body, blobs, hash from entries where log = ?{where} "
        f"order by sequence limit {_PAGE}",
        (log, *parameters),
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and value >= 0
