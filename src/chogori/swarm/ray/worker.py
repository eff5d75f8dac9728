"""What a Ray task does: it makes the subagent again from its description, and tells what happens.

Nothing but JSON and names of functions came with it. What it records goes through the journal's
actor; what it tells is for whoever watches, and may be lost with its node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, replace
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from chogori.agent import Budget
from chogori.chat import ChatModel, Event, ReplyFinished, TakesLimiter, on_behalf_of
from chogori.chat.event_json import to_line
from chogori.errors import ChogoriError, ConfigError
from chogori.swarm.executor import Assignment, Local
from chogori.swarm.folder import Folder
from chogori.swarm.ray.endpoints import SharedLimiter
from chogori.swarm.ray.journal import Limits, RemoteStore
from chogori.swarm.ray.slots import LeasedModel
from chogori.swarm.subagent import Subagent

Told = tuple[bytes, bool]
"""An event as a line of JSON, and whether it is news: of the past it is told for accounts only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An assignment, as it travels."""

    run_id: str
    parent: str
    prompt: str
    description: Mapping[str, Any]
    stage: int
    limits: Limits
    has_folder: bool
    may_exist: bool
    message: str | None
    behalf: str
    """On whose behalf it asks its model (`chat.on_behalf_of`)."""
    rebuild: str
    load: str
    """Where those functions are: "module:name"."""
    runs: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened since the last one, and what the task failed of."""

    told: list[Told]
    error: ChogoriError | None = None


@dataclass(frozen=True, slots=True)
class Actors:
    """Handles of what all tasks share."""

    journal: Any
    slots: Any
    """Of embedded engines."""
    limiters: Any
    """Of endpoints."""


def perform(order: Order, actors: Actors) -> Iterator[Batch]:
    """Run the task to its end."""
    with asyncio.Runner() as runner:
        happened: asyncio.Queue[Told | None] = asyncio.Queue()
        work = runner.get_loop().create_task(_work(order, actors, happened.put_nowait))
        work.add_done_callback(lambda _: happened.put_nowait(None))
        try:
            while told := runner.run(_batch(happened)):
                yield Batch(told)
            yield Batch([], _error_of(work))
        finally:
            if not work.done():
                work.cancel()
                runner.run(_over(work))


async def _batch(happened: asyncio.Queue[Told | None]) -> list[Told]:
    """What there is, at least something; nothing when the work is over."""
    told = [await happened.get()]
    while told[-1] is not None and not happened.empty():
        told.append(happened.get_nowait())
    batch = [each for each in told if each is not None]
    if batch and told[-1] is None:
        happened.put_nowait(None)
    return batch


async def _over(work: asyncio.Task[None]) -> None:
    await asyncio.wait([work])


def _error_of(work: asyncio.Task[None]) -> ChogoriError | None:
    """What is for people; anything else is raised, and Ray tells its traceback."""
    if work.cancelled():
        return None
    error = work.exception()
    if error is None or isinstance(error, ChogoriError):
        return error
    raise error


async def _work(order: Order, actors: Actors, tell: Callable[[Told], None]) -> None:
    journal = actors.journal
    store, account = RemoteStore(journal), Account(order.run_id, journal, Budget(**order.limits))
    model = _taking_turns(resolve(order.load)(order.description["model"]), actors, order.run_id)
    stop = asyncio.create_task(_stop_when_told(journal, order.run_id, asyncio.current_task()))
    try:
        limits, runs = asdict(account.allowed), Path(order.runs)
        async with resolve(order.rebuild)(
            order.description, model, store=store, runs=runs, limits=limits
        ) as rebuilt:
            subagent = _equipped(order, rebuilt, store, account)
            with on_behalf_of(order.behalf):
                await _tell_all(order, subagent, account, tell)
    finally:
        stop.cancel()
        await model.aclose()


class Account:
    """What the subagent may use up. It is the orchestrator that says so, once it knows of the last
    reply; replies that were recorded earlier were allowed what they asked for."""

    def __init__(self, run_id: str, journal: Any, allowed: Budget) -> None:
        self.allowed = allowed
        self.noted: list[Event] = []
        """What the orchestrator has not been told yet."""
        self._run_id = run_id
        self._journal = journal
        self._told = self._recorded = 0

    def note(self, event: Event) -> None:
        """Something happened, now or in the past."""
        self.noted.append(event)
        if isinstance(event, ReplyFinished):
            self._recorded += len(event.message.tool_calls)

    def limits(self) -> Budget:
        """What it may use up at this time."""
        if self.allowed.calls is None:
            return self.allowed
        return replace(self.allowed, calls=max(self.allowed.calls, self._recorded))

    async def tell(self, event: Event, tell: Callable[[Told], None]) -> None:
        """Tell `event`, which is new, after all that was noted; wait until it is accounted for if
        what may be done next depends on that."""
        lines = [(to_line(past, 0), False) for past in self.noted if past is not event]
        self.noted.clear()
        for told in (*lines, (to_line(event, 0), True)):
            tell(told)
        self._told += len(lines) + 1
        if isinstance(event, ReplyFinished) and event.message.tool_calls:
            self._recorded -= len(event.message.tool_calls)
            allowed = await self._journal.allowed.remote(self._run_id, self._told)
            self.allowed = Budget(**allowed)


def _equipped(order: Order, rebuilt: Subagent, store: RemoteStore, account: Account) -> Subagent:
    """The subagent, with what only the orchestrator's process could give it."""
    tools = list(rebuilt.agent.tools)
    if order.has_folder:
        tools += Folder(store, order.parent).tools(rebuilt.name)
    return replace(
        rebuilt, stage=order.stage, limits=account.limits, note=account.note, tools=tools
    )


async def _tell_all(
    order: Order, subagent: Subagent, account: Account, tell: Callable[[Told], None]
) -> None:
    told = (order.run_id, order.parent, order.prompt, subagent, order.may_exist, order.message)
    events: AsyncGenerator[Event] = Local().stream(Assignment(*told))
    async with aclosing(events):
        async for event in events:
            await account.tell(event, tell)


async def _stop_when_told(journal: Any, run_id: str, work: asyncio.Task[Any] | None) -> None:
    with suppress(Exception):  # where the journal is gone the work will hear of it by itself
        await journal.stopped.remote(run_id)
        if work is not None:
            work.cancel()


def _taking_turns(model: ChatModel, actors: Actors, name: str) -> ChatModel:
    """The same model, which is asked in turn with all others of its engine or endpoint."""
    if isinstance(model, TakesLimiter):
        address = model.profile.spec.partition("#")[0]
        model.limited_by(SharedLimiter(address, actors.limiters, name))
    number = getattr(model, "slots", None)
    if not isinstance(number, int):
        return model
    import ray

    engine = f"{ray.get_runtime_context().get_node_id()} {model.profile.spec}"
    return LeasedModel(model, number, engine, actors.slots, name)


def resolve(path: str) -> Any:
    """What "module:name" names. Raises `ConfigError`."""
    module, _, name = path.partition(":")
    try:
        return reduce(getattr, name.split("."), import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be imported ({error}); is its folder on PYTHONPATH of every node?"
        ) from error
