"""Asks a server as clients do, and says how it ended for the client."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .processes import MODEL, Serving

PATIENCE_SECONDS = 60
ENVELOPE = {"message", "type", "param", "code"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw of one request."""

    status: int
    """0: the connection broke."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_whole: bool = False
    """Whether the last byte came."""

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")

    @property
    def events(self) -> list[Any]:
        """The events of a stream; `[DONE]` as it is."""
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]

    @property
    def error(self) -> dict[str, Any] | None:
        """What the client was told went wrong, at once or in the middle."""
        if self.body.startswith(b"{"):
            return json.loads(self.body).get("error")
        told = [event["error"] for event in self.events if "error" in event and event != "[DONE]"]
        return told[0] if told else None

    @property
    def is_good(self) -> bool:
        """Whether a whole reply came, and nothing went wrong."""
        return self.status == 200 and self.is_whole and self.error is None

    @property
    def fails_well(self) -> bool:
        """Whether it is told what went wrong, in the form that clients know, to the end."""
        error = self.error
        return self.is_whole and error is not None and set(error) >= ENVELOPE


class Client:
    """One client of one server, over connections that are kept."""

    def __init__(self, server: Serving, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def ask(
        self,
        model: str = MODEL,
        *,
        stream: bool = False,
        key: str | None = None,
        leave_after: float | None = None,
        **fields: Any,
    ) -> Seen:
        """One request; `leave_after` seconds the client goes, whatever has come."""
        messages = [{"role": "user", "content": "Hello there."}]
        body: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 64}
        body |= {"stream": stream, **fields}
        if leave_after is None:
            return await self._ask(body, key)
        try:
            return await asyncio.wait_for(self._ask(body, key), leave_after)
        except TimeoutError:
            return Seen(0)

    async def _ask(self, body: Mapping[str, Any], key: str | None) -> Seen:
        headers = {"Authorization": f"Bearer {self.server.key if key is None else key}"}
        url = f"{self.server.url}/v1/chat/completions"
        status, parts, told = 0, list[bytes](), dict[str, str]()
        try:
            async with self.session.post(url, json=body, headers=headers) as response:
                status, told = response.status, dict(response.headers)
                told = {name.lower(): value for name, value in told.items()}
                async for part in response.content.iter_any():
                    parts.append(part)
        except (aiohttp.ClientError, ConnectionError):
            return Seen(status, b"".join(parts), told)
        data = b"".join(parts)
        is_stream = told.get("content-type", "").startswith("text/event-stream")
        return Seen(status, data, told, not is_stream or data.endswith(b"data: [DONE]\n\n"))


@asynccontextmanager
async def client(server: Serving) -> AsyncGenerator[Client]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Client(server, session)


async def many(number: int, at_once: int, work: Callable[[int], Awaitable[Seen]]) -> list[Seen]:
    """Do `work` so many times, so many at once; what was seen, in order."""
    seen: list[Seen] = [Seen(0)] * number
    left = iter(range(number))

    async def worker() -> None:
        for index in left:
            seen[index] = await work(index)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return seen


def chance(seed: int) -> random.Random:
    """The same every time."""
    return random.Random(seed)
