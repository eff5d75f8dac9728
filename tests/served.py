"""A whole server on loopback: keys, limits, ledger and all, in a thread of its own.

So clients that block can be tried against it, as its users have them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chogori.api.server import App, create_app
from chogori.api.server.running import serving as serving_app
from chogori.api.server.upstreams import Models
from chogori.apps.pages import page_routes
from chogori.service import SCHEMA, Administration, Grant, Limits, Service, open_peppers
from chogori.service import serving as serving_keys
from chogori.service.keys import SCOPES
from chogori.store import SqliteStore, open_store

PATIENCE_SECONDS = 60
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Served:
    """A server under way."""

    url: str
    """Without the `/v1`."""
    key: str
    """One that may do everything."""
    app: App
    administration: Administration
    service: Service
    store: SqliteStore
    data: Path
    loop: asyncio.AbstractEventLoop

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something in the thread of the server."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What its database answers."""
        return self.run(self.store.read(lambda tx: [tuple(row) for row in tx.execute(sql)]))


@asynccontextmanager
async def platform(
    models: Models, data: Path, *, limits: Limits = Limits(), **more: Any
) -> AsyncGenerator[Served]:
    """The server, in this event loop; `more` goes to `create_app`."""
    data.mkdir(parents=True, exist_ok=True)
    async with open_store(data, {"service": SCHEMA}) as store:
        peppers = open_peppers(data, may_make=True)
        administration = Administration(store, peppers, "test")
        key = await administration.create_key(Grant(name="test", scopes=SCOPES), limits)
        async with serving_keys(store, peppers) as service:
            app = create_app(
                models,
                gate=service.gate,
                reasoning=service.reasoning,
                routes=page_routes(),
                **more,
            )
            async with serving_app(app) as url:
                loop = asyncio.get_running_loop()
                yield Served(url, key.text, app, administration, service, store, data, loop)


@contextmanager
def served(models: Models, data: Path, **more: Any) -> Generator[Served]:
    """The server, in a thread of its own."""
    over = asyncio.Event()
    found: list[Served] = []
    failed: list[BaseException] = []
    ready = threading.Event()

    async def live() -> None:
        async with platform(models, data, **more) as one:
            found.append(one)
            ready.set()
            await over.wait()

    def work() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_SECONDS), "the server did not start"
    try:
        if not failed:
            yield found[0]
    finally:
        if found:
            found[0].loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE_SECONDS)
    if failed:
        raise failed[0]
