"""What a Ray task does: it makes the subagent again from its description, and tells what happens.

Nothing but JSON and names of functions came with it. What it records goes through the journal's
actor; what it tells is for whoever watches, and may be lost with its node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from chogori.agent import Budget
from chogori.chat import ChatModel, Event, on_behalf_of
from chogori.chat.event_json import to_line
from chogori.errors import ChogoriError, ConfigError
from chogori.swarm.executor import Assignment, Local
from chogori.swarm.folder import Folder
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


def perform(order: Order, journal: Any, slots: Any) -> Iterator[Batch]:
    """Run the task to its end. `journal` and `slots` are handles of the two actors."""
    with asyncio.Runner() as runner:
        happened: asyncio.Queue[Told | None] = asyncio.Queue()
        work = runner.get_loop().create_task(_work(order, journal, slots, happened.put_nowait))
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


async def _work(order: Order, journal: Any, slots: Any, tell: Callable[[Told], None]) -> None:
    allowed = [Budget(**order.limits)]
    store = RemoteStore(
        journal, order.run_id, lambda limits: allowed.__setitem__(0, Budget(**limits))
    )
    model: ChatModel = resolve(order.load)(order.description["model"])
    model = _leased(model, slots, order.run_id)
    stop = asyncio.create_task(_stop_when_told(journal, order.run_id, asyncio.current_task()))
    try:
        async with resolve(order.rebuild)(
            order.description, model, store=store, runs=Path(order.runs), budget=allowed[0]
        ) as rebuilt:
            subagent = _equipped(order, rebuilt, store, lambda: allowed[0])
            with on_behalf_of(order.behalf):
                await _tell_all(order, subagent, tell)
    finally:
        stop.cancel()
        await model.aclose()


def _equipped(
    order: Order, rebuilt: Subagent, store: RemoteStore, limits: Callable[[], Budget]
) -> Subagent:
    """The subagent, with what only the orchestrator's process could give it."""
    tools = list(rebuilt.agent.tools)
    if order.has_folder:
        tools += Folder(store, order.parent).tools(rebuilt.name)
    return replace(rebuilt, stage=order.stage, limits=limits, tools=tools)


async def _tell_all(order: Order, subagent: Subagent, tell: Callable[[Told], None]) -> None:
    noted: list[Event] = []
    assignment = Assignment(
        order.run_id,
        order.parent,
        order.prompt,
        replace(subagent, note=noted.append),
        order.may_exist,
        order.message,
    )
    events: AsyncGenerator[Event] = Local().stream(assignment)
    async with aclosing(events):
        async for event in events:
            for past in noted:
                if past is not event:
                    tell((to_line(past, 0), False))
            noted.clear()
            tell((to_line(event, 0), True))


async def _stop_when_told(journal: Any, run_id: str, work: asyncio.Task[Any] | None) -> None:
    with suppress(Exception):  # where the journal is gone the work will hear of it by itself
        await journal.stopped.remote(run_id)
        if work is not None:
            work.cancel()


def _leased(model: ChatModel, slots: Any, name: str) -> ChatModel:
    number = getattr(model, "slots", None)
    if not isinstance(number, int):
        return model
    import ray

    engine = f"{ray.get_runtime_context().get_node_id()} {model.profile.spec}"
    return LeasedModel(model, number, engine, slots, name)


def resolve(path: str) -> Any:
    """What "module:name" names. Raises `ConfigError`."""
    module, _, name = path.partition(":")
    try:
        return reduce(getattr, name.split("."), import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be imported ({error}); is its folder on PYTHONPATH of every node?"
        ) from error
