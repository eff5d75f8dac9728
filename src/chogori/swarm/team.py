"""What a swarm holds of one run: who there is to work, what was assigned, and what came of it.

Nothing here is kept: the events of the orchestrator's run, which is driven again when it goes on,
say all of it again, and each task has a run of its own. A task that fails, hangs or refuses costs
its own result alone, and what it had found comes back all the same, marked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from chogori.agent import Agent
from chogori.agent.run import Continue, Run, Start
from chogori.chat import (
    Answer,
    Delta,
    Event,
    FromSubagent,
    ReplyFinished,
    StepStarted,
    ToolError,
    ToolFinished,
    ToolResult,
    Waiting,
    content_of,
)
from chogori.errors import ChogoriError, EndpointError, ModelUnavailable
from chogori.store import inbox
from chogori.swarm.executor import Assignment
from chogori.swarm.folder import Folder
from chogori.swarm.ledger import Lease, Ledger, Purse
from chogori.swarm.remaining import Remaining
from chogori.swarm.roles import ORCHESTRATOR, Role, listed
from chogori.swarm.shared import Results
from chogori.swarm.steps import Outcome, Tally
from chogori.swarm.subagent import Subagent
from chogori.swarm.table import Table
from chogori.swarm.task import Progress, Task
from chogori.swarm.tools import ASSIGN, CREATE, DIRECTING, MAP, directing_tools, parsed

if TYPE_CHECKING:
    from chogori.swarm.swarm import Swarm

logger = logging.getLogger(__name__)
SUBAGENTS, CALLS = 300, 4_000
"""More tasks than the first, and more calls of tools than the second, no swarm has."""
ATTEMPTS = 4
"""So often a task is taken up again when its model cannot be had."""
GRACE_SECONDS = 45.0
"""What a subagent may take beyond its time, to land."""
GO_ON = "Go on with your task from where you stopped."
_DELTAS: tuple[type, ...] = get_args(Delta)


class Halted(ChogoriError):
    """A person has paused the subagents of a run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run was paused; it goes on with: chogori runs resume {run_id}")


