"""Asks one server for completions, over connections that are kept, each one request at a time.

    python bench/serving/load.py PORT --key KEY [--connections 16] [--seconds 5] [--stream]

It looks at no more than where an answer ends, so that it is not what is measured. The first tenth
of the time warms up and is not counted. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from time import perf_counter
from typing import Any, cast

END = b"0\r\n\r\n"
PROMPT = "Hello there. " * 20


class Asking(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, load: Load) -> None:
        self.request, self.load = request, load
        self.head = b""
        self.missing = -1
        """Bytes that are still to come; -1: the head is not there, -2: until `END`."""
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are none of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        if perf_counter() >= self.load.until:
            self.transport.close()
            return
        self.head, self.missing, self.first = b"", -1, 0.0
        self.began = perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.missing == -1:
            self.head += data
            head, end, data = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.read_head(head.lower())
        if data and not self.first:
            self.first = perf_counter()
        if self.missing == -2:
            self.tail = (self.tail + data)[-40:]
            if self.tail.endswith(END):
                self.finish(b"[DONE]" in self.tail)
        else:
            self.missing -= len(data)
            if self.missing <= 0:
                self.finish(True)

    def read_head(self, head: bytes) -> None:
        self.good = head.startswith(b"http/1.1 200")
        self.tail = b""
        at = head.find(b"content-length:")
        self.missing = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -2
        if not self.good:
            self.load.refusal = head.split(b"\r\n", 1)[0].decode()

    def finish(self, whole: bool) -> None:
        self.load.note(self.began, self.first, self.good and whole)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if perf_counter() < self.load.until:
            self.load.failed += 1
            asyncio.get_running_loop().create_task(self.load.connect())
        else:
            self.load.ended()


class Load:
    """All connections, and what they saw."""

    def __init__(self, port: int, request: bytes, connections: int, seconds: float) -> None:
        self.port, self.request, self.connections = port, request, connections
        self.seconds = seconds
        self.failed, self.refusal = 0, ""
        self.latencies: list[float] = []
        self.firsts: list[float] = []

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Asking(self.request, self), "127.0.0.1", self.port)
        except OSError:
            self.failed += 1
            self.ended()

    def note(self, began: float, first: float, good: bool) -> None:
        if not good:
            self.failed += 1
        elif began >= self.counted_from:
            now = perf_counter()
            self.latencies.append(now - began)
            self.firsts.append(first - began)
            self.last = now

    def ended(self) -> None:
        self.open -= 1
        if self.open <= 0:
            self.over.set()

    async def run(self) -> dict[str, Any]:
        self.over, self.open = asyncio.Event(), self.connections
        began = perf_counter()
        self.counted_from = began + self.seconds / 10
        self.until = began + self.seconds
        self.last = self.counted_from
        await asyncio.gather(*(self.connect() for _ in range(self.connections)))
        await asyncio.wait_for(self.over.wait(), self.seconds + 60)
        seconds = self.last - self.counted_from
        return {
            "requests": len(self.latencies),
            "failed": self.failed,
            "refusal": self.refusal,
            "per_second": len(self.latencies) / seconds if seconds else 0.0,
            "p50_ms": 1000 * quantile(self.latencies, 0.5),
            "p99_ms": 1000 * quantile(self.latencies, 0.99),
            "first_p50_ms": 1000 * quantile(self.firsts, 0.5),
            "cpu_seconds": sum(os.times()[:2]),
        }


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def request_for(port: int, key: str, model: str, stream: bool) -> bytes:
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are Kimi."},
            {"role": "user", "content": PROMPT},
        ],
        "max_tokens": 64,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def main() -> None:
    parser = argparse.ArgumentParser(description="A load generator for one server on loopback.")
    parser.add_argument("port", type=int)
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", default="kimi-k2-thinking")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    request = request_for(options.port, options.key, options.model, options.stream)
    load = Load(options.port, request, options.connections, options.seconds)
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    print(json.dumps(run(load.run())))


if __name__ == "__main__":
    main()
