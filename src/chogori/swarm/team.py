"""What a swarm holds of one run: who there is to work, what was assigned, and what came of it.

Nothing here is kept: the events of the orchestrator's run, which is driven again when it goes on,
say all of it again, and each task has a run of its own (`crew.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chogori.agent import Agent
from chogori.agent.run import Continue, Run, Start
from chogori.chat import (
    Answer,
    Event,
    ReplyFinished,
    StepStarted,
    ToolError,
    ToolFinished,
    ToolResult,
    content_of,
)
from chogori.swarm.beside import Beside
from chogori.swarm.crew import Crew, Halted
from chogori.swarm.ledger import Lease, Ledger, Purse
from chogori.swarm.remaining import Remaining
from chogori.swarm.roles import ORCHESTRATOR, Role, listed
from chogori.swarm.scheduler import critical_paths
from chogori.swarm.steps import Outcome, Tally
from chogori.swarm.table import Table, Wide
from chogori.swarm.task import INCOMPLETE, Progress, Task
from chogori.swarm.tools import ASSIGN, CREATE, DIRECTING, MAP, directing_tools, parsed

if TYPE_CHECKING:
    from chogori.swarm.swarm import Swarm

GO_ON = "Go on with your task from where you stopped."


@dataclass(frozen=True, slots=True)
class Above:
    """What a subagent has from the team that it works in, for the one that it leads."""

    crew: Crew
    progress: Progress
    assigned: set[str]
    """Tasks of the whole swarm."""


class Team:
    """See the module's docstring."""

    def __init__(self, swarm: Swarm, run: Run, above: Above | None = None) -> None:
        """`above` is what a subagent has who leads this team itself."""
        self._above = above
        self.swarm = swarm
        self.run = run
        self.stage = 0
        self.table = Table()
        """Of the last map."""
        self.beside = Beside(is_watched=swarm.is_watched)
        self.crew = Crew(swarm, run, self.beside, above.crew if above else None)
        self._ready = swarm.ready
        self._created: dict[str, Role] = {}
        self._assigned: set[str] = above.assigned if above else set()
        self._unfinished: dict[tuple[str, str], tuple[str, bool]] = {}
        """The run of a task that did not come to its own end, and whether it has landed."""
        self.crew.leads = self._led if swarm.depth > 1 else None
        self._open()

    def _led(self, run: Run, agent: Agent, progress: Progress) -> Team:
        """The team that a subagent leads itself."""
        above = Above(self.crew, progress, self._assigned)
        tools = self.swarm.tools_of_subagents
        led = replace(self.swarm, orchestrator=agent, subagent_tools=tools, depth=1)
        return Team(led, run, above)

    def _open(self) -> None:
        """A new budget: a turn of a person begins."""
        self.tally = Tally()
        if self._above is not None:
            self.ledger = self._above.progress.lease.ledger
            self.purse: Lease = self._above.progress.lease
            self._above.progress.tally = self.tally
            return
        budget, price = self.swarm.budget, self.swarm.orchestrator.model.profile.price
        self.ledger = Ledger(budget, shares=self.swarm.width)
        self.purse = Purse(self.ledger, budget, price, team=DIRECTING)

    def begin(self, start: Start) -> Agent:
        """A leg begins: the agent that leads it."""
        if isinstance(start, Continue) and isinstance(start.leg, Answer):
            self._open()
        self.run.lease = self.purse.limits
        lead, told = self.swarm.orchestrator, ORCHESTRATOR + listed(list(self._ready.values()))
        # A subagent's tools are shared already.
        tools = lead.tools if self._above else self.crew.results.share(lead.tools)
        directing = directing_tools(self, maps=self.swarm.maps)
        return replace(
            lead,
            tools=[*tools, *directing],
            instructions=f"{lead.instructions}\n\n{told}".strip(),
            budget=lead.budget if self._above else self.swarm.budget,
            guards=[*lead.guards, lambda: Remaining(self)],
        )

    async def told(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """What is told of a leg: `events` of the orchestrator, and those of its subagents."""
        try:
            async with aclosing(self.beside.merge(events)) as merged:
                async for event in merged:
                    yield self._note(event)
        except Halted:
            await self.crew.forget_pause()
            raise

    def _note(self, event: Event) -> Event:
        """Something happened in the orchestrator's run; how it is told."""
        if self._above is None:  # else the subagent who leads notes it
            self.purse.note(event)
        match event:
            case StepStarted():
                self.stage += 1
                self.tally.stages += 1
                self.crew.begin_stage(event.budget.get("seconds"))
                return replace(event, role="orchestrator", stage=self.stage)
            case ReplyFinished():
                self._create(event)
            case ToolFinished() if event.call.name in (ASSIGN.name, MAP.name):
                self._settle(event)
            case Answer():
                return self._reported(event)
            case _:
                pass
        return event

    def _create(self, event: ReplyFinished) -> None:
        for call in event.message.tool_calls:
            if call.name == CREATE.name:
                try:
                    told = parsed(CREATE, call.arguments)
                except ToolError:  # the call itself tells the model
                    continue
                name = told["name"].strip()
                self._created[name] = Role(name, told["system_prompt"])

    def created(self, name: str) -> str:
        """What is told of an agent that was created; it is there already, by the reply."""
        return f"{name.strip()} is there; give it tasks with assign_task"

    def _settle(self, event: ToolFinished) -> None:
        """Tasks came to their end, now or in the past."""
        if "table" in event.extra:
            self.table = Table.of(event.extra["table"])
        for told in event.extra.get("subagents", ()):
            outcome = Outcome.of({k: v for k, v in told.items() if k not in ("agent", "prompt")})
            self.tally.add(outcome, event.seconds)
            if not outcome.run_id:  # it never began
                continue
            self._assigned.add(outcome.run_id)
            key = (told["agent"], told["prompt"])
            self._unfinished.pop(key, None)
            if outcome.ended != "answer":
                self._unfinished[key] = (outcome.run_id, outcome.ended in ("budget", "guard"))
            if self.crew.closed[outcome.run_id]:
                self.crew.closed[outcome.run_id] -= 1
            else:
                self.crew.settled[outcome.run_id] = self._spent(outcome)

    def _spent(self, outcome: Outcome) -> Lease:
        """The lease of a task that ended before the run went on."""
        before = self.crew.settled.get(outcome.run_id)
        lease = Lease(self.ledger, self.swarm.subagent_budget, self.crew.price, credit=before)
        if before is not None:
            lease.calls, lease.usage, lease.seconds = before.calls, before.usage, before.seconds
        lease.calls += outcome.calls
        lease.usage += outcome.usage
        lease.seconds += outcome.seconds
        lease.close()
        return lease

    def _reported(self, event: Answer) -> Answer:
        dollars = self.purse.spent["dollars"]
        report = self.tally.report(
            usage=event.usage, calls=self.purse.calls, dollars=dollars, seconds=event.seconds
        )
        if self._above is not None:  # whoever is above adds it up
            return replace(event, report=report.told())
        usage = sum((it.usage for it in self.tally.all), event.usage)
        has_price = self.purse.price is not None or self.crew.price is not None
        total = report.dollars if has_price else None
        return replace(event, usage=usage, dollars=total, report=report.told())

    @property
    def tasks_left(self) -> int:
        """How many more can be assigned."""
        return max(0, self.swarm.most - len(self._assigned))

    async def assign(self, agent: str, prompt: str, key: str) -> ToolResult:
        """Have `agent` do one task; `key` names the call. Raises `ToolError` where it cannot."""
        task = self._task(self._role(agent), prompt, key)
        outcome, text = await self.crew.perform(task, self.ledger)
        has_nothing = outcome.ended in ("failed", "deadline") and not outcome.steps
        extra = {"subagents": [_told(task.role, prompt, outcome)]}
        return ToolResult(content_of(text), has_nothing, extra=extra)

    async def map(self, wide: Wide, key: str) -> ToolResult:
        """Have one agent do the same for each of many items. Raises `ToolError`."""
        role, table = self._role(wide.agent), Table(wide.columns)
        try:
            weights = critical_paths(wide.lengths or [1.0] * len(wide.items), wide.after)
        except (ValueError, IndexError) as error:
            raise ToolError(str(error)) from error
        ended = [asyncio.Event() for _ in wide.items]
        told: dict[int, tuple[Outcome, str, str]] = {}

        async def row(index: int) -> None:
            before = wide.after.get(index, ())
            for each in before:
                await ended[each].wait()
            prompt = table.prompt(wide.template, wide.items[index])
            prompt += table.builds_on([(wide.items[each], told[each][1]) for each in before])
            own_key = hashlib.sha256(f"{key}\0{index}".encode()).hexdigest()
            told[index] = (*await self._row(role, prompt, own_key, weights[index]), prompt)
            ended[index].set()

        await asyncio.gather(*map(row, range(len(wide.items))))
        for index, item in enumerate(wide.items):
            outcome, text, _ = told[index]
            table.add(item, text, outcome)
        found = [_told(role, told[i][2], told[i][0]) for i in range(len(wide.items))]
        extra = {"subagents": found, "table": table.told()}
        return ToolResult(content_of(table.markdown()), extra=extra)

    async def _row(self, role: Role, prompt: str, key: str, weight: float) -> tuple[Outcome, str]:
        """One of many alike: what keeps it from its work is told in its row."""
        try:
            task = self._task(role, prompt, key)
        except ToolError as error:
            outcome = Outcome(run_id="", name=role.name, stage=self.stage, ended="refused",
                              why=str(error))  # fmt: skip
            return outcome, f"{INCOMPLETE} {error}"
        task.weight = weight
        return await self.crew.perform(task, self.ledger)

    def _role(self, name: str) -> Role:
        name = name.strip()
        role = self._created.get(name) or self._ready.get(name)
        if role is None:
            known = ", ".join([*self._ready, *self._created]) or "none yet: create one"
            raise ToolError(f"there is no agent {name!r}; there are: {known}")
        return role

    def _task(self, role: Role, prompt: str, key: str) -> Task:
        """A task that was not there yet, or one that goes on. Raises `ToolError`."""
        before = self._unfinished.pop((role.name, prompt), None)
        run_id = before[0] if before else f"{self.run.id}-{key[:10]}"
        is_new, has_past = run_id not in self._assigned, bool(self.run.past)
        if is_new and not self.tasks_left:
            raise ToolError(
                f"this team has had its {self.swarm.most} tasks; answer with what they found"
            )
        if is_new and not has_past and (ended := self.ledger.ended):
            raise ToolError(f"the team has used up its {ended}; answer with what it has found")
        self._assigned.add(run_id)
        return Task(
            run_id,
            role,
            prompt,
            self.stage,
            may_exist=has_past or not is_new,
            message=GO_ON if before and before[1] else None,
        )


def _told(role: Role, prompt: str, outcome: Outcome) -> dict[str, object]:
    """For the record of the call."""
    return {**outcome.told(), "agent": role.name, "prompt": prompt}
