"""Who begins when. At most `width` subagents of a swarm run at once; requests wait elsewhere.

How many requests an endpoint is sent at once is its limiter's affair: here only the beginning of a
task waits. Of those that wait, the one at the head of the longest chain of work begins first: tasks
whose followers are known (`after`) before those that nothing waits for, and long ones before short
ones, so that no long one is left for the end. Those alike begin in the order they came.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager


class Turnstile:
    """Lets so many through at once, the weightiest of those that wait first."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.inside = 0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._came = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not future.done() for _, _, future in self._waiting)

    @asynccontextmanager
    async def turn(self, weight: float = 0.0) -> AsyncGenerator[None]:
        """Wait for a turn and hold it."""
        await self.enter(weight)
        try:
            yield
        finally:
            self.leave()

    async def enter(self, weight: float = 0.0) -> None:
        """Wait for a turn; `leave` gives it back."""
        if self.inside < self.width and not self.waiting:
            self.inside += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._came += 1
        heapq.heappush(self._waiting, (-weight, self._came, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # let in, and gone in the same moment
                self.leave()
            raise

    def leave(self) -> None:
        """Give a turn back."""
        self.inside -= 1
        if self._waiting:
            # Not at once: what waited for the task that has just ended joins the queue first.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._serve)

    def _serve(self) -> None:
        while self._waiting and self.inside < self.width:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                self.inside += 1
                future.set_result(None)


def critical_paths(lengths: Sequence[float], after: Mapping[int, Sequence[int]]) -> list[float]:
    """For each task, the longest chain of work that begins with it; `after` names those before a
    task. Raises `ValueError` where tasks wait for each other in a circle."""
    followers: list[list[int]] = [[] for _ in lengths]
    open_ = [0] * len(lengths)
    for task, before in after.items():
        for each in before:
            followers[each].append(task)
    for each in range(len(lengths)):
        open_[each] = len(followers[each])
    ready = [task for task, count in enumerate(open_) if not count]
    paths, done = list(lengths), 0
    before_of = {task: list(before) for task, before in after.items()}
    while ready:
        task = ready.pop()
        done += 1
        paths[task] += max((paths[each] for each in followers[task]), default=0.0)
        for each in before_of.get(task, ()):
            open_[each] -= 1
            if not open_[each]:
                ready.append(each)
    if done < len(lengths):
        raise ValueError("some tasks wait for each other in a circle, so none of them can begin")
    return paths