class Team:
    """See the module's docstring."""

    def __init__(self, swarm: Swarm, run: Run) -> None:
        self.swarm = swarm
        self.run = run
        self.stage = 0
        self.tally = Tally()
        self.results = Results()
        self.folder = Folder(swarm.kept_in, run.id) if swarm.has_folder else None
        self.halted = False
        self._ready = {role.name: role for role in swarm.roles}
        self._created: dict[str, Role] = {}
        self._assigned: set[str] = set()
        self._settled: dict[str, Lease] = {}
        """The leases of runs that came to some end, by run."""
        self._closed: Counter[str] = Counter()
        """How many of these were closed here, and the orchestrator does not know yet."""
        self._unfinished: dict[tuple[str, str], tuple[str, bool]] = {}
        """The run of a task that did not come to its own end, and whether it has landed."""
        self._at_work = self._paused = 0
        self._turnstile = swarm.turnstile()
        self._told: deque[FromSubagent] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._seconds: float | None = None
        self._since = time.monotonic()
        self._open()

    def _open(self) -> None:
        """A new budget: a turn of a person begins."""
        budget = self.swarm.budget
        self.ledger = Ledger(budget, shares=self.swarm.width)
        price = self.swarm.orchestrator.model.profile.price
        self.purse = Purse(self.ledger, budget, price, team=DIRECTING)
        self.tally = Tally()

    def begin(self, start: Start) -> Agent:
        """A leg begins: the agent that leads it."""
        if isinstance(start, Continue) and isinstance(start.leg, Answer):
            self._open()
        self.run.lease = self.purse.limits
        swarm = self.swarm
        told = ORCHESTRATOR + listed(list(self._ready.values()))
        return replace(
            swarm.orchestrator,
            tools=[
                *self.results.share(swarm.orchestrator.tools),
                *directing_tools(self, maps=swarm.maps),
            ],
            instructions=f"{swarm.orchestrator.instructions}\n\n{told}".strip(),
            budget=swarm.budget,
            guards=[*swarm.orchestrator.guards, lambda: Remaining(self)],
        )

    async def beside(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """`events` of the orchestrator, and between them those of its subagents. What the consumer
        has not asked for does not happen, as far as the orchestrator goes."""
        following = self._follow(events)
        try:
            while True:
                while self._told:
                    yield self._told.popleft()
                if self.halted:
                    await self._forget_pause()
                    raise Halted(self.run.id)
                if not following.done():
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                elif (event := following.result()) is None:
                    return
                else:
                    yield event
                    following = self._follow(events)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _follow(self, events: AsyncGenerator[Event]) -> asyncio.Task[Event | None]:
        async def follow() -> Event | None:
            return await anext(events, None)

        task = asyncio.create_task(follow())
        task.add_done_callback(lambda _: self._woken())
        return task

    def _woken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def note(self, event: Event) -> Event:
        """Something happened in the orchestrator's run; how it is told."""
        self.purse.note(event)
        match event:
            case StepStarted():
                self.stage += 1
                self.tally.stages += 1
                self._seconds, self._since = event.budget.get("seconds"), time.monotonic()
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
        for told in event.extra.get("subagents", ()):
            outcome = Outcome.of({k: v for k, v in told.items() if k not in ("agent", "prompt")})
            self.tally.add(outcome, event.seconds)
            self._assigned.add(outcome.run_id)
            key = (told["agent"], told["prompt"])
            self._unfinished.pop(key, None)
            if outcome.ended != "answer":
                self._unfinished[key] = (outcome.run_id, outcome.ended in ("budget", "guard"))
            if self._closed[outcome.run_id]:
                self._closed[outcome.run_id] -= 1
            else:
                self._settled[outcome.run_id] = self._spent(outcome)

    def _spent(self, outcome: Outcome) -> Lease:
        """The lease of a task that ended before the run went on."""
        before = self._settled.get(outcome.run_id)
        lease = Lease(self.ledger, self.swarm.subagent_budget, self._price, credit=before)
        if before is not None:
            lease.calls, lease.usage, lease.seconds = before.calls, before.usage, before.seconds
        lease.calls += outcome.calls
        lease.usage += outcome.usage
        lease.seconds += outcome.seconds
        lease.close()
        return lease

    def _reported(self, event: Answer) -> Answer:
        own, price = event.usage, self.swarm.orchestrator.model.profile.price
        spent = self.purse.spent
        report = self.tally.report(
            usage=own, calls=self.purse.calls, dollars=spent["dollars"], seconds=event.seconds
        )
        usage = sum((it.usage for it in self.tally.all), own)
        has_price = price is not None or self._price is not None
        dollars = report.dollars if has_price else None
        return replace(event, usage=usage, dollars=dollars, report=report.told())

    @property
    def _price(self) -> Any:
        return self.swarm.model_of_subagents.profile.price

    @property
    def tasks_left(self) -> int:
        """How many more can be assigned."""
        return max(0, self.swarm.most - len(self._assigned))

    async def assign(self, agent: str, prompt: str, key: str) -> ToolResult:
        """Have `agent` do one task; `key` names the call. Raises `ToolError` where it cannot."""
        role = self._role(agent)
        task = self._task(role, prompt, key)
        outcome, text = await self._perform(task)
        told = {**outcome.told(), "agent": role.name, "prompt": prompt}
        has_nothing = outcome.ended in ("failed", "deadline") and not outcome.steps
        return ToolResult(content_of(text), has_nothing, extra={"subagents": [told]})

    async def map(
        self, agent: str, template: str, items: Sequence[str], columns: Sequence[str], key: str
    ) -> ToolResult:
        """Have `agent` do the same for each of `items`. Raises `ToolError`."""
        role = self._role(agent)
        table = Table(tuple(columns))
        prompts = [table.prompt(template, item) for item in items]
        tasks = [
            self._task(role, prompt, hashlib.sha256(f"{key}\0{number}".encode()).hexdigest())
            for number, prompt in enumerate(prompts)
        ]
        found = await asyncio.gather(*(self._perform(task) for task in tasks))
        for item, (outcome, text) in zip(items, found, strict=True):
            table.add(item, text, outcome)
        told = [
            {**outcome.told(), "agent": role.name, "prompt": task.prompt}
            for task, (outcome, _) in zip(tasks, found, strict=True)
        ]
        extra = {"subagents": told, "table": table.told()}
        return ToolResult(content_of(table.markdown()), extra=extra)

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
        if run_id not in self._assigned and len(self._assigned) >= self.swarm.most:
            raise ToolError(
                f"this team has had its {self.swarm.most} tasks; answer with what they found"
            )
        is_new = run_id not in self._assigned
        self._assigned.add(run_id)
        if is_new and not self.run.past and (ended := self.ledger.ended):
            raise ToolError(f"the team has used up its {ended}; answer with what it has found")
        return Task(
            run_id,
            role,
            prompt,
            self.stage,
            may_exist=bool(self.run.past) or not is_new,
            message=GO_ON if before and before[1] else None,
        )

    async def _perform(self, task: Task) -> tuple[Outcome, str]:
        """A task, when its turn has come."""
        came = time.monotonic()
        async with self._turnstile.turn(task.weight):
            task.waited = time.monotonic() - came
            self._at_work += 1
            try:
                return await self._work(task)
            finally:
                self._at_work -= 1
                self._halt_if_all_are_paused()

    async def _work(self, task: Task) -> tuple[Outcome, str]:
        cap = self._cap()
        before = self._settled.get(task.run_id)
        progress = Progress(
            Lease(self.ledger, cap, self._price, credit=before),
            task.stage,
        )
        try:
            return await self._to_the_end(task, progress, cap.seconds)
        except TimeoutError:
            return task.failed(progress, "deadline", f"it did not end within {cap.seconds:g} s")
        except ChogoriError as error:
            return task.failed(progress, "failed", f"it failed: {error}")
        except Exception as error:  # whatever it is, it is this task's alone
            logger.exception("the subagent %s failed", task.run_id)
            return task.failed(progress, "failed", f"it failed: {type(error).__name__}: {error}")
        finally:
            progress.lease.close()
            self._settled[task.run_id] = progress.lease
            self._closed[task.run_id] += 1

    async def _to_the_end(
        self, task: Task, progress: Progress, seconds: float | None
    ) -> tuple[Outcome, str]:
        message = task.message
        async with asyncio.timeout(None if seconds is None else seconds + GRACE_SECONDS):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return task.answered(progress, await self._once(task, progress, message))
                except ModelUnavailable as error:
                    if attempt == ATTEMPTS or not _may_pass(error):
                        raise
                    task.may_exist, message = True, None
                    await asyncio.sleep(0.25 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, task: Task, progress: Progress, message: str | None) -> Answer:
        subagent = self._subagent(task, progress)
        assignment = Assignment(
            task.run_id, self.run.id, task.prompt, subagent, task.may_exist, message
        )
        async with aclosing(self.swarm.executor.stream(assignment)) as events:
            async for event in events:
                self._tell(task, event)
                if isinstance(event, Answer):
                    return event
                if isinstance(event, Waiting):
                    break
            else:
                raise AssertionError("a leg ends with an Answer or a Waiting")
        if event.reason != "person":
            raise ChogoriError(f"it waits for {event.reason}, which nobody can give a subagent")
        self._paused += 1
        self._halt_if_all_are_paused()
        await asyncio.Event().wait()  # until the run is let go
        raise AssertionError("it is never set")

    def _subagent(self, task: Task, progress: Progress) -> Subagent:
        agent = self.swarm.subagent(task.role)
        tools = self.results.share(agent.tools)
        own = self.folder.tools(task.role.name) if self.folder else []
        return Subagent(
            agent,
            task.role.name,
            stage=task.stage,
            limits=progress.lease.limits,
            note=progress.note,
            tools=[*tools, *own],
        )

    def _cap(self) -> Any:
        """What one subagent may have at most: its time ends before that of the whole."""
        cap = self.swarm.subagent_budget
        if self._seconds is None:
            return cap
        left = self._seconds - (time.monotonic() - self._since)
        left = max(0.0, left - min(30.0, 0.1 * (self.swarm.budget.seconds or 0.0)))
        return replace(cap, seconds=left if cap.seconds is None else min(left, cap.seconds))

    def _tell(self, task: Task, event: Event) -> None:
        if self.swarm.is_watched and not isinstance(event, _DELTAS):
            self._told.append(FromSubagent(task.run_id, task.role.name, event))
            self._woken()

    def _halt_if_all_are_paused(self) -> None:
        if self._paused and self._paused == self._at_work:
            self.halted = True
            self._woken()

    async def _forget_pause(self) -> None:
        """The pause was for the subagents: the orchestrator goes on when they have gone on."""
        store, id = self.swarm.kept_in, self.run.id
        if store is None:
            return

        def work(tx: Any) -> None:
            for message in inbox.waiting(tx, id):
                inbox.take(tx, id, message.number)
                if b'"pause"' not in message.body:
                    inbox.post(tx, id, message.body)

        await store.write(work)


def _may_pass(error: ModelUnavailable) -> bool:
    """Whether it may go better later."""
    if not isinstance(error, EndpointError):
        return False
    return error.status is None or error.status == 429 or error.status >= 500
