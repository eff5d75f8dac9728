"""The interface that rooms above see: pieces of work, done in transactions of one database.

It is as narrow as this so that another database can take SQLite's place: statements with `?` for
parameters, in SQL that SQLite and Postgres both read (column types included: `integer`, `text`,
`bytea`, `double precision`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Value: TypeAlias = int | float | str | bytes | None


class Transaction(Protocol):
    """What a piece of work is given. It ends with the work, which must not keep it."""

    @property
    def now(self) -> float:
        """Seconds since the epoch, by the clock of the store."""
        ...

    @property
    def key(self) -> bytes:
        """The 32 bytes that seal logs."""
        ...

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; returns its rows."""
        ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement once for each row of parameters."""
        ...

    def ring(self) -> None:
        """Have it seen in `Store.rung`, by every process, before the work counts as done."""
        ...

    def scrub(self) -> None:
        """Have what this work deletes taken out of every file before the work counts as done."""
        ...


Work: TypeAlias = Callable[[Transaction], T]
"""Runs in another thread, so it must touch nothing of the event loop; it should be short. Whatever
it raises undoes what it did, and is raised to whoever waits for it. It may be called again, when
what it did was undone for the sake of a neighbour: so all it does it does to the transaction."""


class Together(ABC, Generic[T]):
    """A `Work` that can be done together with others of its class. Statements are what a group of
    works spends its time on, and a hundred appends can be made with as few of them as one."""

    __slots__ = ()

    def __call__(self, tx: Transaction) -> T:
        return self.together([self], tx)[0]

    @classmethod
    @abstractmethod
    def together(cls, them: Sequence[Any], tx: Transaction) -> list[T]:
        """Do all of them, which are of this class, in their order; what each brings."""


class Store(Protocol):
    """One database. Every method may be called from any event loop."""

    def submit(self, work: Work[T], *, synced: bool = True) -> asyncio.Future[T]:
        """Have `work` done; the future is done once its outcome is safe on disk.

        Without `synced` it is done once the outcome outlives the process; should the power fail
        before the next synced work, it may be lost, and with it every later one that is not synced.
        Works are done in the order of their submission. Cancelling the future stops nothing.
        Raises `StoreError` at once where the store is closed or read-only; the future does where
        the database fails.
        """
        ...

    async def write(self, work: Work[T], *, synced: bool = True) -> T:
        """Submit `work` and wait for it."""
        ...

    async def read(self, work: Work[T]) -> T:
        """Have `work`, which only reads, done on one state of the database, beside the writes.

        It sees everything whose future was done before.
        """
        ...

    def rung(self) -> int | None:
        """Another number each time that a work has rung; None where that cannot be told at once.
        Costs next to nothing, so that drivers look for messages only where there may be some."""
        ...

    async def aclose(self) -> None:
        """Finish everything submitted, then close. More than once does no harm."""
        ...


_ROWS = 500
"""So many rows an insert has at most: databases take no more than some thousand parameters."""


def insert(
    tx: Transaction, into: str, rows: Sequence[Sequence[Value]], following: str = ""
) -> list[tuple[Any, ...]]:
    """Insert rows with few statements, each of which ends in `following`; what they return."""
    returned: list[tuple[Any, ...]] = []
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        statement = f"insert into {into} values {rows_of(len(some), len(some[0]))} {following}"
        returned += tx.execute(statement, [value for row in some for value in row])
    return returned


@lru_cache(maxsize=256)
def rows_of(rows: int, columns: int) -> str:
    """The parameters of an insert of so many rows at once: "(?, ?), (?, ?)"."""
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)
