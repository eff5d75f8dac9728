"""One task that was assigned: what its subagent does, and what comes of it, however it ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from chogori.chat import Answer, Event, ReplyFinished, StepStarted, ToolFinished, ToolStarted
from chogori.swarm.ledger import Lease
from chogori.swarm.roles import Role
from chogori.swarm.steps import Outcome, Tally

FOUND_CHARS = 4_000
"""So much of what an unfinished subagent had found is told."""
RESULTS = 4
INCOMPLETE = "[incomplete]"
"""What the message of a subagent begins with that did not come to its own end."""


@dataclass(slots=True)
class Progress:
    """What is known of one run of a task; told of all its events, those of its past too."""

    lease: Lease
    stage: int
    steps: int = 0
    """In the stage."""
    text: str = ""
    """What the subagent said last."""
    results: deque[ToolFinished] = field(default_factory=lambda: deque(maxlen=RESULTS))
    has_acted: bool = False
    """Whether it has begun anything that is not the same if it is done twice."""
    tally: Tally | None = None
    """Of its own subagents, where it has some."""
    heard: float = field(default_factory=time.monotonic)
    """When something last happened."""
    longest: float = 0.0
    """Seconds that passed between two events, at most."""

    def note(self, event: Event) -> None:
        """Something happened."""
        self.lease.note(event)
        now = time.monotonic()
        self.longest, self.heard = max(self.longest, now - self.heard), now
        match event:
            case StepStarted(stage=self.stage):
                self.steps += 1
            case ReplyFinished():
                self.text = event.message.text.strip() or self.text
            case ToolStarted():
                self.has_acted |= event.effect != "pure"
            case ToolFinished():
                if not event.failed:
                    self.results.append(event)
            case _:
                pass

    def again(self) -> None:
        """The run is driven again, and its past is told again."""
        self.lease.again()
        self.steps, self.tally = 0, None

    @property
    def found(self) -> str:
        """What it had found, for when it says no more."""
        results = [f"{it.call.name}: {it.output.strip()}" for it in self.results]
        each = FOUND_CHARS // max(1, len(results) + bool(self.text))
        told = [*([self.text] if self.text else []), *results]
        return "\n\n".join(_cut(text, each) for text in told)


@dataclass(slots=True)
class Task:
    """See the module's docstring."""

    run_id: str
    role: Role
    prompt: str
    stage: int
    weight: float = 0.0
    may_exist: bool = False
    """Whether its run may have begun before."""
    message: str | None = None
    """What to say to a run that has landed, so that it goes on."""
    waited: float = 0.0
    """Seconds for its turn."""

    def answered(
        self, progress: Progress, answer: Answer, also: Sequence[Progress] = ()
    ) -> tuple[Outcome, str]:
        """It came to an answer of some kind; `also` worked on it besides."""
        outcome = self._outcome(progress, answer.stopped_by, answer.missing, also)
        if answer.stopped_by == "answer":
            return outcome, answer.text
        why = f"{INCOMPLETE} It had to stop ({answer.missing})."
        return outcome, f"{why} Its message:\n{answer.text}" if answer.text else why

    def failed(self, progress: Progress, ended: str, why: str) -> tuple[Outcome, str]:
        """It came to no answer; what it had found is told all the same."""
        found = progress.found
        told = f"What it had found by then:\n{found}" if found else "It had found nothing yet."
        return self._outcome(progress, ended, why), f"{INCOMPLETE} {why}. {told}"

    def _outcome(
        self, progress: Progress, ended: str, why: str, also: Sequence[Progress] = ()
    ) -> Outcome:
        spent = progress.lease.since_credit()
        for other in also:
            spent |= {name: spent[name] + more for name, more in other.lease.since_credit().items()}
        below = progress.tally.all if progress.tally else []
        for each in below:
            spent["calls"] += each.calls
            spent["usage"] += each.usage
            spent["dollars"] += each.dollars
        critical = progress.tally.critical_steps - progress.tally.stages if progress.tally else 0
        return Outcome(
            run_id=self.run_id,
            name=self.role.name,
            stage=self.stage,
            ended=ended,
            why=why,
            steps=progress.steps + sum(each.steps for each in below),
            critical=progress.steps + critical,
            waited=round(self.waited, 3),
            **spent,
        )


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
