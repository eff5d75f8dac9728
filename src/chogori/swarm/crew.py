"""How the tasks of one run are done: each in its turn, within a lease, however often it takes.

A task that fails, hangs or refuses costs its own result alone, and what it had found comes back all
the same, marked. One whose model cannot be had is taken up again where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chogori.agent import Budget
from chogori.agent.run import Run
from chogori.chat import Answer, Price, Waiting
from chogori.errors import ChogoriError, EndpointError, ModelUnavailable
from chogori.store import Transaction, inbox
from chogori.swarm.beside import Beside
from chogori.swarm.executor import Assignment
from chogori.swarm.folder import Folder
from chogori.swarm.ledger import Lease, Ledger
from chogori.swarm.shared import Results
from chogori.swarm.steps import Outcome
from chogori.swarm.subagent import Subagent
from chogori.swarm.task import Progress, Task

if TYPE_CHECKING:
    from chogori.swarm.swarm import Swarm

logger = logging.getLogger(__name__)
ATTEMPTS = 4
"""So often a task is taken up when its model cannot be had."""
LAND_SECONDS = 30.0
"""What is kept of the whole's time for the orchestrator to land, or a tenth where that is less."""


class Halted(ChogoriError):
    """A person has paused the subagents of a run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run was paused; it goes on with: chogori runs resume {run_id}")


class Crew:
    """See the module's docstring."""

    def __init__(self, swarm: Swarm, run: Run, beside: Beside) -> None:
        self.swarm = swarm
        self.run = run
        self.beside = beside
        self.results = Results()
        self.folder = Folder(swarm.kept_in, run.id) if swarm.has_folder else None
        self.settled: dict[str, Lease] = {}
        """The leases of runs that came to some end, by run."""
        self.closed: Counter[str] = Counter()
        """How many of these were closed here, and the orchestrator does not know yet."""
        self._turnstile = swarm.turnstile()
        self._at_work = self._paused = 0
        self._seconds: float | None = None
        self._since = time.monotonic()

    @property
    def price(self) -> Price | None:
        """Of the subagents' tokens."""
        return self.swarm.model_of_subagents.profile.price

    def begin_stage(self, seconds: float | None) -> None:
        """The orchestrator begins a step, and has so many seconds left, if there is a limit."""
        self._seconds, self._since = seconds, time.monotonic()

    async def perform(self, task: Task, ledger: Ledger) -> tuple[Outcome, str]:
        """A task, when its turn has come: what came of it, and what the orchestrator is told."""
        came = time.monotonic()
        async with self._turnstile.turn(task.weight):
            task.waited = time.monotonic() - came
            self._at_work += 1
            try:
                return await self._work(task, ledger)
            finally:
                self._at_work -= 1
                self._end_if_all_are_paused()

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
        message = task.message
        grace = self.swarm.grace_seconds
        async with asyncio.timeout(None if seconds is None else seconds + grace):
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
                self.beside.tell(task.run_id, task.role.name, event)
                if isinstance(event, Answer):
                    return event
                if isinstance(event, Waiting) and event.reason == "person":
                    self._paused += 1
                    self._end_if_all_are_paused()
                    await asyncio.Event().wait()  # until the run is let go
                if isinstance(event, Waiting):
                    raise ChogoriError(
                        f"it waits for {event.reason}, which nobody can give a subagent"
                    )
        raise AssertionError("a leg ends with an Answer or a Waiting")

    def _subagent(self, task: Task, progress: Progress) -> Subagent:
        agent = self.swarm.subagent(task.role)
        own = self.folder.tools(task.role.name) if self.folder else []
        return Subagent(
            agent,
            task.role.name,
            stage=task.stage,
            limits=progress.lease.limits,
            note=progress.note,
            tools=[*self.results.share(agent.tools), *own],
        )

    def _cap(self) -> Budget:
        """What one subagent may have at most: its time ends before that of the whole."""
        cap = self.swarm.subagent_budget
        if self._seconds is None:
            return cap
        kept = min(LAND_SECONDS, 0.1 * (self.swarm.budget.seconds or 0.0))
        left = max(0.0, self._seconds - (time.monotonic() - self._since) - kept)
        return replace(cap, seconds=left if cap.seconds is None else min(left, cap.seconds))

    def _end_if_all_are_paused(self) -> None:
        if self._paused and self._paused == self._at_work:
            self.beside.end(Halted(self.run.id))

    async def forget_pause(self) -> None:
        """The pause was for the subagents: the orchestrator goes on when they have gone on."""
        store, id = self.swarm.kept_in, self.run.id
        if store is None:
            return

        def work(tx: Transaction) -> Any:
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
