"""Checking by agreement: an answer counts when an independent solution comes to the same value.

The agent answers; then the task is solved again from the start, in another way, and what that
program prints is compared with the answer. Where the two differ a third solution breaks the tie.
Small models write programs that run and are wrong, but seldom wrong in the same way twice; where
they are, the value is mostly hollow (0, nothing found), so a hollow value bears nothing out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

from chogori.agent.agent import Agent
from chogori.agent.budget import Budget
from chogori.agent.claims import claims_of
from chogori.agent.run import Begin, Run, Start
from chogori.agent.verbs import Verbs
from chogori.chat import (
    Answer,
    AttemptFinished,
    AttemptStarted,
    Claim,
    Event,
    ReplyFinished,
    RunStarted,
    TextPart,
    ToolFinished,
    Usage,
    Waiting,
)
from chogori.store import Store

HINTS = (
    "Write one complete program in plain Python, without pandas or sympy, that prints the value.",
    "Solve it with the library: pandas for tables, sympy for numbers, datetime for dates.",
)
ATTEMPT = Budget(steps=4)
VALUE_CHARS = 120
"""A longer line is no value that could stand for an answer."""
_HOLLOW = frozenset({"", "0", "nan", "none", "null", "[]", "{}", "()", "set()", "not found"})


@dataclass(frozen=True, slots=True)
class Agreement(Verbs):
    """An agent whose answers are borne out by a second solution, or by the majority of three."""

    agent: Agent
    hints: Sequence[str] = HINTS
    """How to go about each further solution; as many as there may be."""

    @property
    def kept_in(self) -> Store | None:
        return self.agent.kept_in

    def describe(self) -> dict[str, Any]:
        return {**self.agent.describe(), "agreement": list(self.hints)}

    async def drive(self, start: Start, run: Run, branch: str = "") -> AsyncIterator[Event]:
        """What follows an earlier turn is not solved again: it would have to be solved without
        that turn."""
        first = _Solution(run.branch(branch).clock)
        async with aclosing(_events(self.agent.drive(start, run, branch))) as events:
            async for event in events:
                first.see(event)
                if not (isinstance(start, Begin) and isinstance(event, Answer)):
                    yield event
        if first.answer is None or not isinstance(start, Begin):
            return
        if first.answer.stopped_by != "answer" or not first.can_be_checked:
            yield first.answer
            return
        async with aclosing(self._check(first, start, run)) as events:
            async for event in events:
                yield event

    async def _check(self, first: _Solution, start: Begin, run: Run) -> AsyncGenerator[Event]:
        found = [first]
        for number, hint in enumerate(self.hints, 2):
            left = self._left(found, run)
            budget, _ = left.lease(ATTEMPT)
            if left.ended:
                break
            yield AttemptStarted(number, hint, budget.left)
            again = _Solution(first.clock)
            asked = Begin((*start.task, TextPart(f"\n\n{hint}")))
            agent = replace(self.agent, budget=budget)
            async with aclosing(_attempt(agent, asked, run, str(number), again, found)) as events:
                async for event in events:
                    yield event
            agreed = next((solution for solution in found if again.bears_out(solution)), None)
            found.append(again)
            yield AttemptFinished(number, again.value, agreed is not None)
            if agreed is not None:
                yield _settle(agreed, found)
                return
        yield _settle(None, found)

    def _left(self, found: Sequence[_Solution], run: Run) -> Budget:
        """What the solutions so far have left of the agent's budget."""
        seconds = found[0].clock() - found[0].started
        steps = sum(solution.steps for solution in found)
        return run.limits(self.agent.budget).spend(steps=steps, usage=_used(found), seconds=seconds)


