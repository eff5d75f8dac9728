"""`python` and `shell`: programs that a model writes, run in the sandbox of the run.

Each run has a Python of its own that remembers. What a model is told of folders is what a program
finds there: /work and /out where the sandbox has such folders, else the variables that name them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field

from chogori.chat import Tool, ToolContext, ToolError, ToolResult, content_of, tool
from chogori.chat.tools import PastCall
from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox import (
    Cell,
    Launcher,
    Limits,
    Outcome,
    PastCell,
    Policy,
    Unsafe,
    choose,
    run,
)
from chogori.toolbox.sandboxes import Sandboxes

PYTHON_SECONDS = 60
SHELL_SECONDS = 120
MAX_CHARS = 6_000
"""How much of an output the model is told; the whole is kept in /out."""

_PYTHON = Field(json_schema_extra={"contentMediaType": "text/x-python"})
_SHELL = Field(json_schema_extra={"contentMediaType": "text/x-shellscript"})


async def launcher_or_refusal(*, unsafe: bool = False) -> Launcher:
    """The best launcher that works here. Raises `SandboxUnavailable`."""
    return Unsafe() if unsafe else await asyncio.to_thread(choose)


def program_tools(sandboxes: Sandboxes) -> list[Tool]:
    """`python` and `shell` in the runs' sandboxes."""

    def restore_python(calls: Sequence[PastCall], context: ToolContext) -> None:
        # A call that failed may have failed after its code, which then did not.
        past = [
            PastCell(code, None if call.failed else False, call.seconds)
            for call in calls
            if (code := _code_in(call.arguments)) is not None
        ]
        pure = all(call.effect == "pure" for call in calls if _code_in(call.arguments) is not None)
        sandboxes.session(context.run_id, context.out).remember(past, pure=pure)

    async def python(
        code: Annotated[str, "The program.", _PYTHON], context: ToolContext
    ) -> ToolResult:
        session = sandboxes.session(context.run_id, context.out)
        try:
            cell = await session.run(code, PYTHON_SECONDS)
        except SandboxUnavailable as error:
            raise ToolError(str(error)) from None
        return _told_of_cell(cell, sandboxes.places(context.run_id, context.out).out)

    async def shell(
        command: Annotated[str, "The script.", _SHELL], context: ToolContext
    ) -> ToolResult:
        policy = sandboxes.reach.policy(context.run_id, context.out)
        try:
            outcome = await run(
                ["/bin/bash", "-c", command],
                policy,
                Limits(),
                SHELL_SECONDS,
                launcher=sandboxes.launcher,
                head=MAX_CHARS // 2,
                tail=MAX_CHARS // 2,
            )
        except SandboxUnavailable as error:
            raise ToolError(str(error)) from None
        return _told_of_script(outcome)

    told = _Surroundings.of(sandboxes)
    python.__doc__ = (
        "Run a Python program; variables are kept, and what it prints is shown to you.\n"
        f"{told.folders} {told.network}Figures are saved to {told.out}. "
        "The standard library, numpy, pandas, sympy and matplotlib are there."
    )
    shell.__doc__ = (
        f"Run a bash script; what it prints is shown to you. {told.folders} {told.network}".rstrip()
    )
    unasked = partial(tool, effect="once", approval=False)
    return [
        unasked(python, touches=_touches_python, restore=restore_python),
        unasked(shell, touches=_touches_shell),
    ]


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a program finds, as far as it is the same in every run of an agent."""

    folders: str
    out: str
    network: str

    @classmethod
    def of(cls, sandboxes: Sandboxes) -> _Surroundings:
        launcher = sandboxes.launcher
        has_own = launcher.places(Policy(out=Path("/elsewhere"))).out == "/out"
        work, out = ("/work", "/out") if has_own else ("$WORK", "$OUT")
        if sandboxes.reach.workspace is None:
            folders = f"The current folder is {out}."
            called = "it /out"
        else:
            folders = f"It sees your files in {work} (the current folder) and may write to {out}."
            called = "them /work and /out"
        if not has_own:
            folders += f" (The file tools call {called}.)"
        return cls(folders, out, "" if isinstance(launcher, Unsafe) else "There is no network. ")


def _touches_python(code: str) -> list[str]:
    return ["python"]


def _touches_shell(command: str) -> list[str]:
    return ["shell"]


def _code_in(arguments: str) -> str | None:
    """The program in a call; None in one that never ran."""
    try:
        values: Any = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    match values:
        case {"code": str(code), **rest} if not rest:
            return code
        case _:
            return None


def _told_of_cell(cell: Cell, out: str) -> ToolResult:
    figures = [f"{out}/{path.name}" for path in cell.figures]
    lines = [
        cell.output.rstrip(),
        cell.error or "",
        f"[saved: {', '.join(figures)}]" if figures else "",
        f"[{cell.note}]" if cell.note else "",
    ]
    text = "\n".join(filter(None, lines))
    return ToolResult(
        content_of(text or "the program printed nothing; print the result"),
        failed=cell.error is not None or not text,
        effect="pure" if cell.is_pure else "once",
        extra={"figures": [str(path) for path in cell.figures]},
    )


def _told_of_script(outcome: Outcome) -> ToolResult:
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
