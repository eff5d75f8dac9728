"""The events of an orchestrator, and between them what its subagents tell.

The orchestrator's generator is asked for its next event when the consumer asks for more, and not
before: whoever has heard enough and closes the stream stops the run there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import get_args

from chogori.chat import Delta, Event, FromSubagent

_DELTAS: tuple[type, ...] = get_args(Delta)


class Beside:
    """See the module's docstring."""

    def __init__(self, *, is_watched: bool) -> None:
        self._is_watched = is_watched
        self._told: deque[FromSubagent] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._asking: asyncio.Timeout | None = None
        self._error: Exception | None = None

    def tell(self, run_id: str, name: str, event: Event) -> None:
        """Something happened in a subagent's run. Deltas of hundreds nobody reads."""
        if self._is_watched and not isinstance(event, _DELTAS):
            self._told.append(FromSubagent(run_id, name, event))
            self._woken()

    def end(self, error: Exception) -> None:
        """End the leg: `error` is raised to whoever listens. Once; what is said while it ends is
        not heard."""
        if self._error is not None:
            return
        self._error = error
        self._woken()
        if self._asking is not None:
            self._asking.reschedule(asyncio.get_running_loop().time())

    def merge(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """`events`, and what is told meanwhile."""
        self._error = None
        return self._merged(events) if self._is_watched else self._alone(events)

    async def _alone(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """Nobody is told anything else, so that no event needs a task of its own."""
        while self._error is None:
            try:
                async with asyncio.timeout(None) as self._asking:
                    event = await anext(events, None)
            except TimeoutError:
                if self._error is None:  # it is one of the run's own
                    raise
                break
            finally:
                self._asking = None
            if event is None:
                return
            yield event
        raise self._error

    async def _merged(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        following = self._follow(events)
        try:
            while True:
                while self._told:
                    yield self._told.popleft()
                if self._error is not None:
                    raise self._error
                if not following.done():
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                elif (event := following.result()) is None:
                    return
                else:
                    yield event
                    following = self._follow(events)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _follow(self, events: AsyncGenerator[Event]) -> asyncio.Task[Event | None]:
        async def follow() -> Event | None:
            return await anext(events, None)

        task = asyncio.create_task(follow())
        task.add_done_callback(lambda _: self._woken())
        return task

    def _woken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
