"""A hundred calls in a row by the embedded model: files that each name the next, and two kills.

    python bench/hundred_files.py [--files 101] [--kills 2] [--tokens 4000] [--model local]

Through the command, as a person would: `chogori ask --tool read_file --context hide_tool_results`,
killed by SIGKILL on the way, `chogori runs resume`, and what `runs verify` and `runs replay` say of
it in the end. Prints a table; exits 1 if a measure is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHOGORI = Path(sys.executable).with_name("chogori")
WORDS = (
    *("amber", "brook", "cedar", "delta", "ember", "fjord", "grove", "heath"),
    *("islet", "larch", "maple", "north", "otter", "pearl"),
)
TALK = (
    "The harbour was quiet that morning and the boats lay still.",
    "Somebody had left a lantern on the steps of the old mill.",
    "The letters were carried over the pass before the snow came.",
    "In the garden behind the house the pears were almost ripe.",
    "Nobody remembered who had painted the door of the chapel.",
    "The road to the lake was longer than the map had promised.",
)
PLACES = ("a lamp", "a kettle", "a violin", "a ladder"), ("mill", "tower", "cellar", "barn")
QUESTION = (
    "Begin with the file {first}. Each file names the next one to read, up to the last. What does "
    "the last one say about the key?"
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Files, each of which names the next."""

    names: tuple[str, ...]
    saying: str
    """What the last one says."""
    told: str
    """What an answer must have of it."""

    @classmethod
    def made(cls, folder: Path, count: int, chance: random.Random) -> Chain:
        numbers = chance.sample(range(1_000, 10_000), count)
        names = [f"{chance.choice(WORDS)}-{number}" for number in numbers]
        thing, place = (chance.choice(some) for some in PLACES)
        saying = f"the key is under {thing} in the {place}"
        for name, following in zip(names, [*names[1:], None], strict=True):
            talk = " ".join(chance.sample(TALK, 5))
            end = f"Next file: {following}" if following else f"This is the last file: {saying}."
            (folder / name).write_text(f"{talk}\n{end}\n")
        return cls(tuple(names), saying, f"{thing.removeprefix('a ')} in the {place}")


@dataclass(slots=True)
class Trip:
    """What was seen of a run from outside, over all processes that drove it."""

    calls: int = 0
    kills: int = 0
    seconds: float = 0.0
    told: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    wanted: str
    measured: str
    is_met: bool = True


