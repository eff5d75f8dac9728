"""Chogori's harness beside its peers: what a step costs, what a log weighs, what comes back.

    python bench/agents.py [--quick] [--only ROW] [--reps 3]

A scripted model (`bench/agents/server.py`) asks for tool calls and does not think. Every contender
is a small program in `bench/agents`; a peer's runs in a virtual environment of its own
(`.venv-peers/NAME`, made on first use). Each run warms up first; contenders take turns, so that
what else happens on the machine hits all alike. Prints the medians; exits 1 if a measure is missed
or a contender did not run. `--quick` leaves the peers out.
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
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from agents_rows import FLOOR, OURS, Figures, Results, Row, Sizes, print_rows, rows

PROGRAMS = Path(__file__).parent / "agents"
PEERS = Path(__file__).parent.parent / ".venv-peers"
MOST_SECONDS = 900
"""After so long a run counts as one that did not end."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A program, what it needs, and whether it is to keep a log."""

    name: str
    program: str
    packages: tuple[str, ...] = ()
    """None: it runs in this environment."""
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """So many agents at once, each calling a tool so many times in a row."""

    name: str
    agents: int
    calls: int
    model_ms: int = 0
    tool_ms: int = 0
    has_peers: bool = True


class DidNotRun(Exception):
    """A contender could not be measured; the text says why."""


_OPENAI = "openai==3.54.0"
_PYDANTIC = ("pydantic-ai-slim[openai]==2.62.0", "pydantic-ai-harness==0.62.0", _OPENAI)
_LANGGRAPH = (
    *("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2"),
    *("langchain==1.4.7", "langchain-openai==1.7.3", _OPENAI),
)
_AGENTS_SDK = ("openai-agents==0.24.0", _OPENAI)
CONTENDERS = (
    Contender(OURS, "ours.py"),
    Contender(FLOOR, "floor.py"),
    Contender("pydantic-ai", "peer_pydantic_ai.py", _PYDANTIC, durable=False),
    Contender("pydantic-ai+steps", "peer_pydantic_ai.py", _PYDANTIC),
    Contender("langgraph", "peer_langgraph.py", _LANGGRAPH, durable=False),
    Contender("langgraph+sqlite", "peer_langgraph.py", _LANGGRAPH),
    Contender("openai-agents", "peer_openai_agents.py", _AGENTS_SDK, durable=False),
    Contender("openai-agents+session", "peer_openai_agents.py", _AGENTS_SDK),
)


def cases(sizes: Sizes) -> list[Case]:
    return [
        Case("chain", 1, sizes.steps),
        Case("long chain", 1, 2 * sizes.steps, has_peers=False),
        Case("fan", sizes.agents, sizes.calls, model_ms=50, tool_ms=20),
        Case("wide fan", sizes.wide_agents, sizes.wide_calls, 50, 20, has_peers=False),
    ]


@contextlib.contextmanager
def serving() -> Generator[str]:
    """The scripted model, in a process of its own; its address."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAMS / "server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None, "its output is a pipe"
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def python_for(contender: Contender) -> Path:
    """The interpreter of a contender's environment, made when it is first needed."""
    if not contender.packages:
        return Path(sys.executable)
    folder = PEERS / contender.program.removeprefix("peer_").removesuffix(".py")
    python, made = folder / "bin" / "python", folder / "made"
    wanted = "\n".join(contender.packages)
    if not made.exists() or made.read_text() != wanted:
        print("installing", *contender.packages, "into", folder, flush=True)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "-q", *contender.packages],
        ):
            _output_of(command)
        made.write_text(wanted)
    return python


def measure(contender: Contender, case: Case, server: str) -> Figures:
    """One run in a process and a folder of its own. Raises `DidNotRun`."""
    command = [str(python_for(contender)), str(PROGRAMS / contender.program), "--server", server]
    for name in ("agents", "calls", "model_ms", "tool_ms"):
        command += [f"--{name.replace('_', '-')}", str(getattr(case, name))]
    with tempfile.TemporaryDirectory() as folder:
        kept = ["--folder", folder] if contender.durable else []
        output = _output_of([*command, *kept])
    figures = Figures(**json.loads(output.splitlines()[-1]))
    if figures.answered < figures.agents:
        raise DidNotRun(f"{figures.answered} of {figures.agents} agents answered")
    return figures


