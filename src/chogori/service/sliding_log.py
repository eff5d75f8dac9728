"""At most so many requests in any stretch of time, exactly: the instants of the last ones are kept.

A state machine without a clock: times are nanoseconds of any clock that does not go back.
"""

from __future__ import annotations

from collections import deque

SECOND_NS = 1_000_000_000


class SlidingLog:
    """What was admitted in the last `seconds`; `limit` may be changed at any time."""

    __slots__ = ("_admitted", "_span_ns", "limit")

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self._span_ns = seconds * SECOND_NS
        self._admitted: deque[int] = deque()

    def wait(self, now: int) -> int:
        """Nanoseconds until one more may be admitted; 0: now."""
        over = self.count(now) - self.limit
        return 0 if over < 0 else self._admitted[over] + self._span_ns - now

    def take(self, now: int) -> None:
        """Admit one."""
        self._admitted.append(now)

    def count(self, now: int) -> int:
        """How many were admitted in the stretch that ends now."""
        admitted, since = self._admitted, now - self._span_ns
        while admitted and admitted[0] <= since:
            admitted.popleft()
        return len(admitted)

    def reset(self, now: int) -> int:
        """Nanoseconds until all of it is free again."""
        return self._admitted[-1] + self._span_ns - now if self.count(now) else 0
