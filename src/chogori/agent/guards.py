"""Guards listen to a run and speak up: they remind the model, or stop a run that goes nowhere.

A guard is made anew for every turn of a run and sees each step once it is over. What it has counted
is never reset by its own reminders. A step that answers is sent back when a guard reminds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import orjson

from chogori.agent.claims import Evidence, unsupported
from chogori.chat import Message, Options, Profile, ToolCall, ToolFinished


@dataclass(frozen=True, slots=True)
class Step:
    """One reply and what its tools brought."""

    task: str
    message: Message
    results: tuple[ToolFinished, ...]
    evidence: Evidence
    has_tools: bool

    @property
    def answers(self) -> bool:
        """Whether the model means to be done."""
        return not self.message.tool_calls


@dataclass(frozen=True, slots=True)
class Remind:
    """Say this to the model and go on."""

    text: str
    call: bool = False
    """Whether the next reply should be a call."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Land: the run goes nowhere."""

    reason: str


_WORD = re.compile(r"\w+")
_RUN = 4
"""So many words in a row are no coincidence."""
_LONG_THOUGHT = 240
"""Characters. Shorter ones ("Next file.") may well come again."""
_STRETCH = 32
_ROUNDS_MIN = 1_000
"""Characters: shorter reasoning is not looked into."""
Verdict = Remind | Stop | None


class Guard(Protocol):
    """Judges each step of one run."""

    @property
    def name(self) -> str:
        """What events call it."""
        ...

    def judge(self, step: Step) -> Verdict:
        """What to do about the step that has just ended."""
        ...


@runtime_checkable
class _Copied(Protocol):
    def copy(self) -> Guard: ...


def copied(guard: Guard) -> Guard:
    """Another that has seen the same: a leg may be given up, and the next one go on from where it
    began. A guard that has no `copy` is handed on as it is."""
    return guard.copy() if isinstance(guard, _Copied) else guard


class _Remembers:
    """What a guard remembers is its own."""

    def copy(self) -> Self:
        """Another that has seen the same."""
        return deepcopy(self)


class Repetition(_Remembers):
    """Calls that bring nothing new: the same call with the same result as once before.

    One call over and over and any cycle of calls are the same to it. A result that differs is
    news, so polling is left alone. Reminds at 3, 5 and 8 in a row, stops at 12.
    """

    name = "repetition"

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()
        self._in_a_row = 0

    def judge(self, step: Step) -> Verdict:
        before = self._in_a_row
        for result in step.results:
            key = (canonical(result.call), result.output)
            self._in_a_row = self._in_a_row + 1 if key in self._seen else 0
            self._seen.add(key)
        if self._in_a_row + 1 >= 12:
            return Stop("the same calls brought the same results twelve times")
        if any(before + 1 < mark <= self._in_a_row + 1 for mark in (3, 5, 8)):
            return Remind(
                f"The last {self._in_a_row + 1} calls brought nothing that you had not seen. "
                "Use what you have, try something different, or give your answer."
            )
        return None


class Failures(_Remembers):
    """Calls that fail one after another. Reminds at 4, stops at 12."""

    name = "failures"

    def __init__(self) -> None:
        self._in_a_row = 0

    def judge(self, step: Step) -> Verdict:
        before = self._in_a_row
        for result in step.results:
            self._in_a_row = self._in_a_row + 1 if result.failed else 0
        if self._in_a_row >= 12:
            return Stop("twelve calls in a row failed")
        if before < 4 <= self._in_a_row:
            return Remind("The last four calls failed. Read their errors and try another way.")
        return None


