"""An agent is a description; a run is what comes of asking it. Keep one, share it, run it often."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from chogori.agent.account import Account
from chogori.agent.budget import Budget
from chogori.agent.claims import Evidence
from chogori.agent.context import Context
from chogori.agent.guards import DEFAULT_GUARDS, Guard, GuardFactory, copied
from chogori.agent.loop import REFUSED, Approval, Leg
from chogori.agent.request import tools_digest
from chogori.agent.run import Begin, Continue, Run, Standing, Start
from chogori.agent.toolset import Toolset
from chogori.agent.verbs import Verbs
from chogori.agent.view import View
from chogori.chat import (
    Answer,
    ChatModel,
    Content,
    Conversation,
    Event,
    LegStarted,
    Options,
    RunStarted,
    Tool,
    ToolResult,
    Waiting,
    content_of,
    system,
    text_of,
    user,
)
from chogori.store import Store


@dataclass(frozen=True, slots=True)
class Agent(Verbs):
    """A model, its tools and its rules. Frozen: `dataclasses.replace` makes another."""

    model: ChatModel
    tools: Sequence[Tool] = ()
    instructions: str = ""
    budget: Budget = field(default_factory=Budget)
    options: Options = Options()
    guards: Sequence[GuardFactory] = DEFAULT_GUARDS
    approval: Approval = "ask"
    context: Context = Context()
    """What the model is shown of a long conversation."""
    tool_seconds: float = 600.0
    """After so long a call is given up and the model is told."""
    out: Callable[[str], Path] | None = None
    """Where the folder of a run is, by its id; made by whoever is asked."""
    store: Store | None = None
    """Where runs are kept, so that they can be resumed; None: nowhere."""
    made_by: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """How to make this agent again where its parts cannot be told; part of the description."""

    @property
    def kept_in(self) -> Store | None:
        return self.store

    def describe(self) -> dict[str, Any]:
        return {
            "model": self.model.profile.spec,
            "profile": asdict(self.model.profile),
            "tools": [
                {**asdict(tool.spec), "effect": tool.effect, "path": tool.path}
                for tool in self.tools
            ],
            "tools_hash": tools_digest(tuple(tool.spec for tool in self.tools)).hex(),
            "instructions": self.instructions,
            "budget": asdict(self.budget),
            "tool_seconds": self.tool_seconds,
            "has_out": self.out is not None,
            "options": asdict(self.options),
            "guards": [f"{make.__module__}:{make.__qualname__}" for make in self.guards],
            "approval": self.approval,
            "context": asdict(self.context),
            "made_by": dict(self.made_by),
        }

    async def drive(self, start: Start, run: Run, branch: str = "") -> AsyncIterator[Event]:
        leg = self._leg(start, run, branch)
        if isinstance(start, Begin):
            names = tuple(tool.spec.name for tool in self.tools)
            name = self.model.profile.name
            yield RunStarted(leg.run_id, start.task, name, names, run.description)
        else:
            yield LegStarted(start.said, start.approve, start.results)
        async with aclosing(cast(AsyncGenerator[Event], leg.events())) as events:
            async for event in events:
                yield event

    def _leg(self, start: Start, run: Run, name: str) -> Leg:
        line, before = run.branch(name), start.leg if isinstance(start, Continue) else None
        run_id = f"{run.id}.{name}" if name else run.id
        view, conversation = self._told(start)
        waited = before if isinstance(before, Waiting) else None
        guards = self._guards(waited)
        toolset = Toolset(
            (*self.tools, *view.tools()),
            run_id,
            line,
            seconds=self.tool_seconds,
            out=self.out(run_id) if self.out else None,
            most=lambda: run.limits(self.budget).calls,
        )
        leg = Leg(
            run_id=run_id,
            task=text_of(_task(start, conversation)),
            model=self.model,
            toolset=toolset,
            branch=line,
            view=view,
            guards=guards,
            options=self.options,
            approval=self.approval,
            conversation=conversation,
            evidence=Evidence.of(conversation),
            account=Account(
                lambda: run.limits(self.budget),
                line.clock,
                self.model.profile.price,
                lambda: toolset.made,
            ),
            standing=Standing(run, view, toolset, guards),
        )
        if waited:
            self._take_up(leg, waited, start)
        return leg

    def _guards(self, waited: Waiting | None) -> list[Guard]:
        """New ones; those of the leg that waited where its turn goes on: what a person says yes to
        may go round like anything else."""
        if waited is not None and isinstance(waited.standing, Standing):
            return [copied(guard) for guard in waited.standing.guards]
        return [make() for make in self.guards]

    def _told(self, start: Start) -> tuple[View, Conversation]:
        """What the model is shown, and all that was said."""
        if isinstance(start, Begin):
            begun = [system(self.instructions)] if self.instructions else []
            conversation = Conversation([*begun, user(start.task)])
            return self.context.view(self.model.profile.context_tokens), conversation
        leg = start.leg
        said = [user(start.said)] if start.said else []
        if isinstance(leg.standing, Standing):
            # A copy: this leg may be given up, and the next one go on from where it began.
            return leg.standing.shown.copy(), leg.conversation.append(*said)
        view = self.context.view(self.model.profile.context_tokens)
        return view, leg.conversation.append(*said)

    def _take_up(self, leg: Leg, waited: Waiting, start: Start) -> None:
        """The step that waited goes on, and what was spent before it is spent."""
        assert isinstance(start, Continue), "only a later leg has waited"
        refused = {call: REFUSED for call, yes in start.approve.items() if not yes}
        given = {call: ToolResult(content_of(text)) for call, text in start.results.items()}
        leg.given = refused | given
        leg.approved = frozenset(call for call, yes in start.approve.items() if yes)
        if isinstance(waited.standing, Standing):
            leg.toolset.made = waited.standing.toolset.made
            leg.given = {**waited.standing.given, **leg.given}
            leg.approved |= waited.standing.approved
        if waited.calls:
            leg.message = leg.conversation[-1]
        spent = leg.account
        spent.usage, spent.steps, spent.seconds = waited.usage, waited.steps, waited.seconds


def _task(start: Start, conversation: Conversation) -> Content:
    if isinstance(start, Begin):
        return start.task
    if isinstance(start.leg, Answer):
        return start.said
    return next((m.content for m in conversation if m.role == "user"), ())
