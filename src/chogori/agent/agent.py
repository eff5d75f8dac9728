"""An agent is a description; a run is what comes of asking it. Keep one, share it, run it often."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chogori.agent.budget import Budget, cost
from chogori.agent.claims import Evidence
from chogori.agent.guards import DEFAULT_GUARDS, GuardFactory
from chogori.agent.loop import REFUSED, Approval, Leg
from chogori.agent.toolset import Toolset
from chogori.chat import (
    Answer,
    ChatModel,
    Content,
    Conversation,
    Event,
    Options,
    Part,
    RunStarted,
    Tool,
    ToolResult,
    Waiting,
    content_of,
    system,
    text_of,
    user,
)
from chogori.errors import ConfigError

Task = str | Part | Sequence[Part]


class Verbs:
    """One idea at three speeds: `ask` (blocking), `run` (await the answer), `stream` (watch)."""

    __slots__ = ()

    def stream(self, task: Task, *, run_id: str | None = None) -> AsyncIterator[Event]:
        """Run, telling each event as it happens. The last one is an `Answer` or a `Waiting`."""
        raise NotImplementedError

    def continue_(
        self,
        leg: Answer | Waiting,
        message: Task | None = None,
        *,
        approve: Mapping[str, bool] | None = None,
        results: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Event]:
        """Go on where a leg ended; see `Agent.continue_`."""
        raise NotImplementedError

    def ask(self, task: Task) -> Answer:
        """Run to the answer, blocking. For scripts; inside a coroutine use `run`."""
        return asyncio.run(self.run(task))

    async def run(self, task: Task) -> Answer:
        """Run to the answer. Calls that need a person's yes are refused: nobody is there."""
        events = self.stream(task)
        while True:
            async for event in events:
                if isinstance(event, Answer):
                    return event
                if isinstance(event, Waiting):
                    break
            else:
                raise AssertionError("a leg ends with an Answer or a Waiting")
            if event.reason != "approval":
                raise ConfigError("the run waits for results of the client's tools: use stream")
            events = self.continue_(event, approve={call.id: False for call in event.calls})


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
    tool_seconds: float = 600.0
    """After so long a call is given up and the model is told."""
    out: Callable[[str], Path] | None = None
    """Where the folder of a run is, by its id; made by whoever is asked."""

    def stream(self, task: Task, *, run_id: str | None = None) -> AsyncIterator[Event]:
        begun = [system(self.instructions)] if self.instructions else []
        conversation = Conversation([*begun, user(task)])
        return self._leg(run_id or new_run_id(), content_of(task), conversation)

    def continue_(
        self,
        leg: Answer | Waiting,
        message: Task | None = None,
        *,
        approve: Mapping[str, bool] | None = None,
        results: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Event]:
        """Go on where `leg` ended: after an `Answer` with a `message`, after `Waiting` with what
        it waits for. `approve` and `results` go by call id. Raises `ConfigError` where what is
        given does not fit what is waited for."""
        if isinstance(leg, Answer):
            if message is None:
                raise ConfigError("an answered run goes on with a message")
            longer = leg.conversation.append(user(message))
            return self._leg(leg.run_id, content_of(message), longer)
        decided, given = approve or {}, results or {}
        if missing := [c.id for c in leg.calls if c.id not in decided and c.id not in given]:
            raise ConfigError(f"the run still waits for: {', '.join(missing)}")
        told = {call: ToolResult(content_of(text)) for call, text in given.items()}
        told |= {call: REFUSED for call, yes in decided.items() if not yes}
        approved = frozenset(call for call, yes in decided.items() if yes)
        task = next((m.content for m in leg.conversation if m.role == "user"), ())
        return self._leg(leg.run_id, task, leg.conversation, leg, told, approved)

    def describe(self) -> dict[str, Any]:
        """What another process rebuilds this agent from; never a secret."""
        return {
            "model": self.model.profile.spec,
            "tools": [{**asdict(tool.spec), "path": tool.path} for tool in self.tools],
            "instructions": self.instructions,
            "budget": asdict(self.budget),
            "options": asdict(self.options),
            "approval": self.approval,
        }

    async def _leg(
        self,
        run_id: str,
        task: Content,
        conversation: Conversation,
        before: Waiting | None = None,
        given: Mapping[str, ToolResult] | None = None,
        approved: frozenset[str] = frozenset(),
    ) -> AsyncIterator[Event]:
        out = self.out(run_id) if self.out else None
        leg = Leg(
            run_id=run_id,
            task=text_of(task),
            model=self.model,
            toolset=Toolset(self.tools, run_id, seconds=self.tool_seconds, out=out),
            guards=[make() for make in self.guards],
            options=self.options,
            approval=self.approval,
            conversation=conversation,
            evidence=Evidence.of(conversation),
            budget=self.budget,
            given=given or {},
            approved=approved,
        )
        if before is None:
            names = tuple(tool.spec.name for tool in self.tools)
            yield RunStarted(run_id, task, self.model.profile.name, names, self.describe())
        else:
            leg.message = conversation[-1]
            leg.usage, leg.steps, leg.seconds = before.usage, before.steps, before.seconds
            leg.budget = self.budget.spend(
                steps=before.steps,
                usage=before.usage,
                seconds=before.seconds,
                dollars=cost(before.usage, self.model.profile.price) or 0.0,
            )
        async for event in leg.events():
            yield event


def new_run_id() -> str:
    """An id that sorts by time: 20261121-231500-1f3a9c."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
