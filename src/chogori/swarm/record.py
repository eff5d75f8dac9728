"""A swarm as its journals tell it: who worked for whom, in which stage, for how many steps.

Every step is marked with its stage, so critical steps follow from the records alone, whether the
run has ended or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chogori.agent import kept
from chogori.agent.bodies import load
from chogori.agent.journal import SUBAGENT, not_found
from chogori.store import Log, Store, Transaction, blobs, logs


@dataclass(slots=True)
class Node:
    """One run of a swarm."""

    run_id: str
    name: str = ""
    """What its orchestrator calls it; "" for the orchestrator itself."""
    state: str = ""
    """As `kept.Kept` has it."""
    task: str = ""
    steps: list[int] = field(default_factory=list[int])
    """The stage of each step, in order."""
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    report: Mapping[str, float] = field(default_factory=dict[str, float])
    """What the whole took, as its answer says; empty where there is none."""
    forked_at: int | None = None
    """The step at which it took over from the run above it; its first steps are that one's."""
    below: list[Node] = field(default_factory=list["Node"])

    @property
    def all_steps(self) -> int:
        """Its own and those below it."""
        own = len(self.steps) - (self.forked_at or 0)
        return own + sum(node.all_steps for node in self.below)

    @property
    def all_below(self) -> list[Node]:
        """Every run below it."""
        return [each for node in self.below for each in (node, *node.all_below)]

    def critical_steps(self, stage: int | None = None) -> int:
        """Those of one stage of its orchestrator, or all: each step, and the longest chain of work
        that was done for it."""
        second = [node for node in self.below if node.forked_at is not None]
        total = 0
        for number, its_stage in enumerate(self.steps, 1):
            if stage is None or its_stage == stage:
                helped = (n.critical_steps(number) for n in self.below if n not in second)
                total += 1 + max(helped, default=0)
        return max([total, *(node.critical_steps(stage) for node in second)])


async def tree(store: Store, run_id: str) -> Node:
    """A run with all below it. Raises `RunNotFound`."""
    log = await store.read(lambda tx: logs.find(tx, run_id))
    if log is None:
        raise not_found(run_id)
    return await _node(store, log)


async def _node(store: Store, log: Log) -> Node:
    told = await kept.summary(store, log)
    node = Node(log.name, state=told.state, task=told.question, seconds=told.seconds)
    bodies, agent, children = await store.read(lambda tx: _read(tx, log.name))
    node.name = str(agent.get("subagent", {}).get("name", ""))
    kinds = Counter(body["type"] for body in bodies)
    node.calls = kinds["tool_started"]
    for body in bodies:
        if body["type"] == "step_started":
            node.steps.append(body.get("stage", 0))
        elif body["type"] == "reply_finished":
            node.tokens += body["usage"]["prompt"] + body["usage"]["completion"]
        elif body["type"] == "answer":
            node.report = body.get("report") or {}
        elif body["type"] == "forked":
            node.forked_at = body["step"]
    node.below = [await _node(store, child) for child in children]
    return node


def _read(
    tx: Transaction, run_id: str
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any], Sequence[Log]]:
    """The bodies of a run's records, its agent's description, and the runs below it."""
    found = logs.entries(tx, run_id)
    bodies, agent = [load(entry.body) for entry in found], dict[str, Any]()
    for entry, body in zip(found, bodies, strict=True):
        if body["type"] == "run_started":
            content = blobs.content_of(tx, run_id, entry.blobs[0]) if entry.blobs else None
            agent = load(content)["agent"] if content else agent
            break
    below = [log for log in logs.children(tx, run_id) if log.kind == SUBAGENT]
    return bodies, agent, below
