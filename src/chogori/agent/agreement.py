"""Checking by agreement: an answer counts when an independent solution comes to the same value.

The agent answers; then the task is solved again from the start, in another way, and what that
program prints is compared with the answer. Where the two differ a third solution breaks the tie.
Small models write programs that run and are wrong, but seldom wrong in the same way twice.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from chogori.agent.agent import Agent, Task, Verbs, new_run_id
from chogori.agent.budget import Budget
from chogori.agent.claims import claims_of
from chogori.chat import (
    Answer,
    AttemptFinished,
    AttemptStarted,
    Claim,
    Event,
    RunStarted,
    TextPart,
    ToolFinished,
    Waiting,
    content_of,
)

HINTS = (
    "Where it takes a program: plain Python with loops and dictionaries, without pandas or sympy.",
    "Solve it with the library: pandas for tables, sympy for numbers, datetime for dates.",
    "Where it takes a program: plain Python, one careful step at a time, without pandas or sympy.",
)
ATTEMPT = Budget(steps=4)


@dataclass(frozen=True, slots=True)
class Agreement(Verbs):
    """An agent whose answers are borne out by a second solution, or by the majority of three."""

    agent: Agent
    hints: Sequence[str] = HINTS
    """How to go about the first solution and each further one; as many as there may be."""

    async def stream(self, task: Task, *, run_id: str | None = None) -> AsyncIterator[Event]:
        run = run_id or new_run_id()
        found: list[_Solution] = [_Solution()]
        async for event in self.agent.stream(_hinted(task, self.hints[0]), run_id=run):
            found[0].see(event)
            if isinstance(event, RunStarted):
                yield replace(event, task=content_of(task))
            elif not isinstance(event, Answer):
                yield event
        async for event in self._checked(task, run, found):
            yield event

    async def continue_(
        self,
        leg: Answer | Waiting,
        message: Task | None = None,
        *,
        approve: Mapping[str, bool] | None = None,
        results: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Event]:
        """As `Agent.continue_`. What follows an earlier turn is not solved again: it would have
        to be solved without that turn."""
        async for event in self.agent.continue_(leg, message, approve=approve, results=results):
            yield event

    async def _checked(self, task: Task, run: str, found: list[_Solution]) -> AsyncIterator[Event]:
        first = found[0].answer
        if first is None:
            return
        if first.stopped_by != "answer" or not found[0].value:
            yield first
            return
        for number, hint in enumerate(self.hints[1:], 2):
            yield AttemptStarted(number, hint)
            found.append(_Solution())
            async for event in self._attempt(task, hint, f"{run}.{number}", found):
                yield event
            agreed = next((s for s in found[:-1] if found[-1].agrees_with(s)), None)
            yield AttemptFinished(number, found[-1].value, agreed is not None)
            if agreed is not None:
                yield _settle(first, agreed, found)
                return
        yield _settle(first, None, found)

    async def _attempt(
        self, task: Task, hint: str, run: str, found: list[_Solution]
    ) -> AsyncIterator[Event]:
        """One more solution, left as soon as it has printed what a former one came to."""
        budget, _ = self.agent.budget.lease(ATTEMPT)
        options = replace(self.agent.options, seed=len(found))
        if len(found) > 2:
            options = replace(options, temperature=0.6)
        again = replace(self.agent, budget=budget, options=options)
        parts = (*content_of(task), TextPart(f"\n\n{hint}"))
        async with aclosing(
            cast("AsyncGenerator[Event]", again.stream(parts, run_id=run))
        ) as events:
            async for event in events:
                found[-1].see(event)
                if not isinstance(event, Answer | RunStarted | Waiting):
                    yield event
                if isinstance(event, ToolFinished) and any(
                    found[-1].agrees_with(other) for other in found[:-1]
                ):
                    return


def _hinted(task: Task, hint: str) -> Task:
    return (*content_of(task), TextPart(f"\n\n{hint}"))


class _Solution:
    """What one solution came to: its answer, and the last thing a tool brought before it."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.output = ""

    def see(self, event: Event) -> None:
        if isinstance(event, ToolFinished) and not event.failed:
            self.output = event.output.strip()
        elif isinstance(event, Answer):
            self.answer = event

    @property
    def value(self) -> str:
        """The last line that a program printed."""
        return self.output.splitlines()[-1].strip() if self.output else ""

    def agrees_with(self, other: _Solution) -> bool:
        """Whether both come to the same: equal values, or the value within the other's answer."""
        if not self.value or not other.value:
            return False
        if _plain(self.value) == _plain(other.value):
            return True
        text = other.answer.text if other.answer else ""
        return _stated(self.value, text) or bool(
            self.answer and _stated(other.value, self.answer.text)
        )


def _settle(first: Answer, agreed: _Solution | None, found: Sequence[_Solution]) -> Answer:
    """The answer that most solutions bear out; the first one, marked, where none agree."""
    total = first.usage
    for solution in found[1:]:
        total += solution.answer.usage if solution.answer else type(total)()
    if agreed is None:
        others = ", ".join(solution.value or "nothing" for solution in found[1:])
        doubt = Claim(f"independent solutions came to: {others}", "contradicted")
        return replace(first, claims=(*first.claims, doubt), usage=total)
    chosen = agreed.answer or (found[-1].answer if found[-1].answer else None)
    if chosen is None or chosen is first:
        return replace(first, usage=total)
    return replace(chosen, run_id=first.run_id, usage=total, seconds=first.seconds)


def _plain(value: str) -> str:
    numbers = claims_of(value)
    if len(numbers) == 1 and re.fullmatch(r"[\W\d.,eE+-]+", value):
        number = numbers[0].replace(",", "")
        return number.rstrip("0").rstrip(".") if "." in number else number
    return " ".join(value.lower().split()).strip(" .'\"")


def _stated(value: str, text: str) -> bool:
    plain = _plain(value)
    if not plain or len(plain) > 200:
        return False
    flat = re.sub(r"(?<=\d),(?=\d{3})", "", " ".join(text.lower().split()))
    return bool(re.search(rf"(?<![\w.]){re.escape(plain)}(?!\w|\.\d)", flat))
