"""The server on real sockets: heads late or too long, clients that go, a stop that waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from server_models import StreamingModel
from test_server_leaving import WORDS, CountingGate, until

from chogori.api import create_app
from chogori.api.server.running import run, serving
from chogori.errors import ConfigError

BODY = json.dumps(
    {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_head_that_does_not_come_ends_its_connection() -> None:
    app = create_app({"m": StreamingModel(WORDS)})
    async with serving(app, head_seconds=0.05) as url, connected(url) as (reader, writer):
        writer.write(HEAD[:30])
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_head_that_is_too_long_is_refused() -> None:
    async with (
        serving(create_app({"m": StreamingModel(WORDS)})) as url,
        connected(url) as (reader, writer),
    ):
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        for number in range(70):
            writer.write(b"x-%d: %s\r\n" % (number, b"a" * 1000))
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("waits_at", [0, 2])
async def test_a_client_that_closes_its_connection_ends_the_work(waits_at: int) -> None:
    model = StreamingModel(WORDS, goes_on=asyncio.Event(), waits_at=waits_at)
    gate = CountingGate()
    async with serving(create_app({"m": model}, gate=gate)) as url:
        async with connected(url) as (_, writer):
            writer.write(HEAD + BODY)
            await until(lambda: model.running == 1)
        await until(lambda: model.running == 0 and bool(gate.settled))
    assert gate.settled[0].outcome == "cut"


async def test_a_stop_lets_a_stream_end() -> None:
    goes_on = asyncio.Event()
    model = StreamingModel(WORDS, goes_on=goes_on, waits_at=2)
    async with serving(create_app({"m": model})) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(HEAD + BODY)
        await until(lambda: model.running == 1)
        asyncio.get_running_loop().call_later(0.2, goes_on.set)
    assert (await reader.read()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    writer.close()


async def test_a_port_that_is_taken_is_said_so() -> None:
    app = create_app({"m": StreamingModel(WORDS)})
    async with serving(app) as url:
        port = urlsplit(url).port or 0
        with pytest.raises(ConfigError, match="--port"):
            await run(app, port=port)
