"""The tools of one run: calls them side by side, keeps their order, and never raises.

Whatever goes wrong inside a tool is told to the model; a failing call ends neither its siblings
nor the run. Calls that touch the same thing run one after another, in the order they were made.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from chogori.agent.branch import Branch
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
from chogori.chat.tools import Effect, Restores
from chogori.errors import ConfigError

logger = logging.getLogger(__name__)
BEYOND = ToolResult(
    content_of("not run: the budget allows no further calls; answer with what you have seen"),
    failed=True,
    extra={"beyond": True},
)
UNKNOWN = ToolResult(
    content_of(
        "the run was interrupted while this call was under way: whether it took effect is unknown, "
        "and it was not repeated. Find out before you try it again."
    ),
    failed=True,
    extra={"unknown": True},
)


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
        self,
        tools: Iterable[Tool],
        run_id: str,
        branch: Branch,
        *,
        seconds: float,
        out: Path | None = None,
        most: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`most` says how many calls may be made in all."""
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.spec.name in self._tools:
                raise ConfigError(f"two tools are called {tool.spec.name!r}; rename one")
            self._tools[tool.spec.name] = tool
        self._run_id = run_id
        self._seconds = seconds
        self._out = out
        self._branch = branch
        self._most = most
        self.made = 0
        """Calls so far."""
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
    ) -> AsyncGenerator[ToolStarted | ToolFinished]:
        """Run `calls`, telling each start and each end as it happens.

        `given` holds results that came from elsewhere: a client, or a person who said no. What is
        recorded is told before anything is done: whoever hears it may have heard enough.
        """
        given = {**given, **self._beyond(calls)}
        places = [self._place(index, call, given) for index, call in enumerate(calls)]
        outcomes = [(it, self._branch.outcome(it.index, it.started)) for it in places]
        for place, past in outcomes:
            if past is not None:
                yield place.started
                yield past
        left = self._do_all([place for place, past in outcomes if past is None])
        async with aclosing(left) as events:
            async for event in events:
                yield event

    def _beyond(self, calls: Sequence[ToolCall]) -> dict[str, ToolResult]:
        """What comes of those calls that the budget does not allow; the others count as made."""
        most = self._most()
        allowed = len(calls) if most is None else min(len(calls), max(0, most - self.made))
        self.made += allowed
        return {call.id: BEYOND for call in calls[allowed:]}

    async def _do_all(self, places: Sequence[_Place]) -> AsyncGenerator[ToolStarted | ToolFinished]:
        # Those of a reply wait alike: which of them are done does not hang on how fast the disk is.
        effects = {place.started.effect for place in places}
        worst: Effect = "pure" if effects <= {"pure"} else "once"
        if len(places) == 1:  # most steps make one call, which needs no task of its own
            async with aclosing(self._run(places[0], worst)) as alone:
                async for event in alone:
                    yield event
            return
        events: asyncio.Queue[ToolStarted | ToolFinished | Exception] = asyncio.Queue()
        last: dict[str, asyncio.Event] = {}
        tasks: list[asyncio.Task[None]] = []
        for place in places:
            touched = self._touched(place.call)
            done = asyncio.Event()
            before = [last[thing] for thing in touched if thing in last]
            last |= dict.fromkeys(touched, done)
            tasks.append(asyncio.create_task(self._run_beside(place, worst, before, done, events)))
        try:
            ended = 0
            while ended < len(places):
                event = await events.get()
                if isinstance(event, Exception):
                    raise event
                ended += isinstance(event, ToolFinished)
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_beside(
        self,
        place: _Place,
        worst: Effect,
        before: Sequence[asyncio.Event],
        done: asyncio.Event,
        events: asyncio.Queue[ToolStarted | ToolFinished | Exception],
    ) -> None:
        """One of several calls: after those that touch the same."""
        try:
            for event in before:
                await event.wait()
            async with aclosing(self._run(place, worst)) as told:
                async for event in told:
                    events.put_nowait(event)
        except Exception as error:  # what came of the call cannot be kept: the run ends with it
            events.put_nowait(error)
        finally:
            done.set()

    async def _run(
        self, place: _Place, worst: Effect
    ) -> AsyncGenerator[ToolStarted | ToolFinished]:
        """One call: its intent on the disk, unless all of the reply are pure; the deed; what came
        of it."""
        is_known = place.call.name in self._tools
        begun = self._branch.begin(place.index, place.started, is_known=is_known)
        yield place.started
        await self._branch.settle(worst)
        finished = await self._do(place, begun)
        self._branch.finish(place.index, finished, place.started.effect)
        yield finished

    async def _do(self, place: _Place, begun: Effect | None) -> ToolFinished:
        started = time.monotonic()
        self._restore(place)
        if place.given is not None:
            result = place.given
        elif begun is None:
            result = await self.call(place.call, place.context)
        else:
            result = await self._again(place, begun)
        seconds = time.monotonic() - started
        kind = result.effect or place.started.effect
        return ToolFinished(place.call, result.content, result.failed, seconds, kind, result.extra)

    def _restore(self, place: _Place) -> None:
        """Before its first call in a run that goes on a tool is told what it was called for."""
        if calls := self._branch.past_calls(place.call.name):
            tool = self._tools.get(place.call.name)
            if isinstance(tool, Restores):
                tool.restore(calls, place.context)

    async def _again(self, place: _Place, effect: Effect) -> ToolResult:
        """A call that was begun before the run was interrupted; nobody knows what came of it."""
        if effect == "once":
            return UNKNOWN
        if effect == "reconcilable":
            tool = self._tools.get(place.call.name)
            if tool is None:
                return UNKNOWN
            happened = await self._told(place.call, tool.reconcile(*place.asked))
            if happened is not None:
                return UNKNOWN if happened.failed else happened
        return await self.call(place.call, place.context)

    def _touched(self, call: ToolCall) -> frozenset[str]:
        tool = self._tools.get(call.name)
        try:
            return tool.touches(call.arguments) if tool else frozenset()
        except Exception:  # whatever it is, the call itself will meet it, and tell the model
            logger.exception("tool %s cannot say what it touches", call.name)
            return frozenset({f"tool {call.name}"})

    async def call(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """What `call` brings. Never raises an `Exception`."""
        tool = self._tools.get(call.name)
        if tool is None:
            return _failure(f"there is no tool {call.name!r}; there are: {', '.join(self._tools)}")
        result = await self._told(call, tool.call(call.arguments, context))
        assert result is not None, "a tool brings a result"
        return result

    async def _told(self, call: ToolCall, work: Awaitable[ToolResult | None]) -> ToolResult | None:
        """What `work` brings; what goes wrong in it is told to the model. A tool that has a time
        limit of its own (`seconds`) is held to that."""
        seconds = getattr(self._tools[call.name], "seconds", self._seconds)
        try:
            async with asyncio.timeout(seconds):
                return await work
        except ToolError as error:
            return _failure(str(error))
        except TimeoutError:
            return _failure(f"{call.name} did not finish within {seconds:g} seconds")
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            return _failure(f"{call.name} was cancelled from within")
        except Exception as error:
            logger.exception("tool %s failed on %s", call.name, call.arguments)
            return _failure(f"{type(error).__name__}: {error}")

    def _place(self, index: int, call: ToolCall, given: Mapping[str, ToolResult]) -> _Place:
        tool = self._tools.get(call.name)
        started = ToolStarted(call, tool.effect if tool else "pure")
        return _Place(index, started, self._context(call), given.get(call.id))

    def _context(self, call: ToolCall) -> ToolContext:
        text = canonical(call)
        occurrences = self._branch.occurrences
        occurrences[text] += 1
        what = f"{self._run_id}\0{text}\0{occurrences[text]}"
        key = hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()
        return ToolContext(self._run_id, call, key, self._out)


@dataclass(frozen=True, slots=True)
class _Place:
    """A call of a reply: which one it is, and what comes with it."""

    index: int
    started: ToolStarted
    context: ToolContext
    given: ToolResult | None

    @property
    def call(self) -> ToolCall:
        return self.started.call

    @property
    def asked(self) -> tuple[str, ToolContext]:
        return self.call.arguments, self.context


def _failure(text: str) -> ToolResult:
    return ToolResult(content_of(text), failed=True)
