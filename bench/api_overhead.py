"""What the server adds to a request, beside LiteLLM's proxy.

    python bench/api_overhead.py [--quick] [--seconds 5] [--reps 3] [--idle-seconds 60]

An upstream that does not think, a client that only looks for ends, and between them one process of
ours, with keys, limits, metering and the ledger on: every request is written to the database
before its last byte goes out. Both servers take turns in one run, so that what else happens on the
machine hits both alike. Prints the medians, and what was wanted; exits 1 if a measure is missed or
the peer did not run. `--quick` leaves the peer out.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import processes
from serving.processes import MODEL, DidNotRun, Serving
from serving.rows import Row, at_least, at_most, print_rows, print_surroundings

LITELLM = ("litellm[proxy]==1.106.2",)
IDLE_STREAMS = 200
SETTLING_SECONDS = 5
WARM_UPS = 20
CHUNKS = 66
"""Events of a stream: the role, 64 of text, the end; the usage and `[DONE]` are not counted."""


@dataclass(frozen=True, slots=True)
class Case:
    """So many connections, whole replies or streams."""

    name: str
    connections: int
    stream: bool = False


CASES = (
    Case("one", 1),
    Case("16", 16),
    Case("32", 32),
    Case("16 streams", 16, stream=True),
    Case("32 streams", 32, stream=True),
)
PEER_CASES = ("one", "16", "16 streams")
"""Where more connections do not make it faster."""


@dataclass(slots=True)
class Results:
    """Every run, by server and case, and what did not run."""

    failures: list[str] = field(default_factory=list[str])

    runs: dict[tuple[str, str], list[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def median(self, server: str, case: str, figure: str) -> float | None:
        told = [run[figure] for run in self.runs.get((server, case), ())]
        return statistics.median(told) if told else None

    def best(self, server: str, cases: Sequence[str]) -> float | None:
        """The highest rate among some cases."""
        told = [self.median(server, case, "per_second") for case in cases]
        return max((one for one in told if one is not None), default=None)


def measure(servers: dict[str, Serving], options: argparse.Namespace) -> Results:
    """Every server through its cases, so many times, taking turns."""
    results = Results()
    for server in servers.values():
        for _ in range(WARM_UPS):
            server.complete()
    for _ in range(options.reps):
        for case in CASES:
            for name, server in servers.items():
                if name == "litellm" and case.name not in PEER_CASES:
                    continue
                before = server.cpu_seconds
                try:
                    seen = processes.load(
                        server, case.connections, options.seconds, stream=case.stream
                    )
                except DidNotRun as error:
                    results.failures.append(f"{name}, {case.name}: {error}")
                    continue
                seen["cpu_ms"] = 1000 * (server.cpu_seconds - before) / seen["requests"]
                results.runs[name, case.name].append(seen)
                _print_run(name, case, seen, server)
    return results


def _print_run(name: str, case: Case, seen: dict[str, Any], server: Serving) -> None:
    print(
        f"{name:<9} {case.name:<11} {seen['per_second']:9,.0f}/s  p50 {seen['p50_ms']:7.2f} ms  "
        f"p99 {seen['p99_ms']:7.2f} ms  first byte {seen['first_p50_ms']:7.2f} ms  "
        f"{seen['cpu_ms']:6.3f} CPU ms each  {server.memory_mb:5.0f} MB",
        flush=True,
    )


def rows(results: Results, has_peer: bool) -> Iterator[Row]:
    """What the issue of the server asks for."""
    ours = "chogori"
    yield at_most("one connection: p50", 1.5, results.median(ours, "one", "p50_ms"), "ms")
    yield at_most("one connection: p99", 5, results.median(ours, "one", "p99_ms"), "ms")
    rate = results.best(ours, ("16", "32"))
    streams = results.best(ours, ("16 streams", "32 streams"))
    yield at_least("16 to 32 connections: requests", 1500, rate, "/s")
    yield at_least(f"the same: streams of {CHUNKS} events", 1000, streams, "/s")
    if has_peer:
        for title, mine, case in (("requests", rate, "16"), ("streams", streams, "16 streams")):
            theirs = results.median("litellm", case, "per_second")
            times = mine / theirs if mine and theirs else None
            yield at_least(f"throughput over LiteLLM's: {title}", 10, times, "times", 1)


def measure_start(upstream: Serving, folder: Path) -> Iterator[Row]:
    """How soon a server without a model of its own answers, and what it weighs then."""
    data = folder / "start"
    key = processes.set_up(data)
    seconds: list[float] = []
    memory = 0.0
    for _ in range(3):
        with processes.chogori([f"{MODEL}={upstream.url}/v1#{MODEL}"], data, key=key) as server:
            server.complete()
            seconds.append(time.perf_counter() - server.began)
            memory = server.memory_mb
    yield at_most("from start to the first answer", 1, statistics.median(seconds), "s")
    yield at_most("memory without a model", 100, memory, "MB", 0)


async def hold_streams(server: Serving, upstream: Serving, seconds: float) -> tuple[float, float]:
    """The server's memory with idle streams: once they stand, and after so long."""
    request = _idle_request(server)
    streams = [await _begin(server.port, request) for _ in range(IDLE_STREAMS)]
    await asyncio.sleep(min(SETTLING_SECONDS, seconds / 2))
    before = server.memory_mb
    await asyncio.sleep(seconds)
    after = server.memory_mb
    await asyncio.to_thread(upstream.get, "/release")
    for reader, writer in streams:
        rest = await asyncio.wait_for(reader.read(), 30)
        if b"[DONE]" not in rest:
            raise DidNotRun("an idle stream was not ended")
        writer.close()
    return before, after


