"""What the tests of kept runs share: a world that tools act on, and runs that are cut anywhere."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent_harness import story

from chogori.agent.journal import Entry, read
from chogori.agent.verbs import Verbs
from chogori.chat import (
    Answer,
    Event,
    Message,
    ScriptedModel,
    Tool,
    ToolContext,
    ToolError,
    ToolFinished,
    Waiting,
    tool,
)
from chogori.errors import StoreError
from chogori.store import (
    Record,
    SqliteStore,
    Store,
    Transaction,
    Work,
    blobs,
    logs,
    open_store,
)

RUN = "run-1"
_MEMORY = Path("/dev/shm")


class Clock:
    """Stands still unless it is set. Leases go by it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def scratch_store(clock: Callable[[], float] = time.time) -> AsyncIterator[SqliteStore]:
    """A store for one example of many: in memory, where there is such a place."""
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        async with open_store(Path(folder), clock=clock) as store:
            yield store


@dataclass(slots=True)
class World:
    """What tools act on. It outlives the runs."""

    deeds: list[str] = field(default_factory=list[str])
    """Each deed as often as it was done: "tool value"."""
    keys: dict[str, str] = field(default_factory=dict[str, str])
    """What was written under each idempotency key."""
    asked: Counter[str] = field(default_factory=Counter[str])
    """How often it was asked whether a deed was done."""
    _tools: list[Tool] = field(default_factory=list[Tool])

    def tools(self) -> list[Tool]:
        """One of every effect. `charge` needs a person's yes."""
        self._tools = self._tools or [
            tool(effect="pure")(self.look),
            tool(effect="idempotent")(self.put),
            tool(effect="reconcilable", reconcile=self.was_edited)(self.edit),
            tool(effect="once", approval=False)(self.send),
            tool(effect="once")(self.charge),
        ]
        return self._tools

    async def look(self, value: str) -> str:
        """Look."""
        self.deeds.append(f"look {value}")
        if value.startswith("no"):
            raise ToolError(f"there is no {value}")
        return f"saw {value}"

    async def put(self, value: str, context: ToolContext) -> str:
        """Put."""
        if context.key not in self.keys:
            self.keys[context.key] = value
            self.deeds.append(f"put {value}")
        return f"put {value} as number {list(self.keys).index(context.key) + 1}"

    async def edit(self, value: str) -> str:
        """Edit."""
        self.deeds.append(f"edit {value}")
        return f"edited {value}"

    async def was_edited(self, value: str) -> str | None:
        """What `edit` would have said, if it was done."""
        self.asked[value] += 1
        return f"edited {value}" if f"edit {value}" in self.deeds else None

    async def send(self, value: str) -> str:
        """Send."""
        self.deeds.append(f"send {value}")
        return f"sent {value}"

    async def charge(self, value: str) -> str:
        """Charge."""
        self.deeds.append(f"charge {value}")
        return f"charged {value}"

    def as_of(self, done: Counter[str]) -> World:
        """The world when no more than `done` had been done."""
        left, then = done.copy(), World()
        for deed in self.deeds:
            left[deed] -= 1
            if left[deed] >= 0:
                then.deeds.append(deed)
        put = Counter(deed for deed in then.deeds if deed.startswith("put "))
        for key, value in self.keys.items():
            put[f"put {value}"] -= 1
            if put[f"put {value}"] >= 0:
                then.keys[key] = value
        return then


Go = Callable[[Verbs, Any], AsyncIterator[Event]]
"""How a run goes on after a leg."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run: who drives it, and what is said to it after each leg."""

    make: Callable[[World, Store], tuple[Verbs, ScriptedModel]]
    task: str = "Go."
    later: Sequence[Go] = ()

    async def play(self, verbs: Verbs, store: SqliteStore) -> list[Event]:
        """The whole run, to the end of its last leg."""
        told = await story(verbs.stream(self.task, run_id=RUN))
        return told + await self.rest(verbs, store, told[-1])

    async def rest(self, verbs: Verbs, store: SqliteStore, leg: Event) -> list[Event]:
        """What comes after `leg`, the latest."""
        told: list[Event] = []
        for go in self.later[len(ends(await read(store, RUN))) - 1 :]:
            told += await story(go(verbs, leg))
            leg = told[-1]
        return told


def ends(past: Sequence[Entry]) -> list[Entry]:
    """The ends of the legs."""
    return [entry for entry in past if entry.type in ("answer", "waiting")]


async def records(store: SqliteStore, run_id: str = RUN) -> list[Record]:
    """The records of a run, as they could be appended to another log."""

    def work(tx: Transaction) -> list[Record]:
        contents = blobs.contents_of(tx, run_id)
        return [
            Record(entry.body, tuple(contents[address] for address in entry.blobs))
            for entry in logs.entries(tx, run_id)
        ]

    return await store.read(work)


async def put_back(store: SqliteStore, kept: Sequence[Record], run_id: str = RUN) -> None:
    """A run that has these records, in the place of whatever there is; nobody drives it."""

    def work(tx: Transaction) -> None:
        for table in ("entries", "blobs", "messages", "leases", "logs"):
            tx.execute(f"delete from {table}")
        logs.create(tx, run_id, "run")
        logs.append(tx, run_id, kept)

    await store.write(work)


async def bodies(store: SqliteStore, run_id: str = RUN) -> list[bytes]:
    """What stands in the chain itself."""
    return [entry.body for entry in await store.read(lambda tx: logs.entries(tx, run_id))]


def messages(leg: Event) -> list[Message]:
    """The conversation at the end of a leg."""
    assert isinstance(leg, Answer | Waiting)
    return list(leg.conversation)


def unknown(events: Sequence[Event]) -> list[str]:
    """The calls of which nobody knows what came."""
    found = [e for e in events if isinstance(e, ToolFinished) and e.extra.get("unknown")]
    assert all(event.failed and "unknown" in event.output for event in found)
    return [event.call.id for event in found]


class Death(StoreError):
    """Nothing is written any more."""


class DyingStore:
    """A store whose process dies after so many groups of records: the next is lost, and so is all
    that follows. With `late` that group is written, and the process dies before it hears of it."""

    def __init__(self, store: SqliteStore, groups: int, *, late: bool = False) -> None:
        self._store = store
        self._left = groups
        self._late = late

    def submit(self, work: Work[Any], *, synced: bool = True) -> asyncio.Future[Any]:
        self._left -= 1
        if self._left >= 0:
            return self._store.submit(work, synced=synced)
        dead: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._left == -1 and self._late:
            self._store.submit(work, synced=synced).add_done_callback(lambda _: _die(dead))
        else:
            _die(dead)
        return dead

    def heal(self) -> None:
        """Write again."""
        self._left = 1_000_000

    def rung(self) -> int | None:
        return self._store.rung()

    async def write(self, work: Work[Any], *, synced: bool = True) -> Any:
        return await self._store.write(work, synced=synced)

    async def read(self, work: Work[Any]) -> Any:
        return await self._store.read(work)

    async def aclose(self) -> None:
        """The store is its owner's."""


def _die(future: asyncio.Future[Any]) -> None:
    future.set_exception(Death("the process died"))
    future.exception()  # nobody need wait for it
