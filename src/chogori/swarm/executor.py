"""Where subagents run. Whoever implements `Executor` runs one task to its end, or goes on with it.

`Local` runs all in this process and on this loop: a subagent is a generator among others, and what
all of them record is committed together.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from chogori.agent.verbs import Verbs
from chogori.chat import Event
from chogori.errors import RunNotFound
from chogori.store import logs


@dataclass(frozen=True, slots=True)
class Assignment:
    """One task of one subagent: all that another process needs to do it."""

    run_id: str
    """Made of the orchestrator's run and the call that assigned it, so that the same call always
    means the same run."""
    parent: str
    """The orchestrator's run."""
    prompt: str
    subagent: Verbs
    may_exist: bool = False
    """Whether the run may have begun before: then it is resumed, at the exact step."""
    message: str | None = None
    """What to say to a run that has ended, so that it goes on."""


class Executor(Protocol):
    """Runs tasks; as many at once as it is asked to."""

    def stream(self, assignment: Assignment) -> AsyncGenerator[Event]:
        """The events of the run, from where it stands to an `Answer` or a `Waiting`. Closing the
        generator stops the run where it is; it can be resumed. Raises what `Verbs.stream` and
        `Verbs.resume` raise; a deltas need not be told."""
        ...

    async def aclose(self) -> None:
        """Give back what is held: workers, connections."""
        ...


class Local:
    """See the module's docstring."""

    def stream(self, assignment: Assignment) -> AsyncGenerator[Event]:
        if assignment.may_exist and assignment.subagent.kept_in is not None:
            return self._go_on(assignment)
        return self._begin(assignment)

    def _begin(self, assignment: Assignment) -> AsyncGenerator[Event]:
        id, parent = assignment.run_id, assignment.parent
        return assignment.subagent.stream(assignment.prompt, run_id=id, parent=parent)

    async def _go_on(self, assignment: Assignment) -> AsyncGenerator[Event]:
        """With a run that is there; one that is not, begins."""
        subagent, id = assignment.subagent, assignment.run_id
        try:
            async with aclosing(subagent.resume(id, assignment.message)) as events:
                async for event in events:
                    yield event
            return
        except RunNotFound:
            if await is_kept(subagent, id):
                raise
        async with aclosing(self._begin(assignment)) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Nothing is held."""


async def is_kept(verbs: Verbs, run_id: str) -> bool:
    """Whether a run of that id has begun."""
    store = verbs.kept_in
    if store is None:
        return False
    return await store.read(lambda tx: logs.find(tx, run_id)) is not None
