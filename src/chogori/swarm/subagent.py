"""A subagent: an agent that works on one task of another, within a lease, each turn marked.

Its run is kept under the orchestrator's. It can be told in JSON (`describe`) and made again from
that in another process, where `presets.rebuild` knows it by its mark.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from chogori.agent import Agent, Budget
from chogori.agent.journal import SUBAGENT
from chogori.agent.run import Run, Start
from chogori.agent.verbs import Verbs
from chogori.chat import Event, StepStarted, Tool
from chogori.store import Store


class Leads(Protocol):
    """What somebody has who leads others: `Team`."""

    def begin(self, start: Start) -> Agent:
        """A leg begins: the agent that leads it."""
        ...

    def told(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """What is told of a leg: the events of the agent, and those of its subagents."""
        ...


@dataclass(frozen=True, slots=True)
class Subagent(Verbs):
    """See the module's docstring."""

    agent: Agent
    name: str
    """What the orchestrator calls it."""
    stage: int = 0
    """The stage of the orchestrator in which the leg begins that is driven next."""
    limits: Callable[[], Budget] | None = None
    """What it may use up at any time; None: the budget of `agent`."""
    note: Callable[[Event], None] | None = None
    """Is told all that happens, also when the run is driven again."""
    leads: Callable[[Run, Agent], Leads] | None = None
    """Where it may have subagents of its own: the team that it leads in a run."""
    tools: Sequence[Tool] | None = None
    """In the place of the agent's own: the same, shared with others, and the team's."""
    described: Mapping[str, Any] | None = None
    """Its description, where it is known: subagents of one role have the same."""

    @property
    def kind(self) -> str:
        return SUBAGENT

    @property
    def kept_in(self) -> Store | None:
        return self.agent.kept_in

    def describe(self) -> dict[str, Any]:
        if self.described is not None:
            return dict(self.described)
        return {**self.agent.describe(), "subagent": {"name": self.name}}

    async def drive(self, start: Start, run: Run, branch: str = "") -> AsyncIterator[Event]:
        """A leg of the past keeps the stage that it had."""
        run.lease = self.limits
        stage: int = await run.branch(branch).noted("stage", self._stage)
        agent = self.agent if self.tools is None else replace(self.agent, tools=self.tools)
        if self.leads is not None:
            run.held = run.held or self.leads(run, agent)
            agent = run.held.begin(start)
        events = cast(AsyncGenerator[Event], agent.drive(start, run, branch))
        told = events if self.leads is None else run.held.told(events)
        async with aclosing(events), aclosing(told):
            async for event in told:
                if isinstance(event, StepStarted):
                    event = replace(event, role="subagent", stage=stage)
                if self.note is not None:
                    self.note(event)
                yield event

    async def _stage(self) -> int:
        return self.stage
