"""A thread that does jobs for event loops, in groups: everything that waits is one group."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from chogori.errors import StoreError
from chogori.store.store import Work

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """A piece of work, who waits for it, and, once it was done, what came of it."""

    work: Work[T]
    future: asyncio.Future[T]
    result: T | None = None
    error: BaseException | None = None
    synced: bool = True
    """Whether the outcome must be safe though the power fails."""
    rings: bool = False
    """Whether the work asked that every process see that something was posted."""
    scrubs: bool = False
    """Whether the work asked that what it deleted be taken out of every file."""

    def fail(self, error: BaseException) -> None:
        """Have `error` raised to whoever waits."""
        if isinstance(error, StopIteration):  # which no future may hold
            error = RuntimeError("a work raised StopIteration")
        self.error = error


class Worker:
    """The thread. It ends with `aclose`, or with the process, which it does not keep alive."""

    def __init__(
        self, name: str, run: Callable[[list[Job[Any]]], None], end: Callable[[], None]
    ) -> None:
        """`run` does a group and leaves an outcome in each of its jobs; `end` is called last."""
        self._run = run
        self._end = end
        self._queue: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._lock = Lock()
        self._is_closed = False
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work[T], *, synced: bool = True) -> asyncio.Future[T]:
        """Have `work` done after all that was submitted before. Raises `StoreError` if closed."""
        job = Job(work, asyncio.get_running_loop().create_future(), synced=synced)
        with self._lock:
            if self._is_closed:
                raise StoreError("the store is closed: nothing can be read or written any more")
            self._queue.put(job)
        return job.future

    async def aclose(self) -> None:
        """Wait until everything submitted is done and the thread has ended."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        is_open = True
        while is_open:
            waiting = [self._queue.get()]
            waiting += [self._queue.get() for _ in range(self._queue.qsize())]
            group = [job for job in waiting if job is not None]
            is_open = len(group) == len(waiting)
            if group:
                self._run(group)
                _settle(group)
        self._end()


def _settle(group: list[Job[Any]]) -> None:
    """Tell everybody who waits, waking each event loop once."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Job[Any]]] = defaultdict(list)
    for job in group:
        by_loop[job.future.get_loop()].append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_tell, jobs)
        except RuntimeError:  # the loop is closed, so nobody waits any more
            continue


def _tell(jobs: list[Job[Any]]) -> None:
    for job in jobs:
        if job.future.done():  # cancelled
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
