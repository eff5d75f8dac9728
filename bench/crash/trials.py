"""Runs that are killed and resumed, and what is wrong with how they ended."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chogori.agent.toolset import UNKNOWN
from chogori.chat import text_of

from .child import Order, deeds, play
from .launch import result, run
from .world import World, asked_again, broken_promises

_MEMORY = Path("/dev/shm")
UNKNOWN_TEXT = text_of(UNKNOWN.content)


@dataclass(slots=True)
class Tally:
    """What was seen of many runs."""

    kills: int = 0
    runs: int = 0
    points: int = 0
    """Boundaries at which a run was killed."""
    histories: list[str] = field(default_factory=list[str])
    """Runs that ended otherwise than the one that was never killed."""
    deeds: list[str] = field(default_factory=list[str])
    """What was done more or less often than its effect allows."""
    asked_again: int = 0
    unsound: list[str] = field(default_factory=list[str])
    """Logs that do not fit their chain, or hold a reply twice."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.kills + other.kills,
            self.runs + other.runs,
            self.points + other.points,
            self.histories + other.histories,
            self.deeds + other.deeds,
            self.asked_again + other.asked_again,
            self.unsound + other.unsound,
        )


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one run: in memory, where there is such a place, since a kill loses nothing
    that was written there either."""
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        yield Path(name)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The run that is never killed."""

    calls: int
    history: list[Any]
    boundaries: Counter[str]

    @classmethod
    def of(cls, calls: int) -> Baseline:
        """It is played in this process, which leaves it warm for its children."""
        with folder() as path:
            order = Order(path, calls)
            play(order)
            told = result(order)
        return cls(calls, told["history"], Counter(told["boundaries"]))

    @property
    def points(self) -> list[tuple[str, int]]:
        """Every boundary: its kind, and which of them."""
        kinds = self.boundaries.items()
        return [(kind, number) for kind, count in kinds for number in range(1, count + 1)]


def killed_at(baseline: Baseline, kind: str, number: int, *, again: random.Random) -> Tally:
    """A run that dies at a boundary, is resumed, and may die once more on its way."""
    with folder() as path:
        order = Order(path, baseline.calls)
        kills = 0 if run(replace(order, kind=kind, number=number)) else 1
        if kills and again.random() < 0.3:
            kind, number = again.choice(baseline.points)
            kills += 0 if run(replace(order, kind=kind, number=number)) else 1
        if kills:
            run(order)
        return judged(order, baseline, kills) + Tally(points=min(kills, 1))


def killed_at_random(baseline: Baseline, chance: random.Random, seconds: float) -> Tally:
    """A run that is killed at any instant, until it comes through; `seconds` it takes in all."""
    with folder() as path:
        order, kills = Order(path, baseline.calls), 0
        while kills < 5 and not run(order, kill_after=chance.uniform(0, seconds)):
            kills += 1
        if kills == 5:
            run(order)
        return judged(order, baseline, kills)


def judged(order: Order, baseline: Baseline, kills: int) -> Tally:
    """What is to be said of a run that has come to its end."""
    told, name = result(order), f"{order.calls} calls a step, {kills} kills"
    if "error" in told:
        return Tally(kills, 1, histories=[f"{name}: {told['error']}"])
    calls = deeds(order.calls)
    lost = {calls[(turn - 1) * order.calls + index] for turn, index in told["unknown"]}
    lines = World(order.world).lines()
    is_same = told["history"] == [_known(lost, message) for message in baseline.history]
    is_sound = not told["problem"] and len(set(told["replies"])) == len(told["replies"])
    return Tally(
        kills,
        1,
        histories=[] if is_same else [name],
        deeds=broken_promises(lines, calls, lost),
        asked_again=asked_again(lines),
        unsound=[] if is_sound else [f"{name}: {told['problem']} {told['replies']}"],
    )


def _known(lost: set[str], message: dict[str, Any]) -> dict[str, Any]:
    """A message of the run that was never killed, as it is where nobody knows of `lost` calls."""
    step, _, number = (message["answers"] or "").removeprefix("call_").partition("_")
    if any(call.endswith(f" {step}.{number}") for call in lost):
        return {**message, "text": UNKNOWN_TEXT}
    return message