async def _attempt(
    agent: Agent, start: Begin, run: Run, name: str, again: _Solution, found: Sequence[_Solution]
) -> AsyncGenerator[Event]:
    """One more solution, left as soon as it has printed what a former one came to."""
    async with aclosing(_events(agent.drive(start, run, name))) as events:
        async for event in events:
            again.see(event)
            if not isinstance(event, Answer | RunStarted | Waiting):
                yield event
            if isinstance(event, ToolFinished) and any(map(again.bears_out, found)):
                return


def _events(told: AsyncIterator[Event]) -> AsyncGenerator[Event]:
    return cast(AsyncGenerator[Event], told)


class _Solution:
    """What one solution came to: its answer, and the last thing a tool brought before it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.answer: Answer | None = None
        self.value = ""
        """The last line that a program printed, or "" where it is too long to be a value."""
        self.calls = self.successes = 0
        self.usage = Usage()
        self.steps = 0
        self.clock = clock
        self.started = clock()

    def see(self, event: Event) -> None:
        if isinstance(event, ToolFinished):
            self.calls += 1
        if isinstance(event, ToolFinished) and not event.failed:
            self.successes += 1
            lines = event.output.strip().splitlines()
            self.value = lines[-1].strip() if lines and len(lines[-1]) <= VALUE_CHARS else ""
        elif isinstance(event, ReplyFinished):
            self.usage += event.usage
            self.steps += 1
        elif isinstance(event, Answer):
            self.answer = event

    @property
    def can_be_checked(self) -> bool:
        """Whether it came to a value, or tried and came to none."""
        return bool(self.value) or bool(self.calls and not self.successes)

    @property
    def is_hollow(self) -> bool:
        """Whether it found nothing."""
        return _key(self.value) in _HOLLOW

    @property
    def text(self) -> str:
        """What it answered, if it came to that."""
        return self.answer.text if self.answer else ""

    def bears_out(self, other: _Solution) -> bool:
        """Whether both come to the same: equal values, or the value within the other's answer."""
        if self.is_hollow or other.is_hollow:
            return False
        mine, theirs = _key(self.value), _key(other.value)
        return mine == theirs or _states(other.text, mine) or _states(self.text, theirs)


def _settle(agreed: _Solution | None, found: Sequence[_Solution]) -> Answer:
    """The answer that another solution bears out; else the first that found anything, marked
    where others found something else."""
    solid = [solution for solution in found if not solution.is_hollow]
    chosen = agreed or (solid[0] if solid else found[0])
    answer = chosen.answer or found[0].answer
    assert answer is not None, "the first solution has answered"
    if chosen.value and not _states(answer.text, _key(chosen.value)):
        answer = replace(answer, text=chosen.value)
    claims = answer.claims
    if agreed is None and len(solid) > 1:
        others = ", ".join(solution.value for solution in solid if solution is not chosen)
        claims += (Claim(f"independent solutions came to: {others}", "contradicted"),)
    return replace(
        answer,
        run_id=found[0].answer.run_id if found[0].answer else answer.run_id,
        claims=claims,
        usage=_used(found),
        seconds=found[0].clock() - found[0].started,
    )


def _used(found: Sequence[_Solution]) -> Usage:
    return sum((solution.usage for solution in found), Usage())


def _key(value: str) -> str:
    """What two values are compared by: the label before it, case and spelling left out."""
    said = re.split(r"[:=]\s+", value)[-1].strip(" .'\"`*\t")
    numbers = [claim for claim in claims_of(said) if claim[-1].isdigit()]
    if len(numbers) == 1 and "-" not in numbers[0][1:]:
        number = re.sub(r"[,_\u00a0\u202f' ]", "", numbers[0])
        return number.rstrip("0").rstrip(".") if "." in number else number
    return " ".join(said.lower().split())


def _states(text: str, key: str) -> bool:
    flat = re.sub(r"(?<=\d)[,\u00a0\u202f'_](?=\d{3})", "", " ".join(text.lower().split()))
    return bool(key) and bool(re.search(rf"(?<![\w.]){re.escape(key)}(?!\w|\.\d)", flat))
