"""The tools of one run: calls them side by side, keeps their order, and never raises.

Whatever goes wrong inside a tool is told to the model; a failing call ends neither its siblings
nor the run. Calls that touch the same thing run one after another, in the order they were made.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

from chogori.agent.guards import canonical
from chogori.chat import (
    Tool,
    ToolCall,
    ToolContext,
    ToolError,
    ToolFinished,
    ToolResult,
    ToolSpec,
    ToolStarted,
    content_of,
)
from chogori.chat.tools import Effect
from chogori.errors import ConfigError

logger = logging.getLogger(__name__)


class ClientTool:
    """A tool that whoever asked runs: the leg ends in `Waiting` and goes on with its result."""

    effect: Effect = "once"
    needs_approval = False
    path = ""

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec

    def touches(self, arguments: str) -> frozenset[str]:
        return frozenset()

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        raise ToolError(f"{self.spec.name} is run by the client, which sent no result")

    async def reconcile(self, arguments: str, context: ToolContext) -> ToolResult | None:
        return None


class Toolset:
    """See the module's docstring. Raises `ConfigError` when two tools share a name."""

    def __init__(
        self, tools: Iterable[Tool], run_id: str, *, seconds: float, out: Path | None = None
    ) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.spec.name in self._tools:
                raise ConfigError(f"two tools are called {tool.spec.name!r}; rename one")
            self._tools[tool.spec.name] = tool
        self._run_id = run_id
        self._seconds = seconds
        self._out = out
        self._occurrences: Counter[str] = Counter()
        self.specs: tuple[ToolSpec, ...] = tuple(tool.spec for tool in self._tools.values())

    def needing_approval(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Those calls that a person must say yes to."""
        return [call for call, tool in self._known(calls) if tool.needs_approval]

    def of_client(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Those calls that whoever asked runs."""
        return [call for call, tool in self._known(calls) if isinstance(tool, ClientTool)]

    def _known(self, calls: Sequence[ToolCall]) -> list[tuple[ToolCall, Tool]]:
        return [(call, self._tools[call.name]) for call in calls if call.name in self._tools]

    async def call_all(
        self, calls: Sequence[ToolCall], given: Mapping[str, ToolResult]
    ) -> AsyncIterator[ToolStarted | ToolFinished]:
        """Run `calls`, telling each start and each end as it happens.

        `given` holds results that came from elsewhere: a client, or a person who said no.
        """
        events: asyncio.Queue[ToolStarted | ToolFinished] = asyncio.Queue()
        last: dict[str, asyncio.Event] = {}
        tasks: list[asyncio.Task[None]] = []
        for call in calls:
            touched = self._touched(call)
            done = asyncio.Event()
            before = [last[thing] for thing in touched if thing in last]
            last |= dict.fromkeys(touched, done)
            work = self._run(call, given.get(call.id), before, done, events)
            tasks.append(asyncio.create_task(work))
        try:
            ended = 0
            while ended < len(calls):
                event = await events.get()
                ended += isinstance(event, ToolFinished)
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self,
        call: ToolCall,
        given: ToolResult | None,
        before: Sequence[asyncio.Event],
        done: asyncio.Event,
        events: asyncio.Queue[ToolStarted | ToolFinished],
    ) -> None:
        try:
            for event in before:
                await event.wait()
            tool = self._tools.get(call.name)
            effect: Effect = tool.effect if tool else "pure"
            await events.put(ToolStarted(call, effect))
            started = time.monotonic()
            result = given if given is not None else await self.call(call)
            await events.put(
                ToolFinished(
                    call,
                    result.content,
                    result.failed,
                    time.monotonic() - started,
                    result.effect or effect,
                    result.extra,
                )
            )
        finally:
            done.set()

    def _touched(self, call: ToolCall) -> frozenset[str]:
        tool = self._tools.get(call.name)
        try:
            return tool.touches(call.arguments) if tool else frozenset()
        except Exception:  # whatever it is, the call itself will meet it, and tell the model
            logger.exception("tool %s cannot say what it touches", call.name)
            return frozenset({f"tool {call.name}"})

    async def call(self, call: ToolCall) -> ToolResult:
        """What `call` brings. Never raises an `Exception`."""
        tool = self._tools.get(call.name)
        if tool is None:
            return _failure(f"there is no tool {call.name!r}; there are: {', '.join(self._tools)}")
        try:
            async with asyncio.timeout(self._seconds):
                return await tool.call(call.arguments, self._context(call))
        except ToolError as error:
            return _failure(str(error))
        except TimeoutError:
            return _failure(f"{call.name} did not finish within {self._seconds:g} seconds")
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            return _failure(f"{call.name} was cancelled from within")
        except Exception as error:
            logger.exception("tool %s failed on %s", call.name, call.arguments)
            return _failure(f"{type(error).__name__}: {error}")

    def _context(self, call: ToolCall) -> ToolContext:
        text = canonical(call)
        self._occurrences[text] += 1
        what = f"{self._run_id}\0{text}\0{self._occurrences[text]}"
        key = hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()
        return ToolContext(self._run_id, call, key, self._out)


def _failure(text: str) -> ToolResult:
    return ToolResult(content_of(text), failed=True)
