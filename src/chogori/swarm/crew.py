"""How the tasks of one run are done: each in its turn, within a lease, however often it takes.

A task that fails, hangs or refuses costs its own result alone, and what it had found comes back all
the same, marked. One whose model cannot be had is taken up again where it stopped; without a store,
from its beginning, if it has changed nothing yet.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chogori.agent import Agent, Budget, kept
from chogori.agent.journal import SUBAGENT
from chogori.agent.run import Run
from chogori.chat import Answer, Price, ToolFinished, Waiting
from chogori.errors import ChogoriError, EndpointError, ModelUnavailable
from chogori.store import Transaction, inbox, logs
from chogori.swarm.beside import Beside
from chogori.swarm.executor import Assignment
from chogori.swarm.folder import Folder
from chogori.swarm.ledger import Lease, Ledger
from chogori.swarm.roles import Role
from chogori.swarm.scheduler import Turnstile
from chogori.swarm.shared import Results
from chogori.swarm.steps import Outcome
from chogori.swarm.stragglers import Stragglers
from chogori.swarm.subagent import Leads, Subagent
from chogori.swarm.task import Progress, Task

if TYPE_CHECKING:
    from chogori.swarm.swarm import Swarm

logger = logging.getLogger(__name__)
ATTEMPTS = 4
"""So often a task is taken up when its model cannot be had."""
LOOK_SECONDS = 0.1
"""Before a task begins it is looked whether the run is paused, but not more often than that."""
_PAUSE = b'"pause"'
LAND_SECONDS = 30.0
"""What is kept of the whole's time for the orchestrator to land, or a tenth where that is less."""


