"""What the laws of the service need: clocks to turn, a platform in a folder, and its readers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from chogori.api.platform import Caller, Credentials, Demand, Metered
from chogori.chat import Usage
from chogori.service import (
    SCHEMA,
    Administration,
    Grant,
    Limits,
    Peppers,
    Service,
    open_peppers,
    serving,
)
from chogori.service.ledger import balanced
from chogori.service.sliding_log import SECOND_NS
from chogori.store import SqliteStore, open_store

MODEL = "kimi-k2-thinking"
HERE = "127.0.0.1"


class Clocks:
    """Both clocks of the service; they stand still unless they are turned."""

    def __init__(self) -> None:
        self.ns = 1_800_000_000 * SECOND_NS

    def wall(self) -> float:
        return self.ns / SECOND_NS

    def monotonic_ns(self) -> int:
        return self.ns

    def turn(self, seconds: float) -> None:
        self.ns += round(seconds * SECOND_NS)


@dataclass
class World:
    """A service at work in a folder."""

    store: SqliteStore
    peppers: Peppers
    service: Service
    administration: Administration
    clocks: Clocks
    requests: int = 0

    async def key(self, grant: Grant = Grant(), limits: Limits = Limits()) -> str:
        made = await self.administration.create_key(grant, limits)
        await self.service.refresh()
        return made.text

    async def caller(self, grant: Grant = Grant(), limits: Limits = Limits()) -> Caller:
        return await self.identified(await self.key(grant, limits))

    async def identified(self, key: str | None, address: str = HERE) -> Caller:
        return await self.service.gate.identify(Credentials(key, address))

    def demand(self, prompt: int = 100, completion: int = 100, model: str = MODEL) -> Demand:
        """A request like no other before."""
        self.requests += 1
        return Demand(f"request-{self.requests}", model, prompt, completion)


def metered(prompt: int = 100, completion: int = 100, cached: int = 0) -> Metered:
    """A request that went well."""
    return Metered(Usage(prompt, completion, 0, cached), "finished", 1.0, 0.25, 0.5)


@asynccontextmanager
async def world(folder: Path, clocks: Clocks | None = None) -> AsyncGenerator[World]:
    """Opens, serves, closes; as often as wanted in one folder."""
    clocks = clocks or Clocks()
    async with open_store(folder, {"service": SCHEMA}, clock=clocks.wall) as store:
        peppers = open_peppers(folder, may_make=True)
        async with serving(
            store, peppers, clock=clocks.wall, monotonic_ns=clocks.monotonic_ns
        ) as service:
            administration = Administration(store, peppers, "test")
            yield World(store, peppers, service, administration, clocks)


async def problems(store: SqliteStore) -> list[str]:
    """What is wrong with the ledger."""
    return await store.read(balanced)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, byte by byte."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@contextmanager
def scratch() -> Generator[Path]:
    """A folder for one example of many: in memory, where there is such a place, since every change
    waits for the disk."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)
