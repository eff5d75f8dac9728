"""What goes wrong in a swarm, and that nothing that was finished is lost by it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarm_rates import get

from chogori.agent import journal
from chogori.store import logs as store_logs
from chogori.store import open_store

RUN = "swarm"
INCOMPLETE = "[incomplete]"


def faults(bench: Any, server: str, folder: Path, ours: Callable[..., dict[str, Any]]) -> None:
    """All but the kills, one after another."""
    count = bench.options.agents
    get(f"{server}/fail/10")
    told = ours(server, agents=count, calls=15)
    get(f"{server}/fail/0")
    _all_answered(bench, "10 % of model calls fail", count, told)
    silent, looping = 5, 1
    told = ours(server, "--tell", agents=count, calls=15, silent=silent, deadline=8)
    _others(bench, "5 subagents are never answered", count, told, silent)
    told = ours(server, "--tell", agents=count, calls=15, loops=looping)
    _others(bench, "a subagent goes in circles", count, told, looping)
    half, notes = count * 15 // 2, folder / "budget"
    told = ours(server, "--tell", f"--notes={notes}", agents=count, calls=15, most_calls=half)
    _budget(bench, count, half, told["messages"], len(_lines(notes)))


def _all_answered(bench: Any, name: str, count: int, told: dict[str, Any]) -> None:
    done = told["report"]["subagents"] - told["report"]["unfinished"]
    bench.add(f"{name}: answered", str(count), f"{done:g}", met=done == count)


def _others(bench: Any, name: str, count: int, told: dict[str, Any], bad: int) -> None:
    whole = sum(text == "done" for text in told["messages"])
    marked = sum(text.startswith(INCOMPLETE) for text in told["messages"])
    bench.add(f"{name}: others answered, it is marked", f"{count - bad} + {bad}",
              f"{whole} + {marked} in {told['seconds']:.1f} s",
              met=(whole, marked) == (count - bad, bad))  # fmt: skip


def _budget(bench: Any, count: int, most: int, messages: list[str], calls: int) -> None:
    """The orchestrator has a message of each, and those that landed say what they had found."""
    empty = sum(text.startswith(INCOMPLETE) and len(text) < 40 for text in messages)
    bench.add(f"budget of {most} calls ends: messages, calls made", f"{count}, <= {most}",
              f"{len(messages)} ({empty} of them empty), {calls}",
              met=len(messages) == count and calls <= most and not empty)  # fmt: skip


def killed(bench: Any, server: str, folder: Path, command: Callable[..., list[str]]) -> None:
    """kill -9 of the process with all subagents in flight; then the run goes on."""
    count, notes = bench.options.agents, folder / "notes"
    options = (f"--run={RUN}", f"--notes={notes}")
    told = command(server, folder / "data", *options, agents=count, calls=15)
    with subprocess.Popen(told, stdout=subprocess.DEVNULL) as process:
        while len(_lines(notes)) < count * 15 // 2 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    finished = asyncio.run(_finished(folder / "data"))
    before = len(_lines(notes))
    done = subprocess.run([*told, "--resume"], capture_output=True, text=True, timeout=600)
    if done.returncode:
        bench.add("kill -9: goes on", "exit 0", done.stderr.strip()[-200:], met=False)
        return
    result = json.loads(done.stdout.splitlines()[-1])
    again = Counter(_lines(notes)[before:])
    repeated = sum(again[call] for call in finished)
    name = f"kill -9 after {len(finished)} of {count * 15} calls: done again"
    bench.add(name, "0", str(repeated), met=repeated == 0 and 0 < len(finished) < count * 15)
    missing = count * 15 - len(set(_lines(notes)))
    bench.add("kill -9: calls lost", "0", str(missing), met=missing == 0)
    _all_answered(bench, "kill -9", count, result)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def _finished(folder: Path) -> list[str]:
    """The calls whose outcomes are recorded, as the tool notes them."""
    async with open_store(folder) as store:
        children = await store.read(lambda tx: store_logs.children(tx, RUN))
        found: list[str] = []
        for child in children:
            past = await journal.read(store, child.name)
            ended = sorted(e.place for e in past if e.type == "tool_finished")
            found += [f"{child.name} k{turn - 1}" for turn, _ in ended]
    return found


def node_lost(bench: Any) -> None:
    """A node of a real Ray is killed."""
    program = Path(__file__).parent / "ray_node.py"
    count, calls = 12, 8
    told = [sys.executable, str(program), f"--agents={count}", f"--calls={calls}", "--kill"]
    done = subprocess.run(told, capture_output=True, text=True, timeout=600)
    if done.returncode:
        bench.add("a Ray node is killed", "exit 0", done.stderr.strip()[-200:], met=False)
        return
    seen = json.loads(done.stdout.splitlines()[-1])
    bench.add("a Ray node is killed: answered, moved", f"{count}, >= 1",
              f"{seen['answered']}, {seen['moved']}",
              met=seen["answered"] == count and seen["moved"] >= 1)  # fmt: skip
    whole = seen["calls"] == count * calls and seen["repeated"] <= seen["moved"]
    bench.add("a Ray node is killed: calls, done again",
              f"{count * calls}, those under way there ({seen['moved']})",
              f"{seen['calls']}, {seen['repeated']}", met=whole)  # fmt: skip
