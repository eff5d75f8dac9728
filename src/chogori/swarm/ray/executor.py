"""The orchestrator's side of subagents on Ray: it sends tasks out, and hears of what they do.

A task whose node or process is lost is sent out again, and goes on from its journal as soon as the
lease of its run is free: at once where the same machine can tell that the process has ended, else
when the lease ends by itself. What is heard is for accounts and views; what counts is in the
journal. Storage is one database on the orchestrator's machine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import orjson

from chogori.agent import Budget
from chogori.chat import Answer, Event, ReplyFinished, Waiting
from chogori.chat.event_json import decode
from chogori.chat.turns import behalf
from chogori.errors import ChogoriError, ConfigError, LeaseHeld
from chogori.swarm.executor import Assignment
from chogori.swarm.ray.endpoints import LimitersActor
from chogori.swarm.ray.journal import JournalActor
from chogori.swarm.ray.slots import SlotsActor
from chogori.swarm.ray.worker import Actors, Batch, Order, perform
from chogori.swarm.subagent import Subagent

logger = logging.getLogger(__name__)
ATTEMPTS = 6
"""So often a task is sent out; if its process is lost each time, it is the task's own doing."""
LEASE_PATIENCE_SECONDS = 120.0
_END_SECONDS = 15.0
"""How long a task may take to stop."""


class RayExecutor:
    """See the module's docstring. Raises `ConfigError` where Ray is not installed."""

    def __init__(
        self,
        folder: Path,
        *,
        address: str | None = None,
        rebuild: str = "chogori.presets:rebuild",
        load: str = "chogori.presets:load",
        runs: Path | None = None,
        task_options: Mapping[str, Any] | None = None,
    ) -> None:
        """`folder` is where the store of the orchestrator is. `rebuild` and `load` are where those
        functions are found on every node ("module:name"): the first makes a subagent from its
        description, the second a model from its spec. `runs` is where the folders of runs are, on
        every node. `task_options` are Ray's own, for each subagent: {"num_cpus": 0.1}. Without an
        `address` the cluster is the one that Ray is connected with, or one that it starts here."""
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ConfigError(
                "subagents on Ray need Ray, which is not installed: pip install 'chogori[ray]'"
            ) from error
        self._ray: Any = ray
        self._folder = folder
        self._address = address
        self._rebuild = rebuild
        self._load = load
        self._runs = runs or folder / "runs"
        self._options = {"num_cpus": 1, **(task_options or {})}
        self._actors: Actors | None = None

    async def stream(self, assignment: Assignment) -> AsyncGenerator[Event]:
        """See `Executor.stream`."""
        subagent = assignment.subagent
        if not isinstance(subagent, Subagent):
            raise ConfigError(f"a {type(subagent).__name__} cannot be sent to another process")
        order, notes = self._order(assignment, subagent), _Notes(subagent)
        lost, since = 0, time.monotonic()
        while True:
            try:
                async with aclosing(self._once(order, notes)) as events:
                    async for event in events:
                        yield event
                return
            except LeaseHeld as held:
                if time.monotonic() - since > LEASE_PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(min(max(held.until - time.time(), 0.0), 2.0) + 0.1)
            except self._lost as error:
                lost += 1
                if lost == ATTEMPTS:
                    raise ChogoriError(
                        f"its process was lost {lost} times; the last time: {error}"
                    ) from error
                why = type(error).__name__
                logger.warning("%s was lost (%s); it goes on elsewhere", order.run_id, why)
                since = time.monotonic()
            order = replace(order, may_exist=True)
            notes.begin_again()

    async def aclose(self) -> None:
        """End the actors; the cluster is left as it is."""
        actors, self._actors = self._actors, None
        if actors is not None:
            for actor in (actors.journal, actors.slots, actors.limiters):
                self._ray.kill(actor)

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        exceptions = self._ray.exceptions
        return (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.LocalRayletDiedError,
            exceptions.RaySystemError,
        )

    async def _once(self, order: Order, notes: _Notes) -> AsyncGenerator[Event]:
        """The task, sent out once."""
        actors = self._begun()
        journal = actors.journal
        task = self._ray.remote(perform).options(
            num_returns="streaming", max_retries=0, **self._options
        )
        await journal.begin.remote(order.run_id)
        batches, heard, is_over = task.remote(order, actors), 0, False
        try:
            async for reference in batches:
                batch = cast(Batch, await reference)
                if batch.error is not None:
                    is_over = True
                    raise batch.error
                for line, is_news in batch.told:
                    event, heard = decode(orjson.loads(line))[1], heard + 1
                    notes.note(event)
                    if is_news and isinstance(event, ReplyFinished):
                        journal.allow.remote(order.run_id, heard, asdict(notes.limits))
                    if is_news:
                        is_over = isinstance(event, Answer | Waiting)
                        yield event
                        if is_over:
                            return
        finally:
            if not is_over:
                await self._stop(journal, order.run_id, batches)

    async def _stop(self, journal: Any, run_id: str, batches: Any) -> None:
        """Have the task stop where it is, and wait until it has let its run go."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await journal.stop.remote(run_id)
                async for reference in batches:
                    await reference
        except (TimeoutError, self._ray.exceptions.RayError):
            logger.debug("%s did not stop by itself", run_id)

    def _order(self, assignment: Assignment, subagent: Subagent) -> Order:
        return Order(
            run_id=assignment.run_id,
            parent=assignment.parent,
            prompt=assignment.prompt,
            description=subagent.describe(),
            stage=subagent.stage,
            limits=asdict(_Notes(subagent).limits),
            has_folder=len(subagent.tools or ()) > len(subagent.agent.tools),
            may_exist=assignment.may_exist,
            message=assignment.message,
            behalf=behalf() or assignment.parent,
            rebuild=self._rebuild,
            load=self._load,
            runs=str(self._runs),
        )

    def _begun(self) -> Actors:
        """The actors: the journal's, that of the slots and that of the limiters, on this node."""
        if self._actors is None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            if not self._ray.is_initialized():
                self._ray.init(address=self._address, log_to_driver=False)
            here = NodeAffinitySchedulingStrategy(
                self._ray.get_runtime_context().get_node_id(), soft=False
            )
            options = {"num_cpus": 0, "scheduling_strategy": here, "max_concurrency": 10_000}
            journal = self._ray.remote(JournalActor).options(**options)
            slots = self._ray.remote(SlotsActor).options(**options)
            limiters = self._ray.remote(LimitersActor).options(**options)
            self._actors = Actors(
                journal.remote(str(self._folder)), slots.remote(), limiters.remote()
            )
        return self._actors


class _Notes:
    """Passes on what a subagent tells; what it tells again after it was lost is passed on once."""

    def __init__(self, subagent: Subagent) -> None:
        self._subagent = subagent
        self._told: Counter[str] = Counter()
        self._again: Counter[str] = Counter()

    @property
    def limits(self) -> Budget:
        """What the subagent may use up by now."""
        subagent = self._subagent
        return subagent.limits() if subagent.limits else subagent.agent.budget

    def begin_again(self) -> None:
        """The subagent was lost, and its run is driven again from the start."""
        self._again = Counter()

    def note(self, event: Event) -> None:
        """Pass `event` on."""
        kind = type(event).__name__
        self._again[kind] += 1
        if self._again[kind] <= self._told[kind]:
            return
        self._told[kind] += 1
        if self._subagent.note is not None:
            self._subagent.note(event)
