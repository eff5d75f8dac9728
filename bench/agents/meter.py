"""Runs one contender through one case and prints what it cost, as one line of JSON.

It is imported inside every contender's own environment, so it needs the standard library alone.
A contender is an async context manager: given the address of its model, a folder to keep its log
in (None: keep none) and what its tool shall do, it gives a function that runs agent number N.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import statistics
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from passages import passage

MODEL = "kimi-k2-thinking"
RESULT_CHARS = 2_048
WARM_AGENTS, WARM_CALLS = 3, 5

Lookup = Callable[[str], Awaitable[str]]
Run = Callable[[int], Awaitable[str]]
Contender = Callable[[str, Path | None, Lookup], AbstractAsyncContextManager[Run]]


@dataclass(frozen=True, slots=True)
class Case:
    """So many agents side by side, each calling its tool so many times in a row."""

    server: str
    agents: int
    calls: int
    model_ms: int
    tool_ms: int
    folder: Path | None

    @property
    def url(self) -> str:
        """Where this case's model is."""
        return f"{self.server}/n{self.calls}/l{self.model_ms}/v1"


class Lookups:
    """The work of the tool: it takes a while and returns 2 KB that nobody has seen before."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.times: list[float] = []
        self.bytes = 0

    async def __call__(self, key: str) -> str:
        self.times.append(time.perf_counter())
        number = len(self.times)
        if self.seconds:
            await asyncio.sleep(self.seconds)
        text = f"@@OUT@@ {key} {passage(number, RESULT_CHARS)}"[:RESULT_CHARS]
        self.bytes += len(text)
        return text

    def step_ms(self) -> dict[str, float]:
        """The median time from call to call at the start, in the middle and at the end."""
        steps = [1000 * (b - a) for a, b in zip(self.times, self.times[1:], strict=False)]
        middle = max(0, len(steps) // 2 - 25)
        cuts = {
            "first": steps[:50],
            "middle": steps[middle : middle + 50],
            "last": steps[-50:],
        }
        return {name: statistics.median(cut) for name, cut in cuts.items() if cut}


def main(contender: Contender, packages: Sequence[str]) -> None:
    """Measure what the command line says; `packages` are those whose versions are told."""
    parser = argparse.ArgumentParser(description="One contender, one case.")
    parser.add_argument("--server", required=True, help="http://127.0.0.1:PORT")
    parser.add_argument("--folder", type=Path, help="keep a log here; without it, none is kept")
    for name in ("agents", "calls", "model-ms", "tool-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    case = Case(**vars(parser.parse_args()))
    told = asyncio.run(measure(contender, case))
    told["versions"] = {name: version(name) for name in packages}
    print(json.dumps(told), flush=True)


async def measure(contender: Contender, case: Case) -> dict[str, Any]:
    """Warm up, then run all agents of `case` at once, with the log open to the end."""
    warm_up = Case(case.server, WARM_AGENTS, WARM_CALLS, 0, 0, case.folder)
    async with contender(warm_up.url, _made(case.folder, "warm-up"), Lookups(0)) as run:
        await asyncio.gather(*(run(number) for number in range(min(WARM_AGENTS, case.agents))))
    lookups, folder = Lookups(case.tool_ms / 1000), _made(case.folder, "log")
    async with contender(case.url, folder, lookups) as run:
        gc.collect()
        _tally(case.server)
        before_mb, cpu, started = _status_mb("VmRSS"), _cpu_seconds(), time.perf_counter()
        answers = await asyncio.gather(*(run(number) for number in range(case.agents)))
        seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
        peak_mb, log_bytes = _status_mb("VmHWM"), _log_bytes(folder)
    return {
        "calls": case.agents * case.calls,
        "agents": case.agents,
        "answered": sum(text == "done" for text in answers),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "step_ms": lookups.step_ms(),
        "before_mb": before_mb,
        "peak_mb": peak_mb,
        "log_bytes": log_bytes,
        "result_bytes": lookups.bytes,
        "tally": _tally(case.server),
    }


def _made(folder: Path | None, name: str) -> Path | None:
    if folder is None:
        return None
    made = folder / name
    made.mkdir(parents=True)
    return made


def _tally(server: str) -> dict[str, Any]:
    """What the server saw since it was last asked."""
    with urllib.request.urlopen(f"{server}/tally", timeout=30) as response:
        return json.load(response)


def _cpu_seconds() -> float:
    """Of all threads of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _status_mb(name: str) -> float:
    """A size from the kernel's account of this process. (`ru_maxrss` would count the process that
    started this one.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def _log_bytes(folder: Path | None) -> int | None:
    """Databases and their write-ahead logs as they lie there, nothing checkpointed for the
    occasion; the index of a write-ahead log (-shm) is memory."""
    if folder is None:
        return None
    files = (path for path in folder.rglob("*") if not path.name.endswith("-shm"))
    return sum(path.stat().st_size for path in files if path.is_file())
