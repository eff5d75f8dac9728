"""A run as lanes on a clock: when each agent of it waited for its model, for a tool, for others.

All of it is read off the journals, by the time of day of each record. Time in which nobody did
anything, because the run was stopped and went on later, is cut out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from chogori.agent.journal import Entry, read
from chogori.store import Store
from chogori.swarm.record import Node, tree
from chogori.swarm.tools import DIRECTING

Kind = Literal["model", "tool", "others"]
IDLE_SECONDS = 2.0
"""A time without anything is cut to so much, or to a tenth of all else where that is more."""


@dataclass(frozen=True, slots=True)
class Span:
    """An agent waited for its model, for a tool, or for its subagents."""

    kind: Kind
    begin: float
    end: float
    what: str = ""
    """The name of the tool."""


@dataclass(slots=True)
class Lane:
    """One agent's; times are seconds from the beginning of the whole."""

    run_id: str
    name: str
    state: str
    depth: int
    begin: float
    end: float
    spans: list[Span] = field(default_factory=list[Span])
    steps: int = 0
    is_critical: bool = False
    """Whether it has the most steps of its stage: the critical steps run through it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All lanes: an agent's subagents follow it, in the order in which they began."""

    lanes: Sequence[Lane]
    cuts: Sequence[float]
    """Where time was cut out."""
    steps: int
    critical_steps: int
    report: Mapping[str, float]
    """As `Node.report`."""

    @property
    def seconds(self) -> float:
        """From the first to the last."""
        return max((lane.end for lane in self.lanes), default=0.0)


async def timeline(store: Store, run_id: str) -> Timeline:
    """Of a run and all below it. Raises `RunNotFound` and `RunDamaged`."""
    root = await tree(store, run_id)
    lanes = await _lanes(store, root, 0, is_critical=True)
    moved, cuts = _without_idle(lanes)
    return Timeline(moved, cuts, root.all_steps, root.critical_steps(), root.report)


async def _lanes(store: Store, node: Node, depth: int, *, is_critical: bool) -> list[Lane]:
    own = _lane(node, await read(store, node.run_id), depth, is_critical=is_critical)
    longest = _longest(node) if is_critical else set[str]()
    below = [
        await _lanes(store, each, depth + 1, is_critical=each.run_id in longest)
        for each in node.below
    ]
    return [own, *(lane for part in sorted(below, key=lambda part: part[0].begin) for lane in part)]


def _longest(node: Node) -> set[str]:
    """For each stage the run below with the most steps in it; of equals, the first."""
    found: set[str] = set()
    for number in range(1, len(node.steps) + 1):
        steps = {each.run_id: each.critical_steps(number) for each in node.below}
        if any(steps.values()):
            found.add(max(steps, key=steps.__getitem__))
    return found


def _lane(node: Node, past: Sequence[Entry], depth: int, *, is_critical: bool) -> Lane:
    begin, end = (past[0].at, past[-1].at) if past else (0.0, 0.0)
    names = {entry.place: entry.fields["tool"] for entry in past if entry.type == "tool_started"}
    spans: list[Span] = []
    for entry in past:
        if entry.type == "reply_finished":
            spans.append(Span("model", entry.at - entry.fields["seconds"], entry.at))
        elif entry.type == "tool_finished":
            what = str(names.get(entry.place, ""))
            kind: Kind = "others" if what in DIRECTING else "tool"
            spans.append(Span(kind, entry.at - entry.fields["seconds"], entry.at, what))
    begin = min([begin, *(span.begin for span in spans)])
    name = node.name or "orchestrator"
    return Lane(
        *(node.run_id, name, node.state, depth, begin, end, spans, len(node.steps), is_critical)
    )


def _without_idle(lanes: Sequence[Lane]) -> tuple[list[Lane], list[float]]:
    """The same from 0, without the times in which there was nothing; and where these were."""
    busy = sorted((span.begin, span.end) for lane in lanes for span in lane.spans)
    start = min((lane.begin for lane in lanes), default=0.0)
    worked, reached = 0.0, start
    for begin, end in busy:
        worked += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    most, reached, gaps = max(IDLE_SECONDS, worked / 10), start, list[tuple[float, float]]()
    for begin, end in busy:
        if begin - reached > most:
            gaps.append((reached + most, begin))
        reached = max(reached, end)

    def moved(time: float) -> float:
        return time - start - sum(max(0.0, min(time, end) - begin) for begin, end in gaps)

    told = [
        replace(
            lane,
            begin=moved(lane.begin),
            end=moved(lane.end),
            spans=[replace(s, begin=moved(s.begin), end=moved(s.end)) for s in lane.spans],
        )
        for lane in lanes
    ]
    return told, [moved(begin) for begin, _ in gaps]
