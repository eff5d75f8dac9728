"""Doing works on a connection: writes in groups, one commit a group; reads one by one.

A work that raises is undone alone: the group is done again, each work with a savepoint of its own.
If the disk fails, nothing of the group was written, and every work of it is told so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from chogori.errors import StoreError
from chogori.store.bell import Bell
from chogori.store.failures import explain, is_of_the_disk
from chogori.store.store import Together, Value
from chogori.store.workers import Job


class SqliteTransaction:
    """What a work sees of a connection."""

    __slots__ = ("_connection", "key", "now", "rings", "scrubs")

    def __init__(self, connection: sqlite3.Connection, now: float, key: bytes) -> None:
        self._connection = connection
        self.now = now
        self.key = key
        self.rings = self.scrubs = False

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()

    def executemany(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        self._connection.executemany(statement, rows)

    def ring(self) -> None:
        self.rings = True

    def scrub(self) -> None:
        self.scrubs = True


class Writer:
    """Does groups of jobs on the one connection that writes."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, key: bytes, clock: Callable[[], float]
    ) -> None:
        self.commits = 0
        """How many groups are on disk."""
        self._connection = connection
        self._path = path
        self._bell = Bell(path)
        self._key = key
        self._clock = clock
        self._is_synced = True

    def run(self, group: list[Job[Any]]) -> None:
        """Do all of `group` in one transaction, and leave an outcome in each of its jobs."""
        try:
            self._sync(any(job.synced for job in group))
            if not self._at_once(group):
                self._one_by_one(group)
        except Exception as error:  # whatever it is, somebody waits to be told
            self._give_up(group, error)
        else:
            self.commits += 1
            if any(job.rings for job in group):
                self._bell.ring()
            self._scrub([job for job in group if job.scrubs])

    def _sync(self, wanted: bool) -> None:
        """Have the next commit wait for the disk, or only be written (it then outlives the process,
        and is on the disk with the next commit that waits)."""
        if wanted != self._is_synced:
            self._connection.execute(f"pragma synchronous = {'full' if wanted else 'normal'}")
            self._is_synced = wanted

    def _at_once(self, group: list[Job[Any]]) -> bool:
        """Whether every work went well; if one did not, nothing was done at all. Savepoints would
        be a third of all statements, and nearly no work fails."""
        transaction = self._begin()
        try:
            for kind, jobs in groupby(group, lambda job: type(job.work)):
                self._do_all(kind, list(jobs), transaction)
        except BaseException as error:  # its own turn comes, one by one
            if is_of_the_disk(error):
                raise
            self._connection.rollback()
            return False
        self._connection.execute("commit")
        return True

    def _one_by_one(self, group: list[Job[Any]]) -> None:
        """Do each with a savepoint of its own, so that one that raises is undone alone."""
        transaction = self._begin()
        for job in group:
            self._connection.execute("savepoint work")
            try:
                self._do(job, transaction)
            except BaseException as error:  # it must not end this thread: it goes to whoever waits
                if is_of_the_disk(error):
                    raise
                self._connection.execute("rollback to work")
                job.fail(_told(error, self._path))
            self._connection.execute("release work")
        self._connection.execute("commit")

    def _begin(self) -> SqliteTransaction:
        self._connection.execute("begin immediate")
        return SqliteTransaction(self._connection, self._clock(), self._key)

    def _do_all(
        self, kind: type[Any], jobs: list[Job[Any]], transaction: SqliteTransaction
    ) -> None:
        """Do neighbours of one kind: at once, if they can be."""
        if len(jobs) == 1 or not issubclass(kind, Together):
            for job in jobs:
                self._do(job, transaction)
            return
        transaction.rings = transaction.scrubs = False
        works = [cast(Together[Any], job.work) for job in jobs]
        results = kind.together(works, transaction)
        for job, result in zip(jobs, results, strict=True):
            job.result, job.rings, job.scrubs = result, transaction.rings, transaction.scrubs

    def _do(self, job: Job[Any], transaction: SqliteTransaction) -> None:
        transaction.rings = transaction.scrubs = False
        job.result = job.work(transaction)
        job.rings, job.scrubs = transaction.rings, transaction.scrubs

    def _give_up(self, group: list[Job[Any]], error: Exception) -> None:
        if self._connection.in_transaction:  # SQLite ends some of them by itself
            self._connection.rollback()
        for job in group:
            job.fail(_told(error, self._path))

    def _scrub(self, jobs: list[Job[Any]]) -> None:
        """Move the log of writes into the database, where deleted bytes are zeros, and empty it."""
        if not jobs:
            return
        try:
            [(is_busy, _, _)] = self._connection.execute("pragma wal_checkpoint(truncate)")
            problem = "another process still reads it" if is_busy else ""
        except sqlite3.Error as error:
            problem = str(error)
        for job in jobs if problem else ():
            job.fail(
                StoreError(
                    f"it is deleted, but traces of it are left in {self._path}-wal ({problem}); "
                    "they go when every process that uses the store has ended"
                )
            )


class Reader:
    """Does jobs on a connection that cannot write, each on one state of the database."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, key: bytes, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._path = path
        self._key = key
        self._clock = clock

    def run(self, group: list[Job[Any]]) -> None:
        """Do each job of `group`, and leave its outcome in it."""
        for job in group:
            try:
                self._connection.execute("begin")
                job.result = job.work(SqliteTransaction(self._connection, self._clock(), self._key))
            except BaseException as error:  # it must not end this thread
                job.fail(_told(error, self._path))
            if self._connection.in_transaction:
                self._connection.rollback()


def _told(error: BaseException, path: Path) -> BaseException:
    """`error` as those who wait are to see it; of SQLite they know nothing."""
    return explain(error, path) if isinstance(error, sqlite3.Error) else error
