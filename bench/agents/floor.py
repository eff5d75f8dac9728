"""The floor: what the work itself costs, in a loop of 25 lines with a durable log.

Each message is written once and joined with the others; a writer thread commits whatever has come
in as one transaction, and an agent waits for its own. No schema, no guards, no stream, no repair.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import meter
import orjson

_PARAMETERS = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
_LOOKUP = {"name": "lookup", "description": "Look up a key.", "parameters": _PARAMETERS}
_TOOLS = orjson.dumps([{"type": "function", "function": _LOOKUP}])

Entry = tuple[int, int, bytes]
"""The number of the agent, the place in its run, the message."""


class Log:
    """An append-only table with group commit."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[Entry, asyncio.Future[None]] | None]
        self._waiting = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, args=(path,))
        self._thread.start()

    def append(self, *entry: Any) -> asyncio.Future[None]:
        """Await it where what follows depends on the entry."""
        written = self._loop.create_future()
        self._waiting.put((entry, written))
        return written

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _write(self, path: Path) -> None:
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = full")
        database.execute("create table log (run, place, message, primary key (run, place))")
        is_open = True
        while is_open:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            is_open = None not in batch
            came = [item for item in batch if item is not None]
            database.execute("begin")
            database.executemany("insert into log values (?, ?, ?)", [entry for entry, _ in came])
            database.execute("commit")
            self._loop.call_soon_threadsafe(_settle, [written for _, written in came])
        database.close()


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


async def run(
    number: int, url: str, session: aiohttp.ClientSession, log: Log, look: meter.Lookup
) -> str:
    """The loop."""
    head = b'{"model":"%b","tools":%b,"messages":[' % (meter.MODEL.encode(), _TOOLS)
    messages = [orjson.dumps({"role": "user", "content": "go"})]
    while True:
        body = b"%b%b]}" % (head, b",".join(messages))
        async with session.post(f"{url}/chat/completions", data=body) as response:
            message = orjson.loads(await response.read())["choices"][0]["message"]
        messages.append(orjson.dumps(message))
        await log.append(number, len(messages), messages[-1])
        if not message.get("tool_calls"):
            return message["content"]
        for call in message["tool_calls"]:
            output = await look(orjson.loads(call["function"]["arguments"])["key"])
            result = {"role": "tool", "tool_call_id": call["id"], "content": output}
            messages.append(orjson.dumps(result))
            log.append(number, len(messages), messages[-1])  # written before the next reply is


@asynccontextmanager
async def opened(url: str, folder: Path | None, look: meter.Lookup) -> AsyncGenerator[meter.Run]:
    assert folder is not None, "the floor keeps a log"
    log = Log(folder / "log.db")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield lambda number: run(number, url, session, log, look)
    log.close()


if __name__ == "__main__":
    meter.main(opened, ["aiohttp", "orjson"])
