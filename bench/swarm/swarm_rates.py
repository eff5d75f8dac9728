"""Three hundred subagents before an endpoint that takes 20 requests at once, and later 100."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT, LATER = 20, 100
MODEL_MS = 400
"""So that the raised limit is not beyond what one process can send."""
PART, REFUSED = 0.85, 0.05
FOUND_SECONDS = 5.0


def get(address: str) -> Any:
    """What the endpoint says."""
    with urllib.request.urlopen(address, timeout=30) as response:
        return json.load(response)


def measure(bench: Any, server: str, folder: Path, command: Callable[..., list[str]]) -> None:
    """Run it, raise the limit in the middle, and add the rows."""
    count = bench.options.wide
    get(f"{server}/limit/{LIMIT}")
    told = command(server, folder, agents=count, calls=13, model_ms=MODEL_MS)
    with subprocess.Popen(told, stdout=subprocess.PIPE, text=True) as process:
        began = _first(server)
        time.sleep(max(0.0, began["at"] + bench.options.seconds - time.monotonic()))
        get(f"{server}/limit/{LATER}")
        rise = time.monotonic()
        assert process.stdout is not None, "its output is a pipe"
        output = process.stdout.read()
    get(f"{server}/limit/0")
    rates = get(f"{server}/rates")
    answered = sorted(began["answered"] + rates["answered"])
    refused = began["refused"] + rates["refused"]
    _add(bench, json.loads(output.splitlines()[-1]), answered, refused, (began["at"], rise))


def _first(server: str) -> dict[str, Any]:
    """When the first requests were answered."""
    while not (seen := get(f"{server}/rates"))["answered"]:
        time.sleep(0.02)
    return {"at": min(seen["answered"]) - MODEL_MS / 1000, **seen}


def _add(
    bench: Any,
    told: dict[str, Any],
    answered: list[float],
    refused: list[float],
    times: tuple[float, float],
) -> None:
    begin, rise = times
    report = told["report"]
    done = report["subagents"] - report["unfinished"]
    bench.add(f"limit {LIMIT}: subagents that finish", str(report["subagents"]), f"{done:g}",
              met=not report["unfinished"])  # fmt: skip
    part = len(refused) / (len(refused) + len(answered))
    bench.add("of all requests refused", f"< {REFUSED:.0%}", f"{part:.1%}", met=part < REFUSED)
    first = _part(answered, begin, rise, LIMIT)
    bench.add(f"of the throughput that {LIMIT} at once allow", f">= {PART:.0%}", f"{first:.0%}",
              met=first >= PART)  # fmt: skip
    end = min(rise + FOUND_SECONDS + 4, answered[-1] - 2 * MODEL_MS / 1000)
    later = _part(answered, rise + FOUND_SECONDS, end, LATER)
    how = f"{later:.0%} (within {_found(answered, rise):.1f} s)"
    name = f"of that of {LATER}, 5 s after the limit rose"
    bench.add(name, f">= {PART:.0%}", how, met=later >= PART)


def _part(answered: list[float], begin: float, end: float, limit: int) -> float:
    """Of what was possible between two times."""
    if end <= begin:
        return 0.0
    return sum(begin < at <= end for at in answered) / ((end - begin) * limit * 1000 / MODEL_MS)


def _found(answered: list[float], rise: float) -> float:
    """Seconds until a second passed with the part that is wanted."""
    for begin in (rise + tenth / 10 for tenth in range(200)):
        if _part(answered, begin, begin + 1, LATER) >= PART:
            return begin - rise
    return float("inf")
