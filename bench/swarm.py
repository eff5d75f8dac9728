"""A swarm beside its peers' fan-out, before an endpoint that refuses, and through faults.

    python bench/swarm.py [--quick] [--only NAME] [--agents 100] [--wide 300]

Scripted model (50 ms) and tool (20 ms), every run in a process of its own. Prints what is wanted,
what was measured, and whether it is met; exits 1 if a measure is missed or a peer did not run.
`--quick` leaves out the peers; other sizes than the default are measured and not judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import agents
from agents import CONTENDERS, DidNotRun

HERE = Path(__file__).parent / "swarm"
sys.path.append(str(HERE))

MODEL_MS, TOOL_MS = 50, 20
PUBLISHED = "4.5 for WideSearch, Kimi K2.5 (section 5.2)"


@dataclass(slots=True)
class Row:
    """One measure."""

    name: str
    wanted: str
    measured: str
    met: bool


@dataclass(slots=True)
class Bench:
    """What the cases share."""

    options: argparse.Namespace
    rows: list[Row] = field(default_factory=list[Row])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    walls: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, name: str, wanted: str, measured: str, *, met: bool) -> None:
        """A row, printed at once too: the whole takes minutes."""
        self.rows.append(Row(name, wanted, measured, met))
        print(f"  {name}: {measured} (wanted {wanted})", flush=True)

    def most(self, name: str, most: float, measured: float, unit: str, more: str = "") -> None:
        """A figure that is to be no more than `most`."""
        self.add(name, f"<= {most:g}{unit}", f"{measured:.2f}{unit}{more}", met=measured <= most)


@contextlib.contextmanager
def serving() -> Generator[str]:
    """The scripted endpoint; its address."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "swarm_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None, "its output is a pipe"
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def command(server: str, folder: Path, *options: str, **sizes: int) -> list[str]:
    """How to run one swarm."""
    told = [f"--{name.replace('_', '-')}={value}" for name, value in sizes.items()]
    program = [sys.executable, str(HERE / "ours_swarm.py"), "--server", server]
    return [*program, "--folder", str(folder), *options, *told]


def ours(server: str, *options: str, **sizes: int) -> dict[str, Any]:
    """One swarm in a folder of its own. Raises `DidNotRun`."""
    with tempfile.TemporaryDirectory() as folder:
        output = agents._output_of(command(server, Path(folder), *options, **sizes))
    return json.loads(output.splitlines()[-1])


def critical_seconds(calls: int) -> float:
    """Of the orchestrator's two turns and the longest subagent."""
    return (2 * MODEL_MS + calls * (MODEL_MS + TOOL_MS) + MODEL_MS) / 1000


def fan(bench: Bench) -> None:
    """So many subagents with so many calls each, all at once."""
    narrow, wide = bench.options.agents, bench.options.wide
    with serving() as server:
        for count, calls, most in ((narrow, 15, 2.0), (wide, 13, 3.5)):
            told = ours(server, agents=count, calls=calls)
            bench.versions |= told["versions"]
            name, report = f"{count} x {calls}", told["report"]
            bench.walls[name] = told["seconds"]
            times = told["seconds"] / critical_seconds(calls)
            cpu = 1000 * told["cpu_seconds"] / (count * calls)
            seconds = f" ({told['seconds']:.2f} s, {cpu:.2f} CPU ms a call)"
            bench.most(f"{name}, durable: wall over critical path", most, times, "x", seconds)
            done = report["subagents"] - report["unfinished"]
            bench.add(f"{name}: answered", str(count), f"{done:g}", met=done == count)
            grown = (told["peak_mb"] - told["before_mb"]) / count
            bench.most(f"{name}: memory of a subagent", 1, grown, " MB")


def speed_up(bench: Bench) -> None:
    """The same calls by one agent."""
    count = bench.options.agents
    with serving() as server:
        swarm = ours(server, agents=count, calls=15)
        single = ours(server, "--single", agents=count, calls=15)
    times = single["seconds"] / swarm["seconds"]
    wanted = f">= {0.4 * count:g} (published: {PUBLISHED})"
    told = f"{times:.1f} ({single['seconds']:.1f} s by one agent, {swarm['seconds']:.2f} s)"
    bench.add(f"speed-up, {count} wide", wanted, told, met=times >= 0.4 * count)


