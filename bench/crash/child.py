"""The process that is killed: it begins a run or resumes it, and writes down how that ended.

At a boundary of which it was told it kills itself, as nothing else could: SIGKILL. Boundaries are
"submitted" (records are about to be written), "writing" (they are within a transaction), "durable"
(they are on the disk, and nobody knows yet), "asked" and "replied" (of the model), "doing" and
"done" (of a tool).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chogori.agent import Agent
from chogori.agent.journal import read
from chogori.agent.kept import verify
from chogori.chat import (
    Answer,
    Conversation,
    Delta,
    Message,
    Options,
    ScriptedModel,
    ToolCall,
    ToolSpec,
    assistant,
)
from chogori.errors import ChogoriError, RunNotFound
from chogori.store import SqliteStore, Work, open_store

from .world import EFFECTS, World

RUN = "run-1"
STEPS = 10


@dataclass(frozen=True, slots=True)
class Order:
    """What a child is to do."""

    folder: Path
    calls: int
    """How many calls a step makes."""
    kind: str = ""
    """Die at a boundary of this kind; "": live."""
    number: int = 0
    """At which of them, counted from 1."""
    clock: Callable[[], float] = time.time
    """The clock of the store."""
    pages: int = 0
    """How many pages the database may have; 0: as many as it likes."""
    disk: Path | None = None
    """Where the store is, if not in the folder."""

    @property
    def world(self) -> Path:
        """The file that is the world outside."""
        return self.folder / "world"

    @property
    def data(self) -> Path:
        """The folder of the store."""
        return (self.disk or self.folder) / "data"

    @property
    def result(self) -> Path:
        """How it ended: JSON."""
        return self.folder / "result"


class Boundaries:
    """Counts them, and dies at one."""

    def __init__(self, kind: str, number: int) -> None:
        self._kind = kind
        self._number = number
        self.counts: Counter[str] = Counter()

    def __call__(self, kind: str) -> None:
        self.counts[kind] += 1
        if kind == self._kind and self.counts[kind] == self._number:
            os.kill(os.getpid(), signal.SIGKILL)


class WatchedStore:
    """A store whose writes are boundaries."""

    def __init__(self, store: SqliteStore, boundary: Boundaries) -> None:
        self._store = store
        self._boundary = boundary

    def submit(self, work: Work[Any], *, synced: bool = True) -> asyncio.Future[Any]:
        def watched(tx: Any) -> Any:
            self._boundary("writing")
            return work(tx)

        self._boundary("submitted")
        future = self._store.submit(watched, synced=synced)
        future.add_done_callback(lambda _: self._boundary("durable"))
        return future

    def rung(self) -> int | None:
        return self._store.rung()

    async def write(self, work: Work[Any], *, synced: bool = True) -> Any:
        return await self.submit(work, synced=synced)

    async def read(self, work: Work[Any]) -> Any:
        return await self._store.read(work)

    async def aclose(self) -> None:
        await self._store.aclose()


class WatchedModel:
    """A scripted model that notes in the world what it is asked."""

    def __init__(self, calls: int, world: World, boundary: Boundaries) -> None:
        self._model = ScriptedModel(script(calls))
        self._world = world
        self._boundary = boundary
        self.profile = self._model.profile

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        self._world.note(asked=sum(message.role == "assistant" for message in conversation))
        self._boundary("asked")
        async for delta in self._model.stream(conversation, tools, options):
            yield delta
        self._boundary("replied")

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return await self._model.count(conversation, tools)

    async def aclose(self) -> None:
        await self._model.aclose()


def script(calls: int) -> list[Message | str]:
    """Ten steps, their calls of every effect in turn; then the answer."""
    made: list[Message | str] = []
    for step in range(STEPS):
        names = [EFFECTS[(step + number) % len(EFFECTS)] for number in range(calls)]
        made.append(
            assistant(
                reasoning=f"I think of step {step}.",
                calls=[
                    ToolCall(f"call_{step}_{n}", name, json.dumps({"value": f"{step}.{n}"}))
                    for n, name in enumerate(names)
                ],
            )
        )
    return [*made, "That is all."]


def deeds(calls: int) -> list[str]:
    """The calls of `script`, as "tool value"."""
    return [
        f"{call.name} {json.loads(call.arguments)['value']}"
        for message in script(calls)
        if isinstance(message, Message)
        for call in message.tool_calls
    ]


def play(order: Order) -> None:
    """Do as ordered."""
    asyncio.run(_play(order))


async def _play(order: Order) -> None:
    boundary = Boundaries(order.kind, order.number)
    world = World(order.world, boundary)
    try:
        async with open_store(order.data, clock=order.clock) as store:
            if order.pages:
                await store.write(lambda tx: tx.execute(f"pragma max_page_count={order.pages}"))
            told = await _driven(order, world, WatchedStore(store, boundary), boundary)
            order.result.write_text(json.dumps(await _ending(told, store, boundary)))
    except ChogoriError as error:
        order.result.write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}))


async def _driven(
    order: Order, world: World, store: WatchedStore, boundary: Boundaries
) -> list[Any]:
    agent = Agent(WatchedModel(order.calls, world, boundary), world.tools(), store=store)
    try:
        past = await read(store, RUN)
    except RunNotFound:
        return [event async for event in agent.stream("Go.", run_id=RUN)]
    world.note(recorded=sum(entry.type == "reply_finished" for entry in past))
    return [event async for event in agent.resume(RUN)]


async def _ending(told: list[Any], store: SqliteStore, boundary: Boundaries) -> dict[str, Any]:
    end = told[-1]
    assert isinstance(end, Answer), f"the run ended with {end}"
    past = await read(store, RUN)
    unknown = [e for e in past if e.type == "tool_finished" and e.fields["extra"].get("unknown")]
    return {
        "history": [_plain(message) for message in end.conversation],
        "unknown": [list(entry.place) for entry in unknown],
        "replies": [entry.fields["turn"] for entry in past if entry.type == "reply_finished"],
        "problem": (await verify(store, RUN)).problem,
        "boundaries": boundary.counts,
    }


def _plain(message: Message) -> dict[str, Any]:
    return {
        "role": message.role,
        "text": message.text,
        "reasoning": message.reasoning,
        "calls": [[call.id, call.name, call.arguments] for call in message.tool_calls],
        "answers": message.tool_call_id,
    }