class Halted(ChogoriError):
    """A person has paused the subagents of a run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run was paused; it goes on with: chogori runs resume {run_id}")


class Crew:
    """See the module's docstring."""

    def __init__(self, swarm: Swarm, run: Run, beside: Beside, above: Crew | None = None) -> None:
        """`above` is that of the swarm, where this one is led by a subagent of it."""
        self.swarm = swarm
        self.run = run
        self.beside = beside
        self.leads: Callable[[Run, Agent, Progress], Leads] | None = None
        """The team that a subagent leads itself, where it may."""
        self.results = above.results if above else Results()
        self.folder = Folder(swarm.kept_in, run.id) if swarm.has_folder else None
        if above is not None:
            self.folder = above.folder
        self.settled: dict[str, Lease] = {}
        """The leases of runs that came to some end, by run."""
        self.closed: Counter[str] = Counter()
        """How many of these were closed here, and the orchestrator does not know yet."""
        # A subagent waits for those below it: they cannot wait for its turn. There are few.
        self._turnstile = swarm.turnstile() if above is None else Turnstile(swarm.most)
        self._stragglers = Stragglers(swarm.patience_seconds)
        self._workers: dict[Role, Subagent] = {}
        self._recalled = asyncio.Lock()
        self._knows = not run.past
        """Whether the results that journals hold are known."""
        self._at_work = self._paused = 0
        self._looking: asyncio.Task[bool] | None = None
        self._looked = 0.0
        self._seconds: float | None = None
        self._since = time.monotonic()

    @property
    def price(self) -> Price | None:
        """Of the subagents' tokens."""
        return self.swarm.model_of_subagents.profile.price

    def begin_stage(self, seconds: float | None) -> None:
        """The orchestrator begins a step, or began it in the past, and has so many seconds left
        from there, if there is a limit."""
        journal = self.run.journal
        self._since = time.monotonic() - (journal.clock.ago if journal is not None else 0.0)
        self._seconds = seconds

    @property
    def seconds_left(self) -> float | None:
        """Of the whole's time; None where it has no limit."""
        if self._seconds is None:
            return None
        return max(0.0, self._seconds - (time.monotonic() - self._since))

    async def perform(self, task: Task, ledger: Ledger) -> tuple[Outcome, str]:
        """A task, when its turn has come: what came of it, and what the orchestrator is told."""
        came = time.monotonic()
        await self._recall()
        async with self._turnstile.turn(task.weight):
            task.waited = time.monotonic() - came
            self._at_work += 1
            try:
                if await self._is_paused():
                    await self._stand_still()
                return await self._work(task, ledger)
            finally:
                self._at_work -= 1
                self._end_if_all_are_paused()

    async def _recall(self) -> None:
        """Of a run that goes on: what its subagents have read before, nobody reads again."""
        store = self.swarm.kept_in
        if self._knows or store is None:
            return
        async with self._recalled:
            if self._knows:
                return
            pure = {t.spec.name for t in self.swarm.tools_of_subagents if t.effect == "pure"}
            ended: list[tuple[float, str, ToolFinished]] = []
            below = await store.read(lambda tx: logs.children(tx, self.run.id))
            for log in (log for log in below if log.kind == SUBAGENT):
                ended += [(at, log.name, it) for at, it in await kept.calls(store, log.name)]
            for _, run_id, finished in sorted(ended, key=lambda it: it[0]):
                self.results.recall(run_id, finished, is_shared=finished.call.name in pure)
            self._knows = True

    async def _work(self, task: Task, ledger: Ledger) -> tuple[Outcome, str]:
        cap, before = self._cap(), self.settled.get(task.run_id)
        lease = Lease(ledger, cap, self.price, credit=before)
        progress = Progress(lease, task.stage)
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
            lease.close()
            self.settled[task.run_id] = lease
            self.closed[task.run_id] += 1
            if self.swarm.ended is not None:
                await self.swarm.ended(task.run_id)

    async def _to_the_end(
        self, task: Task, progress: Progress, seconds: float | None
    ) -> tuple[Outcome, str]:
        """Within its time, and with a second run beside it once it hangs: what answers first."""
        race = Race(self, task, progress)
        grace = self.swarm.grace_seconds
        try:
            async with asyncio.timeout(None if seconds is None else seconds + grace) as timer:
                with self._stragglers.watching(progress, lambda: race.begin(timer)):
                    found = await self._tries(task, progress)
            self._stragglers.answered(progress)
            return found
        except TimeoutError:
            if race.found is None:
                raise
            return race.found
        finally:
            await race.end()

    async def _tries(self, task: Task, progress: Progress) -> tuple[Outcome, str]:
        message = task.message
        for attempt in range(1, ATTEMPTS + 1):
            try:
                assignment = self.assignment(task, progress, message)
                return task.answered(progress, await self.once(task, assignment))
            except ModelUnavailable as error:
                is_kept = self.swarm.kept_in is not None
                if attempt == ATTEMPTS or not _may_pass(error):
                    raise
                if not is_kept and progress.has_acted:  # it would begin anew, and act again
                    raise
                await asyncio.sleep(self.swarm.retry_seconds * 2 ** (attempt - 1))
                task.may_exist, message = True, None
                if is_kept:
                    progress.again()
        raise AssertionError("the last attempt returns or raises")

    def assignment(self, task: Task, progress: Progress, message: str | None = None) -> Assignment:
        """What the executor is told."""
        subagent = self._subagent(task, progress)
        return Assignment(task.run_id, self.run.id, task.prompt, subagent, task.may_exist, message)

    async def once(self, task: Task, assignment: Assignment) -> Answer:
        """One run of it, from where it stands to its answer. Raises whatever ends it."""
        async with aclosing(self.swarm.executor.stream(assignment)) as events:
            try:
                async for event in events:
                    self.beside.tell(assignment.run_id, task.role.name, event)
                    if isinstance(event, Answer):
                        return event
                    if isinstance(event, Waiting):
                        if event.reason == "person":
                            break
                        raise ChogoriError(
                            f"it waits for {event.reason}, which nobody can give a subagent"
                        )
                else:
                    raise AssertionError("a leg ends with an Answer or a Waiting")
            except Halted:  # all below it are paused
                pass
            await self._stand_still()
            raise AssertionError("who stands still is let go with the run")

    def _subagent(self, task: Task, progress: Progress) -> Subagent:
        return replace(
            self._worker(task.role),
            stage=task.stage,
            limits=progress.lease.limits,
            note=progress.note,
            leads=self._lead(progress),
        )

    def _worker(self, role: Role) -> Subagent:
        """What all subagents of a role have in common. What is made of it for the model, for the
        records, and of the description is made once, whoever asks for it next."""
        if role not in self._workers:
            agent = self.swarm.subagent(role)
            own = self.folder.tools(role.name) if self.folder else []
            tools = [*self.results.share(agent.tools), *own]
            worker = Subagent(agent, role.name, tools=tools)
            self._workers[role] = replace(worker, described=worker.describe())
        return self._workers[role]

    def _lead(self, progress: Progress) -> Callable[[Run, Agent], Leads] | None:
        leads = self.leads
        return None if leads is None else lambda run, agent: leads(run, agent, progress)

    def _cap(self) -> Budget:
        """What one subagent may have at most: its time ends before that of the whole."""
        cap, seconds = self.swarm.subagent_budget, self.seconds_left
        if seconds is None:
            return cap
        kept = min(LAND_SECONDS, 0.1 * (self.swarm.budget.seconds or 0.0))
        left = max(0.0, seconds - kept)
        return replace(cap, seconds=left if cap.seconds is None else min(left, cap.seconds))

    async def _is_paused(self) -> bool:
        """Whether a person has paused the whole: then nothing begins. The orchestrator hears of it
        with its next step, which comes after all of this one's tasks."""
        now = time.monotonic()
        if self._looking is None or now - self._looked > LOOK_SECONDS:
            self._looked, self._looking = now, asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> bool:
        store, id = self.swarm.kept_in, self.run.id
        if store is None:
            return False
        posted = await store.read(lambda tx: inbox.waiting(tx, id))
        return any(_PAUSE in message.body for message in posted)

    async def _stand_still(self) -> None:
        """One of those at work is paused: it waits until the run is let go."""
        self._paused += 1
        self._end_if_all_are_paused()
        await asyncio.Event().wait()

    def _end_if_all_are_paused(self) -> None:
        if self._paused and self._paused >= self._at_work:
            self.beside.end(Halted(self.run.id))

    async def forget_pause(self) -> None:
        """The pause was for the subagents: the orchestrator goes on when they have gone on."""
        store, id = self.swarm.kept_in, self.run.id
        if store is None:
            return

        def work(tx: Transaction) -> Any:
            for message in inbox.waiting(tx, id):
                inbox.take(tx, id, message.number)
                if _PAUSE not in message.body:
                    inbox.post(tx, id, message.body)

        await store.write(work)


