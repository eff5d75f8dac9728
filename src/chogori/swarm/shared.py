"""Results that are shared: what one subagent has read, no other reads again.

Only calls of tools that are `pure` are shared, and calls that are under way are joined. A call that
may have changed something (any that was not pure after all) ends the life of all results so far.
What lies in a run's own folder (/out), and a result that sends its reader there, is its own and is
not shared. Each run records the result it
was given, and from whom; a swarm that goes on knows again what those records say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from chogori.agent.guards import canonical
from chogori.chat import (
    Content,
    Effect,
    Tool,
    ToolCall,
    ToolContext,
    ToolFinished,
    ToolResult,
    ToolSpec,
)
from chogori.chat.tools import PastCall, Restores

MOST_CHARS = 64_000_000
"""The results that came first are forgotten beyond it."""
OWN = "/out"


class Results:
    """What calls have brought, by what was called with what."""

    def __init__(self) -> None:
        self._done: dict[str, tuple[ToolResult, str]] = {}
        self._under_way: dict[str, asyncio.Future[tuple[ToolResult, str] | None]] = {}
        self._own: set[str] = set()
        """Calls that bring each run something of its own."""
        self._chars = 0
        self._age = 0
        """How often all was forgotten."""
        self.saved = 0
        """Calls that need not be made."""

    def share(self, tools: Iterable[Tool]) -> list[Tool]:
        """The same tools, which look here first."""
        return [Shared(tool, self) for tool in tools]

    async def call(self, tool: Tool, arguments: str, context: ToolContext) -> ToolResult:
        """The result of a pure call: that of an earlier one, of one under way, or its own."""
        key = canonical(ToolCall("", tool.spec.name, arguments))
        while (found := self._done.get(key)) is None:
            if key in self._own:
                return await tool.call(arguments, context)
            if (under_way := self._under_way.get(key)) is None:
                return await self._make(key, tool, arguments, context)
            found = await asyncio.shield(under_way)
            if found is not None:  # else whoever made it has given up
                break
        self.saved += 1
        result, run_id = found
        return replace(result, extra={**result.extra, "shared_from": run_id})

    async def _make(self, key: str, tool: Tool, arguments: str, context: ToolContext) -> ToolResult:
        future: asyncio.Future[tuple[ToolResult, str] | None]
        future = self._under_way[key] = asyncio.get_running_loop().create_future()
        age, made = self._age, None
        try:
            result = await tool.call(arguments, context)
            if not _is_anybodys(result.content):
                self._own.add(key)
            else:
                made = (result, context.run_id)
                if not result.failed and age == self._age:
                    self._keep(key, result, context.run_id)
            return result
        finally:
            # Whoever has joined makes the call themselves if this one brought them nothing.
            future.set_result(made)
            del self._under_way[key]

    def _keep(self, key: str, result: ToolResult, run_id: str) -> None:
        self._done[key] = (result, run_id)
        self._chars += _chars(result)
        while self._chars > MOST_CHARS and self._done:
            self._chars -= _chars(self._done.pop(next(iter(self._done)))[0])

    def forget(self) -> None:
        """Something may have changed."""
        self._age += 1
        self._done.clear()
        self._chars = 0

    def recall(self, run_id: str, finished: ToolFinished, *, is_shared: bool) -> None:
        """A recorded call, told in the order in which they ended; `is_shared` if its tool is pure
        and anybody's."""
        call = finished.call
        if finished.effect != "pure":
            self.forget()
        elif (
            is_shared
            and not finished.failed
            and OWN not in call.arguments
            and _is_anybodys(finished.content)
        ):
            result = ToolResult(finished.content, extra=finished.extra)
            key = canonical(replace(call, id=""))
            self._keep(key, result, str(finished.extra.get("shared_from", run_id)))


class Shared:
    """A tool whose results are shared."""

    def __init__(self, tool: Tool, results: Results) -> None:
        self.tool = tool
        self._results = results
        self.spec: ToolSpec = tool.spec
        self.effect: Effect = tool.effect
        self.needs_approval = tool.needs_approval
        self.path = tool.path

    def touches(self, arguments: str) -> frozenset[str]:
        return self.tool.touches(arguments)

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        if self.effect == "pure":
            if OWN in arguments:
                return await self.tool.call(arguments, context)
            return await self._results.call(self.tool, arguments, context)
        result: ToolResult | None = None
        try:
            result = await self.tool.call(arguments, context)
            return result
        finally:
            if result is None or (result.effect or self.effect) != "pure":
                self._results.forget()

    async def reconcile(self, arguments: str, context: ToolContext) -> ToolResult | None:
        self._results.forget()
        return await self.tool.reconcile(arguments, context)

    def restore(self, calls: Sequence[PastCall], context: ToolContext) -> None:
        """As the tool does."""
        if isinstance(self.tool, Restores):
            self.tool.restore(calls, context)


def _is_anybodys(content: Content) -> bool:
    """Whether nothing in it speaks of a folder that each run has for itself."""
    return not any(OWN in getattr(part, "text", "") for part in content)


def _chars(result: ToolResult) -> int:
    return sum(len(getattr(part, "text", "")) + 64 for part in result.content)
