"""`python` and `shell`: programs that a model writes, run in the sandbox.

Each run has a Python of its own that remembers; all of them share one pool and its memory. A
program that does not parse is told to the model without being run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from chogori.chat import Tool, ToolContext, ToolError, ToolResult, content_of, tool
from chogori.toolbox.sandbox import (
    Cell,
    Launcher,
    Limits,
    Policy,
    PythonPool,
    PythonSession,
    Unsafe,
    choose,
    run,
)

PYTHON_SECONDS = 60
SHELL_SECONDS = 120
MAX_CHARS = 6_000
"""How much of an output the model is told; the whole is kept in /out."""

_PYTHON = Field(json_schema_extra={"contentMediaType": "text/x-python"})
_SHELL = Field(json_schema_extra={"contentMediaType": "text/x-shellscript"})


class Programs:
    """The programs of every run of one agent. `aclose` it."""

    def __init__(
        self,
        workspace: Path | None,
        out: Callable[[str], Path],
        *,
        write: bool = False,
        launcher: Launcher | None = None,
    ) -> None:
        self._workspace = workspace
        self._out = out
        self._write = write
        self._launcher = launcher
        self._pool = PythonPool(launcher=launcher)
        self._sessions: dict[str, PythonSession] = {}

    async def aclose(self) -> None:
        """End every sandbox."""
        self._sessions.clear()
        await self._pool.aclose()

    async def start(self, run_id: str) -> None:
        """Start the Python of a run before it is needed: while the model still reads."""
        await self._session(run_id, None).start()

    def tools(self) -> list[Tool]:
        """`python` and `shell`."""

        @tool(effect="once", approval=False, touches=_touches_python)
        async def python(
            code: Annotated[str, "The program.", _PYTHON], context: ToolContext
        ) -> ToolResult:
            """Run a Python program; variables are kept, and what it prints is shown to you.
            It sees your files in /work (the current folder) and may write to /out. There is no
            network. Figures are saved to /out. The standard library, numpy, pandas, sympy and
            matplotlib are there."""
            session = self._session(context.run_id, context.out)
            cell = await session.run(code, PYTHON_SECONDS)
            return _told(cell, "/out")

        @tool(effect="once", approval=False, touches=_touches_shell)
        async def shell(
            command: Annotated[str, "The script.", _SHELL], context: ToolContext
        ) -> ToolResult:
            """Run a bash script; what it prints is shown to you. It sees your files in /work (the
            current folder) and may write to /out. There is no network."""
            return await self._shell(command, context)

        return [python, shell]

    async def _shell(self, command: str, context: ToolContext) -> ToolResult:
        outcome = await run(
            ["/bin/bash", "-c", command],
            self._policy(context.run_id, context.out),
            Limits(),
            SHELL_SECONDS,
            launcher=self._launcher,
            head=MAX_CHARS // 2,
            tail=MAX_CHARS // 2,
        )
        why = ""
        if outcome.timed_out:
            why = f"stopped after {SHELL_SECONDS} seconds"
        elif outcome.killed_by_memory or outcome.killed_by_processes:
            what = "memory" if outcome.killed_by_memory else "processes"
            why = f"killed: it used too much {what}"
        elif outcome.exit_code:
            why = f"exit code {outcome.exit_code}"
        text = outcome.output.rstrip() or ("" if why else "(it printed nothing)")
        return ToolResult(content_of("\n".join(filter(None, [text, why]))), failed=bool(why))

    def _session(self, run_id: str, out: Path | None) -> PythonSession:
        if run_id not in self._sessions:
            self._sessions[run_id] = self._pool.session(self._policy(run_id, out))
        return self._sessions[run_id]

    def _policy(self, run_id: str, out: Path | None) -> Policy:
        return Policy(
            out=out or self._out(run_id), workspace=self._workspace, work_writable=self._write
        )


async def launcher_or_refusal(*, unsafe: bool = False) -> Launcher:
    """The best launcher that works here. Raises `SandboxUnavailable`."""
    return Unsafe() if unsafe else await asyncio.to_thread(choose)


def _touches_python(code: str) -> list[str]:
    return ["python"]


def _touches_shell(command: str) -> list[str]:
    return ["shell"]


def _told(cell: Cell, out: str) -> ToolResult:
    figures = [f"{out}/{path.name}" for path in cell.figures]
    lines = [
        cell.output.rstrip(),
        cell.error or "",
        f"[saved: {', '.join(figures)}]" if figures else "",
        f"[{cell.note}]" if cell.note else "",
    ]
    text = "\n".join(filter(None, lines))
    if not text:
        raise ToolError("the program printed nothing; print the result")
    effect = "once" if cell.files_changed else "pure"
    extra = {"figures": [str(path) for path in cell.figures]}
    return ToolResult(content_of(text), failed=cell.error is not None, effect=effect, extra=extra)
