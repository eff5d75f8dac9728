"""The one process that writes: an actor beside the database, and a `Store` that works through it.

A work is a function of a transaction, so it travels as it is. A subagent's works go out one group
at a time, in their order, and the actor commits whatever groups have come from wherever as one; so
a subagent on another machine waits for the disk as one in this process does. The actor also passes
on what the orchestrator has to say to a subagent: what it may use up, and that it is to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from chogori.errors import StoreError
from chogori.store import SqliteStore, Work

T = TypeVar("T")
Limits = Mapping[str, Any]
"""A budget, as `asdict` tells it."""
Outcome = tuple[Any, BaseException | None]


class Told:
    """What was said to one subagent."""

    def __init__(self) -> None:
        self.stops = asyncio.Event()
        self._heard = 0
        self._limits: Limits = {}
        self._news = asyncio.Condition()

    async def allow(self, heard: int, limits: Limits) -> None:
        """See `JournalActor.allow`."""
        async with self._news:
            self._heard, self._limits = heard, limits
            self._news.notify_all()

    async def allowed(self, told: int) -> Limits:
        """See `JournalActor.allowed`."""
        async with self._news:
            await self._news.wait_for(lambda: self._heard >= told)
            return self._limits


class JournalActor:
    """See the module's docstring. Its methods are called from everywhere, many at a time."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._opening: asyncio.Task[SqliteStore] | None = None
        self._told: dict[str, Told] = {}

    async def write(self, works: Sequence[tuple[Work[Any], bool]]) -> list[Outcome]:
        """Do `works`, each by itself and told whether it is to be synced; the outcome of each."""
        store = await self._store()
        begun = [store.submit(work, synced=synced) for work, synced in works]
        done = await asyncio.gather(*begun, return_exceptions=True)
        return [_outcome(each) for each in done]

    async def read(self, work: Work[Any]) -> Outcome:
        """Do a work that only reads."""
        store = await self._store()
        [done] = await asyncio.gather(store.read(work), return_exceptions=True)
        return _outcome(done)

    async def begin(self, run_id: str) -> None:
        """A task is about to be sent out; nothing that was said to an earlier one holds for it."""
        self._told[run_id] = Told()

    async def allow(self, run_id: str, heard: int, limits: Limits) -> None:
        """What the subagent may use up, now that `heard` of its events are accounted for."""
        await self._told[run_id].allow(heard, limits)

    async def allowed(self, run_id: str, told: int) -> Limits:
        """The same, once `told` events are accounted for."""
        return await self._told[run_id].allowed(told)

    async def stop(self, run_id: str) -> None:
        """The subagent is to stop where it is."""
        self._told[run_id].stops.set()

    async def stopped(self, run_id: str) -> None:
        """Wait until it is to stop."""
        await self._told[run_id].stops.wait()

    async def _store(self) -> SqliteStore:
        if self._opening is None:
            self._opening = asyncio.ensure_future(SqliteStore.open(self._folder))
        return await asyncio.shield(self._opening)


class RemoteStore:
    """A `Store`, elsewhere."""

    def __init__(self, journal: Any) -> None:
        """`journal` is the handle of a `JournalActor`."""
        self._journal = journal
        self._waiting: list[tuple[Work[Any], bool, asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None

    def submit(self, work: Work[T], *, synced: bool = True) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, synced, future))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send())
        return future

    async def write(self, work: Work[T], *, synced: bool = True) -> T:
        return await self.submit(work, synced=synced)

    async def read(self, work: Work[T]) -> T:
        # What was submitted before is to be seen.
        while self._sending is not None and not self._sending.done():
            await asyncio.shield(self._sending)
        try:
            result, error = await self._journal.read.remote(work)
        except Exception as broken:
            raise _gone(broken) from broken
        if error is not None:
            raise error
        return result

    def rung(self) -> int | None:
        return None

    async def aclose(self) -> None:
        while self._sending is not None and not self._sending.done():
            await asyncio.shield(self._sending)

    async def _send(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            outcomes: Sequence[Outcome]
            try:
                works = [(work, synced) for work, synced, _ in group]
                outcomes = await self._journal.write.remote(works)
            except Exception as broken:  # whatever it is, those who wait are told
                outcomes = [(None, _gone(broken))] * len(group)
            for (*_, future), outcome in zip(group, outcomes, strict=True):
                _settle(future, *outcome)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # somebody may have stopped waiting; that is no news


def _outcome(done: Any) -> Outcome:
    return (None, done) if isinstance(done, BaseException) else (done, None)


def _gone(broken: Exception) -> StoreError:
    return StoreError(
        f"the process that keeps the journal cannot be reached ({type(broken).__name__}); what it "
        "has written is safe: chogori runs resume goes on from there"
    )
