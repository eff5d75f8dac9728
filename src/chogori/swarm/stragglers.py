"""Stragglers: tasks in whose runs nothing happens any more, while others like them have ended.

How long is too long is learnt from the tasks that answered: several times the longest silence that
is usual among them. A long task is no straggler, as long as something happens in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from chogori.swarm.task import Progress

ENOUGH = 3
"""So many must have answered before anything is too long."""
TIMES = 5.0
"""The longest silence that is usual, so many times, is too long."""


@dataclass(slots=True)
class _Watched:
    progress: Progress
    hang: Callable[[], None] | None


class Stragglers:
    """See the module's docstring. Looks only while somebody is at work."""

    def __init__(self, patience_seconds: float) -> None:
        """Less than that is never too long."""
        self._least = patience_seconds
        self._usual: list[float] = []
        self._watched: dict[int, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def patience(self) -> float | None:
        """How long is too long, if that is known."""
        if len(self._usual) < ENOUGH:
            return None
        return max(self._least, TIMES * median(self._usual))

    @contextmanager
    def watching(self, progress: Progress, hang: Callable[[], None]) -> Generator[None]:
        """`hang` is called, once, if nothing happens for too long in here."""
        self._watched[id(progress)] = _Watched(progress, hang)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            del self._watched[id(progress)]
            if not self._watched:
                self._looking.cancel()
                self._looking = None

    def answered(self, progress: Progress) -> None:
        """One has answered, by itself."""
        self._usual.append(progress.longest)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._least / 4)
            now, patience = time.monotonic(), self.patience
            for watched in list(self._watched.values()):
                silent = now - watched.progress.heard
                if patience is not None and silent > patience and watched.hang is not None:
                    hang, watched.hang = watched.hang, None
                    hang()
