"""Asks the embedded model fresh questions of twelve kinds, and measures how it does.

    python bench/ask_suite.py [--seeds 1,2,3,4,5] [--kinds primes,log] [--verbose]

A seed makes twelve questions; five make sixty. Each is asked through the assistant of `chogori ask`
at temperature 0. Prints a line a question, a line a kind, and the measures with what was wanted;
exits 1 if one is missed. `--data` asks the twelve questions kept in bench/data/ask instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema

from ask_questions import Question, accepts, make_suite
from chogori.chat import (
    Answer,
    Event,
    Options,
    ReplyFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from chogori.engine.gguf.code import python_parses
from chogori.presets import assistant, load

WANTED_SCORE, WANTED_SECONDS, WANTED_START = 0.80, 30.0, 0.3


@dataclass(slots=True)
class Tally:
    """What the runs of the suite add up to."""

    right: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    calls: int = 0
    valid: int = 0
    drafts: int = 0
    redraws: int = 0
    first_drafts_that_parse: int = 0
    programs: int = 0
    schemas: Mapping[str, Any] = field(default_factory=dict[str, Any])
    programs_that_parse: int = 0

    def see(self, event: Event) -> None:
        """Count what `event` says of calls and programs."""
        if isinstance(event, RunStarted):
            self.schemas = {tool["name"]: tool["parameters"] for tool in event.agent["tools"]}
        elif isinstance(event, ToolStarted):
            self.calls += 1
            self.valid += _is_valid(event, self.schemas)
        elif isinstance(event, ToolFinished) and event.call.name == "python":
            self.programs += 1
            code = json.loads(event.call.arguments)["code"]
            # A program that does not parse is refused before it reaches the sandbox.
            self.programs_that_parse += python_parses(code)
        elif isinstance(event, ReplyFinished):
            calls = [call for call in event.message.tool_calls if call.name == "python"]
            redraws = event.message.extra.get("redraws", 0)
            self.drafts += len(calls)
            self.redraws += redraws
            self.first_drafts_that_parse += len(calls) if not redraws else 0


def _is_valid(event: ToolStarted, schemas: Mapping[str, Any]) -> bool:
    if event.call.name not in schemas:
        return False
    try:
        jsonschema.validate(json.loads(event.call.arguments), schemas[event.call.name])
    except (json.JSONDecodeError, jsonschema.ValidationError):
        return False
    return True


async def ask_all(suites: Sequence[tuple[Path, Sequence[Question]]], *, verbose: bool) -> Tally:
    """Ask every question with its folder as the workspace; one model for all."""
    tally, model = Tally(), load("local")
    with tempfile.TemporaryDirectory() as runs:
        for folder, questions in suites:
            for question in questions:
                await _ask(question, folder, Path(runs), model, tally, verbose=verbose)
    await model.aclose()
    return tally


async def _ask(
    question: Question, folder: Path, runs: Path, model: Any, tally: Tally, *, verbose: bool
) -> None:
    started, text = time.monotonic(), ""
    options = Options(temperature=0.0)
    async with assistant(model, runs=runs, workspace=folder, options=options) as agent:
        async for event in agent.stream(question.text):
            tally.see(event)
            if verbose:
                _tell(event)
            if isinstance(event, Answer):
                text = event.text
    seconds = time.monotonic() - started
    right = accepts(question, text)
    tally.right[question.kind].append(right)
    tally.seconds[question.kind].append(seconds)
    mark = "right" if right else "WRONG"
    told = " ".join(text.split())[:60]
    print(
        f"{mark}  {seconds:5.1f} s  {question.kind:<13} {question.answer:>26} | {told}", flush=True
    )


def _tell(event: Event) -> None:
    match event:
        case ReplyFinished(message):
            print(f"    . {message.reasoning or ''}{message.text}")
            for call in message.tool_calls:
                print("    > " + call.arguments.replace("\\n", "\n    > "))
        case ToolFinished():
            print(f"    = {event.output[:600]}")
        case _ if type(event).__name__ in ("Reminded", "AttemptStarted", "AttemptFinished"):
            print(f"    * {event}")
        case _:
            pass


def report(tally: Tally) -> bool:
    """Print the tables; whether every measure was met."""
    print(f"\n{'kind':<14} right   seconds (median)")
    for kind, right in tally.right.items():
        print(
            f"{kind:<14} {sum(right)}/{len(right)}     {statistics.median(tally.seconds[kind]):.1f}"
        )
    right = [one for kind in tally.right.values() for one in kind]
    seconds = [one for kind in tally.seconds.values() for one in kind]
    score, median = sum(right) / len(right), statistics.median(seconds)
    programs = f"{tally.programs_that_parse}/{tally.programs}"
    rows = [
        (
            "score",
            f">= {WANTED_SCORE:.0%}",
            f"{sum(right)}/{len(right)} = {score:.0%}",
            score >= WANTED_SCORE,
        ),
        (
            "seconds a question, median",
            f"<= {WANTED_SECONDS:.0f}",
            f"{median:.1f}",
            median <= WANTED_SECONDS,
        ),
        (
            "calls that validate",
            "100 %",
            f"{tally.valid}/{tally.calls}",
            tally.valid == tally.calls,
        ),
        ("programs that parse", "100 %, or told", programs, True),
        (
            "first drafts that parse",
            "printed",
            f"{tally.first_drafts_that_parse}/{tally.drafts}",
            True,
        ),
        ("redraws", "printed", str(tally.redraws), True),
    ]
    chogori = str(Path(sys.executable).with_name("chogori"))
    for name, command in (
        ("seconds, import chogori", (sys.executable, "-c", "import chogori")),
        ("seconds, chogori --help", (chogori, "--help")),
    ):
        took = start_up(*command)
        rows.append((name, f"<= {WANTED_START}", f"{took:.2f}", took <= WANTED_START))
    print(f"\n{'measure':<28} {'wanted':<15} {'measured':<15} met")
    for name, wanted, measured, met in rows:
        print(f"{name:<28} {wanted:<15} {measured:<15} {'met' if met else 'MISSED'}")
    slowest = max(seconds)
    print(
        f"\nslowest {slowest:.1f} s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {sys.version.split()[0]}, xllamacpp {version('xllamacpp')}"
    )
    return all(met for *_, met in rows)


def start_up(*command: str) -> float:
    """Seconds that `command` takes as a whole process, at the median of five."""
    times: list[float] = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - started)
    return statistics.median(times)


def kept_suite() -> tuple[Path, list[Question]]:
    """The twelve questions in bench/data/ask."""
    folder = Path(__file__).parent / "data" / "ask"
    kept = json.loads((folder / "questions.json").read_text())
    questions = [Question(q["id"], q["question"], q["answer"], tuple(q["files"])) for q in kept]
    return folder / "workspace", questions


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the embedded model fresh questions.")
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--kinds", default="")
    parser.add_argument("--data", action="store_true", help="the twelve of bench/data/ask")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suites: list[tuple[Path, list[Question]]] = []
        for seed in () if options.data else options.seeds.split(","):
            workspace = Path(folder) / seed
            made = make_suite(int(seed), workspace)
            kinds = options.kinds.split(",") if options.kinds else [q.kind for q in made]
            suites.append((workspace, [q for q in made if q.kind in kinds]))
        if options.data:
            suites.append(kept_suite())
        tally = asyncio.run(ask_all(suites, verbose=options.verbose))
    return 0 if report(tally) else 1


if __name__ == "__main__":
    sys.exit(main())