def main() -> None:
    asked = _arguments()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="files-") as folder:
        work, data = Path(folder, "work"), Path(folder, "data")
        work.mkdir()
        chain = Chain.made(work, asked.files, chance)
        trip = travel(asked, work, data, chain, chance)
        kept = [json.loads(line) for line in _chogori(data, "export", "last").splitlines()]
        rows = judged(asked, chain, trip, kept, lambda *what: _chogori(data, *what))
        _print(rows)
        print("\n" + summary(chain, kept))
    sys.exit(not all(row.is_met for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=101)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument(
        "--tokens", type=int, default=4_000, help="from which on results are hidden"
    )
    parser.add_argument("--model", default="local")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def travel(
    asked: argparse.Namespace, work: Path, data: Path, chain: Chain, chance: random.Random
) -> Trip:
    """The run, killed after so many calls, each time in the middle of what comes next."""
    trip, started = Trip(), time.monotonic()
    marks = [asked.files * (number + 1) // (asked.kills + 1) for number in range(asked.kills)]
    begin = ["ask", f"--model={asked.model}", f"--workspace={work}", "--tool=read_file"]
    begin += [f"--context=hide_tool_results:{asked.tokens}", QUESTION.format(first=chain.names[0])]
    command = begin
    for mark in [*marks, None]:
        _drive([*command, "--json", f"--data={data}"], trip, mark, chance)
        command = ["runs", "resume", "last"]
    trip.seconds = time.monotonic() - started
    return trip


def _drive(command: Sequence[str], trip: Trip, mark: int | None, chance: random.Random) -> None:
    with subprocess.Popen([CHOGORI, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "its output is a pipe"
        for line in process.stdout:
            event = json.loads(line)
            if event["type"] == "tool_finished":
                trip.calls += 1
                print(f"{trip.calls:4} {event['call']['arguments']}", file=sys.stderr, flush=True)
                if mark is not None and trip.calls >= mark:
                    time.sleep(chance.uniform(0, 3))
                    process.kill()
                    trip.kills += 1
                    print(f"     killed, process {process.pid}", file=sys.stderr, flush=True)
                    return


def _chogori(data: Path, *what: str) -> str:
    done = subprocess.run(
        [CHOGORI, "runs", what[0], f"--data={data}", *what[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or done.stderr


def judged(
    asked: argparse.Namespace,
    chain: Chain,
    trip: Trip,
    kept: Sequence[dict[str, Any]],
    runs: Callable[..., str],
) -> list[Row]:
    """The table."""
    answer = next((event["text"] for event in kept if event["type"] == "answer"), "")
    read = list(_files_read(kept))
    wanted = list(chain.names[-len(read) :]) if len(read) < len(chain.names) else list(chain.names)
    replies, steps = _count(kept, "reply_finished"), _count(kept, "step_started")
    compactions, verified = _count(kept, "compacted"), runs("verify", "last")
    replayed = json.loads(runs("replay", "last", "--json") or "{}")
    same, requests = replayed.get("same_bytes"), replayed.get("requests")
    least, few = asked.files - 1, 3 if asked.files > 100 else 0
    return [
        Row("answer", f"tells of: {chain.told}", answer, chain.told in answer.lower()),
        Row("calls of read_file in a row", f">= {least}", f"{len(read)}", len(read) >= least),
        Row("files in their order", "all", "all" if read == wanted else f"{read}", read == wanted),
        Row(
            "killed and resumed", f"{asked.kills} times", f"{trip.kills}", trip.kills == asked.kills
        ),
        Row("replies for a step", "1", f"{replies / max(1, steps):g}", replies == steps),
        Row("compactions", f">= {few}", f"{compactions}", compactions >= few),
        Row("records as written", "yes", verified.splitlines()[0], "is as it was" in verified),
        Row(
            "requests the same in replay", "all", f"{same} of {requests}", same == requests == steps
        ),
        Row("prompt tokens read a step, p50", "-", f"{statistics.median(_read_anew(kept)):.0f}"),
        Row("prompt tokens read of those sent", "-", f"{_share_read(kept):.1%}"),
        Row("wall", "-", f"{trip.seconds:.0f} s, load {os.getloadavg()[0]:.1f}"),
    ]


def _files_read(kept: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Each file once, in the order in which they were read first."""
    seen: set[str] = set()
    for event in kept:
        if event["type"] == "tool_finished" and not event["failed"]:
            name = json.loads(event["call"]["arguments"]).get("path", "").removeprefix("/work/")
            if name not in seen:
                seen.add(name)
                yield name


def _count(kept: Sequence[dict[str, Any]], kind: str) -> int:
    return sum(event["type"] == kind for event in kept)


def _usages(kept: Sequence[dict[str, Any]]) -> list[dict[str, int]]:
    return [event["usage"] for event in kept if event["type"] == "reply_finished"]


def _read_anew(kept: Sequence[dict[str, Any]]) -> list[int]:
    """Of each request, the tokens that were not in the model's cache."""
    return [usage["prompt"] - usage["cached"] for usage in _usages(kept)]


def _share_read(kept: Sequence[dict[str, Any]]) -> float:
    return sum(_read_anew(kept)) / max(1, sum(usage["prompt"] for usage in _usages(kept)))


def summary(chain: Chain, kept: Sequence[dict[str, Any]]) -> str:
    """The run in a few lines."""
    written = sum(usage["completion"] for usage in _usages(kept))
    answer = next((event for event in kept if event["type"] == "answer"), {})
    return (
        f"{len(chain.names)} files, {_count(kept, 'tool_finished')} calls, "
        f"{_count(kept, 'reply_finished')} replies of {written} tokens, "
        f"{sum(usage['prompt'] for usage in _usages(kept))} prompt tokens sent and "
        f"{sum(_read_anew(kept))} read, {_count(kept, 'reminded')} reminders, "
        f"{answer.get('seconds', 0):.0f} s of running"
    )


def _print(rows: Sequence[Row]) -> None:
    for row in [Row("measure", "wanted", "measured"), *rows]:
        met = "" if row.wanted in ("-", "wanted") else "met" if row.is_met else "MISSED"
        print(f"{row.name:<34} {row.wanted:<34} {row.measured:<40} {met}")


if __name__ == "__main__":
    main()
