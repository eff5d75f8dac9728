"""Who waits, and for how long, before an endpoint is asked.

One limiter stands for one endpoint and key. A client enters it for each request and tells it
every refusal; what it makes of them (how many at once, how long to hold back) is its own affair.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from chogori.chat.turns import Turn, Turns
from chogori.chat.window import REFUSALS, Window


class Limiter(Protocol):
    """Owns waiting."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn and hold it."""
        ...

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        """The endpoint refused (429, 503, ...); nobody else should ask before it would answer.
        Told by whoever was refused, right after giving the turn back."""
        ...

    def answered(self, first_token_seconds: float) -> None:
        """The endpoint answered, after so long. Told while the turn is held."""
        ...


@runtime_checkable
class TakesLimiter(Protocol):
    """A `ChatModel` of an endpoint that others ask too."""

    def limited_by(self, limiter: Limiter) -> None:
        """Have `limiter` give the turns, unless another was chosen."""
        ...


class FixedLimiter:
    """At most `width` requests at once; a refusal with a time holds everybody back that long."""

    def __init__(self, width: int = 64, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns = Turns(lambda: width, clock)
        self._clock = clock

    def slot(self) -> AbstractAsyncContextManager[None]:
        return _Slot(self._turns)

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        if retry_after_seconds:
            self._turns.close_until(self._clock() + retry_after_seconds)

    def answered(self, first_token_seconds: float) -> None:
        """Nothing to learn: the width is fixed."""


class LearningLimiter:
    """Finds out how many requests at once an endpoint takes (`window`), and gives turns to all on
    whose behalf it is asked alike (`turns`)."""

    def __init__(
        self, window: Window | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._window = window or Window()
        self._turns = Turns(lambda: self._window.width, clock)
        self._clock = clock
        self._refused_by = 0
        """How many turns had been taken when a refusal was last heard of."""

    @property
    def width(self) -> int:
        """How many requests may be under way at once, as far as is known."""
        return max(1, int(self._window.width))

    def slot(self) -> AbstractAsyncContextManager[None]:
        return _Slot(self._turns)

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        now, turns = self._clock(), self._turns
        if retry_after_seconds:
            turns.close_until(now + retry_after_seconds)
        if status in REFUSALS:
            is_new = turns.left > self._refused_by
            self._window.refused(
                now,
                turns.left_after,
                inside=turns.inside,
                is_new=is_new,
                after_seconds=retry_after_seconds,
            )
            if is_new:
                self._refused_by = turns.taken
            if not turns.inside:
                turns.close_until(now + self._window.pause_seconds)

    def answered(self, first_token_seconds: float) -> None:
        turns = self._turns
        self._window.answered(
            self._clock(), first_token_seconds, inside=turns.inside, is_full=turns.is_full
        )
        turns.serve()


class _Slot(AbstractAsyncContextManager[None]):
    """A turn. A class of its own: one is held for every request."""

    __slots__ = ("_turn", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._turn: Turn | None = None

    async def __aenter__(self) -> None:
        self._turn = await self._turns.take()

    async def __aexit__(self, *why: object) -> None:
        if self._turn is not None:
            self._turns.give_back(self._turn)
