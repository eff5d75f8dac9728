"""What a swarm took: critical steps as they are published, and what stands beside them.

    CriticalSteps = sum over stages t of ( S_main(t) + max over subagents i of S_sub,i(t) )

(Kimi K2.5's technical report, section 3). A stage is a step of the orchestrator and the subagents
that it set to work; S_main is 1, and a subagent's steps in a stage are those of the leg that the
stage began. A subagent that is itself an orchestrator counts with its own critical steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from chogori.chat import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one task that was assigned."""

    run_id: str
    name: str
    """Of the subagent."""
    stage: int
    ended: str
    """How: "answer", or why it is not the whole answer: budget, guard, deadline, failed."""
    why: str = ""
    steps: int = 0
    """In this stage."""
    critical: int = 0
    """The same, where those of its own subagents are counted side by side."""
    calls: int = 0
    usage: Usage = Usage()
    dollars: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds until it could begin."""

    def told(self) -> dict[str, Any]:
        """As a tool result carries it."""
        return asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Outcome:
        """What `told` made."""
        values: dict[str, Any] = {**told, "usage": Usage(**told["usage"])}
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run of a swarm took in all."""

    subagents: int
    """Tasks that were assigned."""
    unfinished: int
    """Those of them that did not come to their own end."""
    steps: int
    """Of the orchestrator and all subagents."""
    critical_steps: int
    calls: int
    tokens: int
    dollars: float
    seconds: float
    serial_seconds: float
    """What the same would have taken one after another, waiting for a turn left out."""

    @property
    def speed_up(self) -> float:
        """Serial steps over critical steps."""
        return self.steps / self.critical_steps if self.critical_steps else 1.0

    @property
    def wall_speed_up(self) -> float:
        """Serial seconds over the seconds that passed."""
        return self.serial_seconds / self.seconds if self.seconds else 1.0

    def told(self) -> dict[str, float]:
        """As `Answer.report` carries it."""
        return {
            **asdict(self),
            "speed_up": round(self.speed_up, 3),
            "wall_speed_up": round(self.wall_speed_up, 3),
        }


@dataclass(slots=True)
class Tally:
    """Counts while a swarm runs."""

    stages: int = 0
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict[int, list[Outcome]])
    spans: dict[int, float] = field(default_factory=dict[int, float])
    """Seconds for which the orchestrator waited for the subagents of a stage."""

    def add(self, outcome: Outcome, seconds: float) -> None:
        """A task came to its end, so many seconds after it was assigned."""
        self.outcomes.setdefault(outcome.stage, []).append(outcome)
        self.spans[outcome.stage] = max(self.spans.get(outcome.stage, 0.0), seconds)

    @property
    def all(self) -> list[Outcome]:
        """Every outcome."""
        return [outcome for stage in self.outcomes.values() for outcome in stage]

    @property
    def critical_steps(self) -> int:
        """As published."""
        return critical_steps(
            self.stages, {t: [it.critical for it in all] for t, all in self.outcomes.items()}
        )

    def report(self, *, usage: Usage, calls: int, dollars: float, seconds: float) -> Report:
        """With what the orchestrator used up itself, and how long it took."""
        every = self.all
        worked = sum(it.seconds for it in every)
        tokens = [it.usage for it in every] + [usage]
        return Report(
            subagents=len({it.run_id for it in every}),
            unfinished=sum(it.ended != "answer" for it in every),
            steps=self.stages + sum(it.steps for it in every),
            critical_steps=self.critical_steps,
            calls=calls + sum(it.calls for it in every),
            tokens=sum(it.prompt + it.completion for it in tokens),
            dollars=round(dollars + sum(it.dollars for it in every), 6),
            seconds=round(seconds, 3),
            serial_seconds=round(max(0.0, seconds - sum(self.spans.values())) + worked, 3),
        )


def critical_steps(stages: int, subagents: Mapping[int, Iterable[int]]) -> int:
    """`stages` of the orchestrator, and the steps of each subagent by stage."""
    return stages + sum(max(steps, default=0) for steps in subagents.values())