def mixed(bench: Bench) -> None:
    """Subagents of very different lengths, at different widths, by `Swarm.map`; the bound has no
    turns of an orchestrator. What is not told how long the tasks are is not judged."""
    from ours_swarm import steps_of

    count, seed = bench.options.wide, 6
    steps, step = steps_of(seed, count, 13 * count), (MODEL_MS + TOOL_MS) / 1000
    work = sum(steps) * step + count * MODEL_MS / 1000
    with serving() as server:
        for width in (4, 16, 64):
            bound = max(max(steps) * step + MODEL_MS / 1000, work / width)
            sizes = {"agents": count, "calls": 13, "width": width, "seed": seed}
            told = ours(server, "--mixed", "--lengths", **sizes)
            times, met = told["seconds"] / bound, told["done"] == count
            seconds = f"{told['seconds']:.1f} s of {bound:.1f} s"
            measured = f"{times:.2f}x ({seconds}, {told['done']} done)"
            name = f"mixed, width {width}: wall over the bound"
            bench.add(name, "<= 1.3x", measured, met=met and times <= 1.3)
        told = ours(server, "--mixed", **sizes)
        times = told["seconds"] / bound
        print(f"  the last without knowing the lengths: {times:.2f}x (not judged)", flush=True)


def peers(bench: Bench) -> None:
    """The fan-out of the peers, on the same figures."""
    case = agents.Case("fan", bench.options.agents, 15, MODEL_MS, TOOL_MS)
    name = f"{bench.options.agents} x 15"
    with agents.serving() as server:
        for contender in CONTENDERS:
            if not contender.packages:
                continue
            figures = agents.measure(contender, case, server)
            bench.versions |= figures.versions
            ours_seconds = bench.walls.get(name, 0.0)
            times = figures.seconds / ours_seconds if ours_seconds else 0.0
            critical = figures.seconds / critical_seconds(15)
            told = f"{figures.seconds:.2f} s, {times:.1f} times ours, {critical:.1f}x critical"
            print(f"  {name} by {contender.name}: {told}", flush=True)


def rates(bench: Bench) -> None:
    """Before an endpoint that refuses; see `swarm/swarm_rates.py`."""
    from swarm_rates import measure

    with serving() as server, tempfile.TemporaryDirectory() as folder:
        measure(bench, server, Path(folder), command)


def kill(bench: Bench) -> None:
    """kill -9 of the process; see `swarm/swarm_faults.py`."""
    from swarm_faults import killed

    with serving() as server, tempfile.TemporaryDirectory() as folder:
        killed(bench, server, Path(folder), command)


def node(bench: Bench) -> None:
    """A Ray node is killed; see `swarm/ray_node.py`."""
    from swarm_faults import node_lost

    node_lost(bench)


def faults(bench: Bench) -> None:
    """Models that fail, fall silent or go in circles, and a budget that ends."""
    from swarm_faults import faults

    with serving() as server, tempfile.TemporaryDirectory() as folder:
        faults(bench, server, Path(folder), ours)


CASES: dict[str, Callable[[Bench], None]] = {
    "fan": fan,
    "peers": peers,
    "speed-up": speed_up,
    "mixed": mixed,
    "rates": rates,
    "kill": kill,
    "node": node,
    "faults": faults,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="A swarm, measured.")
    parser.add_argument("--quick", action="store_true", help="leave out the peers")
    parser.add_argument("--only", choices=CASES, help="one of the cases")
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--wide", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=12, help="until the limit rises")
    options = parser.parse_args()
    bench, failures = Bench(options), list[str]()
    for name, case in CASES.items():
        if options.only not in (None, name) or (options.quick and name == "peers"):
            continue
        print(f"{name} (load {os.getloadavg()[0]:.1f})", flush=True)
        try:
            case(bench)
        except DidNotRun as error:
            failures.append(f"{name} did not run: {error}")
            print(f"  {failures[-1]}", flush=True)
    judged = (options.agents, options.wide, options.seconds) == (100, 300, 12)
    print(f"\n{'measure':<64}{'wanted':<58}{'measured':<58}met")
    for row in bench.rows:
        verdict = ("met" if row.met else "MISSED") if judged else "not judged at this size"
        print(f"{row.name:<64}{row.wanted:<58}{row.measured:<58}{verdict}")
    print("\n" + ", ".join(f"{name} {told}" for name, told in sorted(bench.versions.items())))
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    return 1 if failures or (judged and not all(row.met for row in bench.rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