class Race:
    """A second run of a task that hangs, from where it stands: what answers first counts. Only work
    that is pure is done twice."""

    def __init__(self, crew: Crew, task: Task, progress: Progress) -> None:
        self.crew = crew
        self.task = task
        self.progress = progress
        self.found: tuple[Outcome, str] | None = None
        self._second: asyncio.Task[None] | None = None

    def begin(self, timer: asyncio.Timeout) -> None:
        """The first hangs; `timer` ends it once the second has answered."""
        tools = self.crew.swarm.subagent(self.task.role).tools
        if all(tool.effect == "pure" for tool in tools):
            self._second = asyncio.create_task(self._run(timer))

    async def _run(self, timer: asyncio.Timeout) -> None:
        crew, task, first = self.crew, self.task, self.progress
        lease = Lease(first.lease.ledger, first.lease.cap, crew.price, credit=copy(first.lease))
        second, id, store = Progress(lease, task.stage), f"{task.run_id}-2", crew.swarm.kept_in
        try:
            if store is not None:
                await kept.fork(store, task.run_id, id=id, kind=SUBAGENT)
            assignment = replace(
                crew.assignment(task, second),
                run_id=id,
                parent=task.run_id,
                may_exist=store is not None,
            )
            answer = await crew.once(task, assignment)
            self.found = task.answered(second, answer, [first])
            timer.reschedule(asyncio.get_running_loop().time())
        except ChogoriError as error:
            logger.info("a second run of %s came to nothing: %s", task.run_id, error)
        finally:
            lease.close()

    async def end(self) -> None:
        """Whoever has not answered by now is let go."""
        if self._second is not None:
            self._second.cancel()
            await asyncio.gather(self._second, return_exceptions=True)


def _may_pass(error: ModelUnavailable) -> bool:
    """Whether it may go better later."""
    if not isinstance(error, EndpointError):
        return False
    return error.status is None or error.status == 429 or error.status >= 500
