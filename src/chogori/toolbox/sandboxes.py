"""The sandboxes of one agent: one for each run, shared by the tools that work in it.

`python` and the file tools meet there, under one policy. All sandboxes share one pool and its
memory; one that only answered about files can always be set aside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chogori.chat import ToolContext, ToolError
from chogori.errors import SandboxUnavailable
from chogori.toolbox.places import Reach
from chogori.toolbox.sandbox import Launcher, Places, PythonPool, PythonSession


class Sandboxes:
    """Each is started when it is first needed. `aclose` them."""

    def __init__(self, reach: Reach, launcher: Launcher) -> None:
        self.reach = reach
        self.launcher = launcher
        self._pool = PythonPool(launcher=launcher)
        self._sessions: dict[str, PythonSession] = {}

    async def aclose(self) -> None:
        """End every sandbox."""
        self._sessions.clear()
        await self._pool.aclose()

    async def end(self, run_id: str) -> None:
        """End the sandbox of a run that is over; its folder stays."""
        if (session := self._sessions.pop(run_id, None)) is not None:
            await self._pool.close_session(session)

    async def start(self, run_id: str) -> None:
        """Start the Python of a run before it is needed: while the model still reads."""
        await self.session(run_id).start()

    def session(self, run_id: str, out: Path | None = None) -> PythonSession:
        """The Python of a run, in the run's sandbox."""
        if run_id not in self._sessions:
            self._sessions[run_id] = self._pool.session(self.reach.policy(run_id, out))
        return self._sessions[run_id]

    def places(self, run_id: str, out: Path | None = None) -> Places:
        """Where the folders of a run are, for a program of the run."""
        return self.launcher.places(self.reach.policy(run_id, out))

    async def ask(
        self, context: ToolContext, request: dict[str, Any], seconds: float
    ) -> dict[str, Any] | None:
        """What the run's sandbox answers about files: see `inside/files.py`, and `Workshop.ask`.

        The answer is unchecked. Raises `ToolError` where there is none for a reason.
        """
        folders = self._folders(self.places(context.run_id, context.out))
        try:
            session = self.session(context.run_id, context.out)
            return await session.ask({**request, "folders": folders}, seconds)
        except TimeoutError:
            raise ToolError(
                f"{request['op']} did not finish within {seconds:g} seconds; ask for less"
            ) from None
        except SandboxUnavailable as error:
            raise ToolError(str(error)) from None

    def _folders(self, places: Places) -> dict[str, Any]:
        has_work = self.reach.workspace is not None
        return {
            "roots": {**({"work": places.work} if has_work else {}), "out": places.out},
            "write": self.reach.write,
            "home": "/work" if has_work else "/out",
        }