def _idle_request(server: Serving) -> bytes:
    body = b'{"model": "idle", "stream": true, "messages": [{"role": "user", "content": "Wait."}]}'
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"authorization: Bearer {server.key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _begin(port: int, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if b" 200 " not in await asyncio.wait_for(reader.readline(), 30):
        raise DidNotRun("an idle stream was refused")
    await asyncio.wait_for(reader.readuntil(b"data: "), 30)
    return reader, writer


def measure_idle(server: Serving, upstream: Serving, seconds: float) -> Row:
    before, after = asyncio.run(hold_streams(server, upstream, seconds))
    title = f"{IDLE_STREAMS} idle streams, {seconds:g} s: memory grows by"
    return at_most(title, 2, max(0.0, after - before), "MB")


def main() -> int:
    parser = argparse.ArgumentParser(description="What our server adds to a request.")
    parser.add_argument("--quick", action="store_true", help="without the peer")
    parser.add_argument("--seconds", type=float, default=5, help="of each run")
    parser.add_argument("--reps", type=int, default=3, help="runs of each; medians count")
    parser.add_argument("--idle-seconds", type=float, default=60)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    told: list[Row] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(processes.upstream())
        told += measure_start(upstream, folder)
        data = folder / "load"
        key = processes.set_up(data)
        models = [f"{MODEL}={upstream.url}/v1#{MODEL}", f"idle={upstream.url}/idle/v1#{MODEL}"]
        ours = stack.enter_context(processes.chogori(models, data, key=key))
        servers = {"chogori": ours}
        if not options.quick:
            try:
                servers["litellm"] = stack.enter_context(
                    processes.litellm(upstream, folder, LITELLM)
                )
            except DidNotRun as error:
                failures.append(f"litellm did not run: {error}")
        results = measure(servers, options)
        failures += results.failures
        told += rows(results, not options.quick)
        told.append(measure_idle(ours, upstream, options.idle_seconds))
    all_met = print_rows(told)
    print_surroundings(
        *("chogori", "starlette", "uvicorn", "uvloop", "httptools", "aiohttp", "orjson"),
        litellm=LITELLM[0].partition("==")[2],
    )
    print("\n".join(failures))
    return 0 if all_met and not failures else 1


if __name__ == "__main__":
    sys.exit(main())
