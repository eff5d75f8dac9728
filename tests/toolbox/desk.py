"""The tools of one run, called as an agent calls them: with JSON, in a sandbox that stays."""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
from sandbox_harness import BWRAPS

from chogori.chat import Tool, ToolCall, ToolContext, ToolError, ToolResult, text_of
from chogori.toolbox.files import file_tools
from chogori.toolbox.places import Reach
from chogori.toolbox.programs import program_tools
from chogori.toolbox.sandbox import Bwrap, Landlock, Launcher, Unsafe
from chogori.toolbox.sandboxes import Sandboxes

LAUNCHERS: list[Launcher] = [*(Bwrap(Path(path)) for path in BWRAPS[:1]), Landlock(), Unsafe()]
IDS = [launcher.name.partition(" ")[0] for launcher in LAUNCHERS]


class Desk:
    """The tools on two folders, and a way to call them."""

    def __init__(self, home: Path, sandboxes: Sandboxes, **options: int) -> None:
        self.work, self.out = home / "work", home / "out"
        self.sandboxes = sandboxes
        tools = [*program_tools(sandboxes), *file_tools(sandboxes, **options)]
        self.tools: dict[str, Tool] = {tool.spec.name: tool for tool in tools}

    @property
    def real_out(self) -> str:
        """What a program calls /out."""
        return self.sandboxes.places("r").out

    def context(self, key: str = "k") -> ToolContext:
        return ToolContext("r", ToolCall("c", "t", "{}"), key=key)

    async def call(self, name: str, **arguments: Any) -> str:
        return text_of((await self.result(name, **arguments)).content)

    async def result(self, name: str, **arguments: Any) -> ToolResult:
        return await self.tools[name].call(orjson.dumps(arguments).decode(), self.context())

    async def refused(self, name: str, **arguments: Any) -> str:
        with pytest.raises(ToolError) as refused:
            await self.call(name, **arguments)
        assert str(self.work.parent) not in str(refused.value)
        return str(refused.value)


class Office:
    """Desks with one launcher. Those that may do the same share a sandbox: it takes a while."""

    def __init__(self, home: Path, launcher: Launcher) -> None:
        self.home = home
        self.launcher = launcher
        self._sandboxes: dict[bool, Sandboxes] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *why: object) -> None:
        await self._stack.aclose()

    def desk(self, *, write: bool = True, **options: int) -> Desk:
        """A desk with empty folders, which are those of the desk before."""
        home = self.home / ("writable" if write else "read-only")
        for folder in (home / "work", home / "out"):
            folder.mkdir(parents=True, exist_ok=True)
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()
        if write not in self._sandboxes:
            reach = Reach(home / "work", lambda run: home / "out", write)
            self._sandboxes[write] = Sandboxes(reach, self.launcher)
            self._stack.push_async_callback(self._sandboxes[write].aclose)
        return Desk(home, self._sandboxes[write], **options)
