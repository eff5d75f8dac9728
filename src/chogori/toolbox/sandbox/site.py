"""Where one run's workshop stands: started when it is first needed, and again after it was ended.

Whoever needs it asks for it each time: a sandbox may have been killed, or set aside to make room.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from chogori.toolbox.sandbox.choose import choose
from chogori.toolbox.sandbox.launcher import Launcher
from chogori.toolbox.sandbox.policy import Limits, Policy
from chogori.toolbox.sandbox.workshop import Workshop


class Site:
    """At most one workshop at a time, with one policy."""

    def __init__(
        self,
        policy: Policy,
        limits: Limits,
        launcher: Launcher | None,
        admit: Callable[[], Awaitable[None]],
    ) -> None:
        """`admit` is awaited before a sandbox is started."""
        self.policy = policy
        self.limits = limits
        self.workshop: Workshop | None = None
        self.asked = 0
        """Requests about files that have no answer yet."""
        self._launcher = launcher
        self._admit = admit
        self._starting = asyncio.Lock()

    @property
    def root_pid(self) -> int | None:
        """The sandbox's first process, on the host; None while there is none."""
        return None if self.workshop is None else self.workshop.running.process.pid

    async def launcher(self) -> Launcher:
        """The one that was given, or the best that works here. Raises SandboxUnavailable."""
        if self._launcher is None:
            self._launcher = await asyncio.to_thread(choose)
        return self._launcher

    async def open(self) -> Workshop:
        """The workshop there is, or a new one."""
        async with self._starting:
            if self.workshop is not None and not self.workshop.alive:
                await self.end()
            if self.workshop is None:
                launcher = await self.launcher()
                await self._admit()
                self.workshop = await Workshop.start(launcher, self.policy, self.limits)
            return self.workshop

    async def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """See `Workshop.ask`. Does not wait for cells, and starts a sandbox where there is none."""
        self.asked += 1
        try:
            workshop = await self.open()
            return await workshop.ask(request, seconds)
        finally:
            self.asked -= 1

    async def end(self) -> None:
        """Give everything back; who is being answered meanwhile gets no answer."""
        workshop, self.workshop = self.workshop, None
        if workshop is not None:
            await workshop.end()
