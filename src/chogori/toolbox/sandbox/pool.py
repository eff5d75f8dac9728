"""Many Python sessions under one memory budget.

Before a sandbox is started there must be room for it. If there is not, the session idle longest is
set aside, but only if that loses nothing: all its cells were pure, and it rebuilds its state when
it is used again. If the sessions in the way are at work, the newcomer waits for them.
"""

import asyncio

from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox import tree
from chogori.toolbox.sandbox.launcher import Launcher
from chogori.toolbox.sandbox.policy import MIB, Limits, Policy
from chogori.toolbox.sandbox.python import PythonSession


class PythonPool:
    """Makes sessions, and keeps what they hold together below `memory_bytes`. `aclose` it."""

    def __init__(
        self,
        *,
        memory_bytes: int = 4096 * MIB,
        reserve_bytes: int = 256 * MIB,
        limits: Limits | None = None,
        launcher: Launcher | None = None,
    ) -> None:
        """`reserve_bytes` is what a session about to start is taken to need."""
        self._memory_bytes = memory_bytes
        self._reserve_bytes = reserve_bytes
        self._limits = limits
        self._launcher = launcher
        self._sessions: list[PythonSession] = []
        self._admitting = asyncio.Lock()
        self._released = asyncio.Event()

    def session(self, policy: Policy) -> PythonSession:
        """A new session; it takes memory only while it is in use or nobody needs the room."""
        session = PythonSession(
            policy,
            limits=self._limits,
            launcher=self._launcher,
            admit=self._admit,
            released=self._released.set,
        )
        self._sessions.append(session)
        return session

    async def close_session(self, session: PythonSession) -> None:
        """End a session for good."""
        if session in self._sessions:
            self._sessions.remove(session)
        await session.aclose()
        self._released.set()

    async def aclose(self) -> None:
        """End all sessions."""
        for session in list(self._sessions):
            await self.close_session(session)

    async def _admit(self, newcomer: PythonSession) -> None:
        async with self._admitting:
            while True:
                self._released.clear()
                living = [each for each in self._sessions if each is not newcomer and each.root_pid]
                held = await asyncio.to_thread(_held, [each.root_pid or 0 for each in living])
                if not living or held + self._reserve_bytes <= self._memory_bytes:
                    return
                idle = [each for each in living if each.can_be_set_aside]
                if idle:
                    await min(idle, key=lambda each: each.used_at).set_aside()
                elif any(each.busy for each in living):
                    await self._released.wait()
                else:
                    raise SandboxUnavailable(
                        f"{len(living)} Python sessions hold {held // MIB} MiB of "
                        f"{self._memory_bytes // MIB} MiB and none can be set aside, since each "
                        "has changed files; close one or raise the pool's memory"
                    )


def _held(roots: list[int]) -> int:
    return sum(tree.shared_fairly(root) for root in roots)