class RepeatedReasoning(_Remembers):
    """Thoughts that go round: reasoning that says the same over and over, whatever it calls; or
    the long thoughts of an earlier reply once more, where the step brings nothing new.

    Reminds at 2 and 4 in a row, stops at 6.
    """

    name = "repeated reasoning"

    def __init__(self) -> None:
        self._thoughts: set[str] = set()
        self._outputs: set[str] = set()
        self._in_a_row = 0

    def judge(self, step: Step) -> Verdict:
        thought, outputs = step.message.reasoning or "", {it.output for it in step.results}
        is_old = thought in self._thoughts and outputs <= self._outputs
        if len(thought) >= _LONG_THOUGHT:
            self._thoughts.add(thought)
        self._outputs |= outputs
        self._in_a_row = self._in_a_row + 1 if is_old or goes_round(thought) else 0
        if self._in_a_row >= 6:
            return Stop("the model's reasoning went round in circles six times")
        if self._in_a_row in (2, 4):
            return Remind(
                "Your last thoughts repeated themselves. Say in one sentence what you know and "
                "what is missing; then try something different, or give your answer."
            )
        return None


class EmptyTurns(_Remembers):
    """Replies that neither call nor say anything. Reminds twice, then stops."""

    name = "empty turn"

    def __init__(self) -> None:
        self._count = 0

    def judge(self, step: Step) -> Verdict:
        if not step.answers or step.message.text.strip():
            return None
        self._count += 1
        if self._count > 2:
            return Stop("the model said nothing three times")
        return Remind("Your reply was empty. Call a tool, or write your answer.")


class HastyAnswer(_Remembers):
    """An answer before any tool was called, where a tool could settle it. Reminds once."""

    name = "hasty answer"

    def __init__(self) -> None:
        self._spoken = False

    def judge(self, step: Step) -> Verdict:
        could_settle = step.has_tools and could_be_settled(f"{step.task} {step.message.text}")
        if self._spoken or not step.answers or step.evidence.calls or not could_settle:
            return None
        if _is_read_off(step.message.text, step.task):
            return None
        self._spoken = True
        return Remind(
            "You answered without using a tool. If one can settle it, use it now; "
            "otherwise give your answer again.",
            call=True,
        )


class UnsupportedClaims(_Remembers):
    """Numbers and quotes that neither the task nor a tool's result holds. Reminds once."""

    name = "unsupported claims"

    def __init__(self) -> None:
        self._spoken = False

    def judge(self, step: Step) -> Verdict:
        if self._spoken or not step.answers or not step.has_tools:
            return None
        missing = unsupported(step.evidence.check(step.message.text))
        if not missing:
            return None
        self._spoken = True
        return Remind(
            f"Nothing that you were shown holds: {', '.join(missing[:5])}. "
            "Check it with a tool, or answer only with what was shown."
        )


def held_to(verdict: Verdict, options: Options, profile: Profile) -> Options:
    """The options of the reply after `verdict`. A model that does not think cannot be argued into a
    call; it can be held to one."""
    held = isinstance(verdict, Remind) and verdict.call and profile.thinking == "off"
    return replace(options, tool_choice="required") if held else options


GuardFactory = Callable[[], Guard]
DEFAULT_GUARDS: tuple[GuardFactory, ...] = (
    Repetition,
    Failures,
    RepeatedReasoning,
    EmptyTurns,
    HastyAnswer,
    UnsupportedClaims,
)


def goes_round(thought: str) -> bool:
    """Whether long reasoning says everything four times over, in any language."""
    places = len(thought) - _STRETCH
    if places < _ROUNDS_MIN:
        return False
    return 4 * len({thought[at : at + _STRETCH] for at in range(places)}) <= places


def canonical(call: ToolCall) -> str:
    """A call as text that does not depend on how its JSON was written."""
    try:
        arguments = orjson.dumps(orjson.loads(call.arguments), option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # not JSON, or nested too deep
        arguments = call.arguments
    return f"{call.name} {arguments}"


def _is_read_off(answer: str, task: str) -> bool:
    """Whether the answer says in the same words what a line that came with the question says."""
    question, *shown = (" ".join(_WORD.findall(line.lower())) for line in task.splitlines() or [""])
    words = _WORD.findall(answer.lower())
    runs = {" ".join(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1)}
    return any(run in line for line in shown for run in runs if run not in question)


def could_be_settled(text: str) -> bool:
    """Whether tools have something to work on: `text` has figures or names a file."""
    if any(char.isdigit() for char in text):
        return True
    return any("." in word.strip(".,;:!?")[1:-1] for word in text.split())
