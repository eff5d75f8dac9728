"""The clock of a run: seconds since some time or other, those left out in which nobody drove it.

What it says is recorded, and said again to a run that is driven again, so that it decides as it
did. After that it goes on from the last moment of which the records tell: where the loop waits for
hours, for all of its subagents, what is recorded meanwhile says how long it has not looked at the
clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chogori.agent.journal import Entry


class Clock:
    """Made when somebody begins to drive a run; `past` is what was recorded of it."""

    def __init__(
        self, past: Sequence[Entry] = (), *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._again = deque(t for entry in past for t in entry.fields.get("clock", ()))
        self._read: list[float] = []
        self._last: float | None = None
        self._shift = 0.0
        if self._again:
            last = max(n for n, entry in enumerate(past) if entry.fields.get("clock"))
            since = max((entry.fields.get("unread", 0.0) for entry in past[last:]), default=0.0)
            self._shift = self._again[-1] + since - now()

    def __call__(self) -> float:
        if self._again:
            said = self._again.popleft()
        else:
            said = self._now() + self._shift
            self._read.append(said)
        self._last = said
        return said

    @property
    def ago(self) -> float:
        """Seconds since what it said last."""
        return 0.0 if self._last is None else self._now() + self._shift - self._last

    @property
    def is_read(self) -> bool:
        """Whether it said anything that was not taken yet."""
        return bool(self._read)

    def taken(self) -> list[float]:
        """What it said anew since this was asked for."""
        taken, self._read = self._read, []
        return taken