def _output_of(command: Sequence[str]) -> str:
    # A proxy that the developer's machine may name is not meant for the scripted model.
    variables = os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MOST_SECONDS, env=variables
        )
    except subprocess.TimeoutExpired as error:
        raise DidNotRun(f"it had not ended after {MOST_SECONDS} s") from error
    if done.returncode:
        raise DidNotRun("\n".join(done.stderr.strip().splitlines()[-5:]) or "it ended in silence")
    return done.stdout


def measure_all(
    contenders: Sequence[Contender], wanted: Sequence[Case], repetitions: int
) -> Results:
    """Every contender through every case, so many times, taking turns."""
    results = Results()
    turns = [
        (case, contender)
        for _ in range(repetitions)
        for case in wanted
        for contender in contenders
        if case.has_peers or not contender.packages
    ]
    with serving() as server:
        for case, contender in turns:
            place = (case.name, contender.name)
            if place in results.failures:
                continue
            try:
                figures = measure(contender, case, server)
            except DidNotRun as error:
                results.failures[place] = str(error)
                print(f"{case.name:<11} {contender.name:<22} DID NOT RUN", flush=True)
                continue
            results.runs[place].append(figures)
            _print_run(case, contender, figures)
    return results


def _print_run(case: Case, contender: Contender, figures: Figures) -> None:
    marks = [figures.step_ms.get(at, 0) for at in ("first", "middle", "last")]
    told = [
        f"{case.name:<11} {contender.name:<22} {figures.seconds:7.2f} s",
        f"{figures.cpu_ms:6.2f} CPU ms a call",
        " / ".join(f"{ms:.1f}" for ms in marks) if case.agents == 1 else "",
        "" if figures.log_bytes is None else f"log {figures.log_bytes / 1e6:.2f} MB",
        f"{figures.before_mb:.0f} to {figures.peak_mb:.0f} MB",
        f"reasoning {figures.tally['kept']:.0f} of {figures.calls}",
        f"ids {figures.tally['paired']:.0f}",
        "streamed" if figures.tally["streamed"] else "whole replies",
        f"server {1000 * figures.tally['seconds'] / figures.tally['requests']:.2f} ms a reply",
    ]
    print(", ".join(filter(None, told)), flush=True)


def print_surroundings(results: Results) -> None:
    """Versions, and what else the figures depend on."""
    versions: dict[str, str] = {}
    for runs in results.runs.values():
        versions |= runs[0].versions
    print("\n" + ", ".join(f"{name} {told}" for name, told in sorted(versions.items())))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}, logs in {tempfile.gettempdir()} "
          f"({_file_system(Path(tempfile.gettempdir()))})")  # fmt: skip


def _file_system(folder: Path) -> str:
    """Of what kind it is: on tmpfs a log would be durable for nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(len(at), kind) for at, kind in mounts if folder.resolve().is_relative_to(at)]
    return max(above)[1]


def parse() -> tuple[argparse.Namespace, Sizes]:
    parser = argparse.ArgumentParser(description="Chogori's harness beside its peers.")
    names = [row.name for row in rows(Sizes())]
    parser.add_argument("--quick", action="store_true", help="ours and the floor, no peers")
    parser.add_argument("--only", choices=names, help="one measure, and the cases it needs")
    parser.add_argument("--reps", type=int, default=3, help="runs of each; medians count")
    for size in fields(Sizes):
        parser.add_argument(f"--{size.name.replace('_', '-')}", type=int, default=size.default)
    options = parser.parse_args()
    return options, Sizes(**{size.name: getattr(options, size.name) for size in fields(Sizes)})


def main() -> int:
    options, sizes = parse()
    wanted: list[Row] = [row for row in rows(sizes) if options.only in (None, row.name)]
    needed = {case for row in wanted for case in row.cases}
    contenders = [one for one in CONTENDERS if not (options.quick and one.packages)]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; the steps are the median "
          "wall ms of the first, middle and last 50", flush=True)  # fmt: skip
    results = measure_all(contenders, [c for c in cases(sizes) if c.name in needed], options.reps)
    peers = [one for one in contenders if one.packages]
    all_met = print_rows(
        wanted,
        results,
        [one.name for one in peers],
        [one.name for one in peers if one.durable],
        judged=sizes == Sizes(),
    )
    print_surroundings(results)
    for why in dict.fromkeys(results.failures.values()):
        places = ", ".join(
            f"{name} ({case})" for (case, name), it in results.failures.items() if it == why
        )
        print(f"\ndid not run: {places}\n{why}")
    return 0 if all_met and not results.failures else 1


if __name__ == "__main__":
    sys.exit(main())
