"""An OpenAI-compatible upstream that does not think: what it costs is next to nothing.

    python bench/serving/upstream.py [--port 0] [--tokens 64]

Prints its port, and serves until its standard input ends. How it behaves is in the path:

    /v1             answers at once
    /paced/v1       10 ms before each event
    /idle/v1        one event, then silence, then the rest when /release is asked for
    /hang/v1        reads, and never answers          /reset/v1    resets the connection
    /html/v1        a page with status 200            /down/v1     a page with status 502
    /half/v1        half an event, then a reset       /error/v1    an error in the middle
    /undone/v1      no [DONE]                         /dies/v1     a reset in the middle
    /flaky/v1       each third request is reset

GET /tally tells how many requests each behaviour has seen, and how many clients left early.
A request's `user` is remembered: /finished tells for which the last byte was written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import sys
import threading
from collections import Counter
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, cast

PACE_SECONDS = 0.01
HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: %s\r\n"
MODEL = "kimi-k2-thinking"


class Script:
    """The bytes of every reply, made once."""

    def __init__(self, tokens: int) -> None:
        usage = {
            "prompt_tokens": 20,
            "completion_tokens": tokens,
            "total_tokens": 20 + tokens,
            "prompt_tokens_details": {"cached_tokens": 8},
        }
        thinking = tokens // 2
        message = {
            "role": "assistant",
            "content": "word " * (tokens - thinking),
            "reasoning_content": "think " * thinking,
        }
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        whole = _named("chat.completion") | {"choices": [choice], "usage": usage}
        self.whole = answer(200, b"application/json", json.dumps(whole).encode())
        deltas: list[dict[str, Any]] = [
            {"role": "assistant", "content": ""},
            *({"reasoning_content": "think "} for _ in range(thinking)),
            *({"content": "word "} for _ in range(tokens - thinking)),
        ]
        last = _named("chat.completion.chunk") | {"choices": [], "usage": usage}
        self.events = [_event(_chunk(delta)) for delta in deltas]
        self.events += [_event(_chunk({}, "stop")), _event(last)]
        self.done = _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self.stream = STREAM + b"".join(self.events) + self.done


def _named(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-mock", "object": kind, "created": 1_700_000_000, "model": MODEL}


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _named("chat.completion.chunk") | {"choices": [choice]}


def _event(value: object) -> bytes:
    return _chunked(b"data: " + json.dumps(value).encode() + b"\n\n")


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(status: int, kind: bytes, body: bytes) -> bytes:
    return HEAD % (status, kind) + b"content-length: %d\r\n\r\n" % len(body) + body


STREAM = HEAD % (200, b"text/event-stream") + b"transfer-encoding: chunked\r\n\r\n"
PAGE = b"<html><body><h1>Bad gateway</h1></body></html>"


class Upstream:
    """What all connections share."""

    def __init__(self, tokens: int) -> None:
        self.script = Script(tokens)
        self.tally: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.release = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def told(self, path: str) -> dict[str, Any] | None:
        """What a GET of `path` tells."""
        if path == "/tally":
            return dict(self.tally)
        if path == "/finished":
            return dict(self.finished)
        if path == "/release":
            self.release.set()
            return {}
        if path.endswith("/models"):
            model = {"id": MODEL, "object": "model", "created": 1, "owned_by": "mock"}
            return {"object": "list", "data": [model]}
        return None


class Connection(asyncio.Protocol):
    """One client; requests come one after another."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.script = upstream.script
        self.buffer = b""
        self.streaming = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are none of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.streaming:
            self.upstream.tally["left"] += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(head.split(b" ", 2)[1].decode(), body)

    def answer(self, path: str, body: bytes) -> None:
        if not body:
            told = self.upstream.told(path)
            status, text = (404, b"{}") if told is None else (200, json.dumps(told).encode())
            self.transport.write(answer(status, b"application/json", text))
            return
        way = path.split("/")[1]
        self.upstream.tally[way] += 1
        streams = b'"stream":true' in body or b'"stream": true' in body
        if way == "v1":
            self.transport.write(self.script.stream if streams else self.script.whole)
        elif way in ("idle", "paced"):
            self.start(self.slowly(way, json.loads(body).get("user", ""), streams))
        elif not self.fail_at_once(way):
            self.fail_midway(way)

    def fail_at_once(self, way: str) -> bool:
        """Whether `way` is over before anything of a reply is sent."""
        if way == "flaky":
            if self.upstream.tally[way] % 3:
                self.transport.write(self.script.whole)
            else:
                self.reset()
        elif way == "reset":
            self.reset()
        elif way in ("html", "down"):
            self.transport.write(answer(200 if way == "html" else 502, b"text/html", PAGE))
        else:
            return way == "hang"
        return True

    def fail_midway(self, way: str) -> None:
        events = self.script.events[:10]
        self.transport.write(STREAM + b"".join(events[:-1]))
        if way == "half":
            self.transport.write(events[-1][: len(events[-1]) // 2])
            self.start(self.reset_soon())
        elif way == "dies":
            self.start(self.reset_soon())
        elif way == "error":
            wrong = {"message": "the engine fell over", "type": "server_error", "code": 500}
            self.transport.write(_event({"error": wrong}) + self.script.done)
        elif way == "undone":
            self.transport.write(b"".join(self.script.events) + b"0\r\n\r\n")

    async def slowly(self, way: str, user: str, streams: bool) -> None:
        self.streaming = True
        if streams:
            self.transport.write(STREAM + self.script.events[0])
        if way == "idle":
            await self.upstream.release.wait()
        for event in self.script.events[1:]:
            await asyncio.sleep(PACE_SECONDS if way == "paced" else 0)
            if self.transport.is_closing():
                return
            if streams:
                self.transport.write(event)
        self.transport.write(self.script.done if streams else self.script.whole)
        self.streaming = False
        self.upstream.finished[user] += 1

    async def reset_soon(self) -> None:
        await asyncio.sleep(0.02)
        self.reset()

    def reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.upstream.tasks.add(task)
        task.add_done_callback(self.upstream.tasks.discard)


async def serve(port: int, tokens: int) -> None:
    loop = asyncio.get_running_loop()
    upstream, over = Upstream(tokens), asyncio.Event()
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", port, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)

    def wait_for_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await over.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="An upstream that costs next to nothing.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    run(serve(options.port, options.tokens))


if __name__ == "__main__":
    main()
