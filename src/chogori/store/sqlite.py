"""A store in SQLite: one thread that writes, in groups, and one that reads.

While a group is being committed, what agents submit gathers; it is the next group. So the disk is
asked once for all of them, however many they are, and an agent alone waits for nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

from chogori.errors import StoreError
from chogori.store.bell import Bell
from chogori.store.database import CHECKPOINT_PAGES, Database, open_database
from chogori.store.filesystems import mounts
from chogori.store.migrations import Schemas
from chogori.store.schema import SCHEMA
from chogori.store.store import Work
from chogori.store.transactions import Reader, Writer
from chogori.store.workers import Worker

T = TypeVar("T")
_NO_SCHEMAS: Schemas = MappingProxyType({})


class SqliteStore:
    """A `Store`. Open it with `open`, or with `open_store`, which closes it too."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self.path = database.path
        self._bell = Bell(database.path)
        self._reader = Worker(
            "store reads",
            Reader(database.reading, database.path, database.key, clock).run,
            database.reading.close,
        )
        self._writes: Writer | None = None
        self._writer: Worker | None = None
        if database.writing is not None:
            self._writes = Writer(database.writing, database.path, database.key, clock)
            self._writer = Worker("store writes", self._writes.run, database.writing.close)

    @classmethod
    async def open(
        cls,
        folder: Path,
        schemas: Schemas = _NO_SCHEMAS,
        *,
        clock: Callable[[], float] = time.time,
        mountinfo: str | None = None,
        checkpoint_pages: int = CHECKPOINT_PAGES,
    ) -> Self:
        """Open the store in `folder`, which is made if need be.

        `schemas` are the tables of the rooms above: for each room its SQL scripts, the n-th of
        which leads to version n. `mountinfo` is what is mounted, if not what the kernel says.
        The log of writes is carried into the database when it has `checkpoint_pages` of 4 KiB; the
        work that fills it waits for that. What cannot be written can still be read. Raises
        `StoreError`, with nothing changed.
        """
        known = {**schemas, "store": SCHEMA}
        mounted = mounts() if mountinfo is None else mountinfo
        opening = partial(open_database, folder, known, mounted, checkpoint_pages)
        return cls(await asyncio.to_thread(opening), clock)

    @property
    def is_read_only(self) -> bool:
        """Whether every write is refused."""
        return self._writer is None

    @property
    def commits(self) -> int:
        """How many groups of works were committed."""
        return self._writes.commits if self._writes else 0

    def submit(self, work: Work[T], *, synced: bool = True) -> asyncio.Future[T]:
        """See `Store`."""
        if self._writer is None:
            raise StoreError(
                f"{self.path} is read-only: what is in it can be read; to write, make it and its "
                "folder writable"
            )
        return self._writer.submit(work, synced=synced)

    async def write(self, work: Work[T], *, synced: bool = True) -> T:
        """See `Store`."""
        return await self.submit(work, synced=synced)

    async def read(self, work: Work[T]) -> T:
        """See `Store`."""
        return await self._reader.submit(work)

    def rung(self) -> int | None:
        """See `Store`."""
        return self._bell.rung()

    async def aclose(self) -> None:
        """See `Store`."""
        await self._reader.aclose()
        if self._writer is not None:
            await self._writer.aclose()


@asynccontextmanager
async def open_store(
    folder: Path,
    schemas: Schemas = _NO_SCHEMAS,
    *,
    clock: Callable[[], float] = time.time,
    mountinfo: str | None = None,
    checkpoint_pages: int = CHECKPOINT_PAGES,
) -> AsyncGenerator[SqliteStore]:
    """`SqliteStore.open` as a context manager."""
    store = await SqliteStore.open(
        folder, schemas, clock=clock, mountinfo=mountinfo, checkpoint_pages=checkpoint_pages
    )
    try:
        yield store
    finally:
        await store.aclose()
