"""Checking by agreement: a second solution, and a third to break the tie."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from agent_harness import answered, bare, calling, kinds, pay, story, waiting

from chogori.agent import Agreement, Budget
from chogori.chat import (
    Answer,
    AttemptFinished,
    AttemptStarted,
    Conversation,
    Event,
    Message,
    ReplyFinished,
    RunStarted,
    ScriptedModel,
    StepStarted,
    TextPart,
    Usage,
    tool,
)

HINTS = ("Go the second way.", "Go the third way.")
TASK = "How many are there of the 100?"


@tool(effect="pure")
async def show(value: str) -> str:
    """Print the value."""
    return value


def solving(*values: str) -> ScriptedModel:
    """A model that prints these values, one each way, and then tells it."""

    def speak(conversation: Conversation) -> Message | str:
        asked = conversation[0].text
        way = next((n for n, hint in enumerate(HINTS, 1) if hint in asked), 0)
        if len(conversation) == 1:
            return calling(("show", f'{{"value": "{values[way]}"}}'), reasoning=f"way {way + 1}")
        return f"Way {way + 1} says {values[way]}."

    return ScriptedModel(speak)


def agreement(model: ScriptedModel, *, budget: Budget = Budget()) -> Agreement:
    return Agreement(bare(model, [show, pay], budget=budget), HINTS)


def attempts(events: Sequence[Event]) -> list[tuple[int, str, bool]]:
    return [(e.number, e.value, e.agrees) for e in events if isinstance(e, AttemptFinished)]


@pytest.mark.parametrize(
    ("values", "said", "text", "doubted"),
    [
        (("7", "7", "9"), [(2, "7", True)], "Way 1 says 7.", False),
        (("7", "8", "7"), [(2, "8", False), (3, "7", True)], "Way 1 says 7.", False),
        (("7", "8", "8"), [(2, "8", False), (3, "8", True)], "Way 2 says 8.", False),
        (("7", "8", "9"), [(2, "8", False), (3, "9", False)], "Way 1 says 7.", True),
    ],
    ids=["agrees at once", "third bears out the first", "third the second", "none agree"],
)
async def test_the_answer_is_that_of_the_most_solutions(
    values: Sequence[str], said: list[tuple[int, str, bool]], text: str, doubted: bool
) -> None:
    events = await story(agreement(solving(*values)).stream(TASK, run_id="run-1"))
    assert attempts(events) == said
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert (answer.text, answer.run_id, answer.stopped_by) == (text, "run-1", "answer")
    assert ("contradicted" in {claim.status for claim in answer.claims}) == doubted


async def test_what_the_attempts_used_is_added() -> None:
    events = await story(agreement(solving("7", "8", "9")).stream(TASK))
    answer = events[-1]
    assert isinstance(answer, Answer)
    used = [event.usage for event in events if isinstance(event, ReplyFinished)]
    assert answer.usage == sum(used, Usage())
    assert answer.seconds >= 0


async def test_the_story_of_each_attempt_stands_between_its_marks() -> None:
    events = await story(agreement(solving("7", "8", "9")).stream(TASK, run_id="run-1"))
    told = [k for k in kinds(events) if k in ("RunStarted", "AttemptStarted", "AttemptFinished")]
    assert told == ["RunStarted", *["AttemptStarted", "AttemptFinished"] * 2]
    inside, steps = 0, list[tuple[int, int]]()
    for event in events:
        if isinstance(event, AttemptStarted):
            inside = event.number
        elif isinstance(event, AttemptFinished):
            assert event.number == inside
            inside = 0
        elif isinstance(event, StepStarted):
            steps.append((inside, event.number))
    assert steps == [(0, 1), (0, 2), (2, 1), (2, 2), (3, 1), (3, 2)]


async def test_the_run_is_told_with_the_task_as_it_was_asked() -> None:
    events = await story(agreement(solving("7", "7", "7")).stream(TASK))
    assert isinstance(events[0], RunStarted)
    assert events[0].task == (TextPart(TASK),)


async def test_a_solution_that_agrees_is_left_before_it_answers() -> None:
    model = solving("7", "7", "7")
    await agreement(model).run(TASK)
    assert len(model.asked) == 3, "two replies of the first, one of the second"


async def test_an_answer_that_needed_no_tool_is_not_solved_again() -> None:
    model = ScriptedModel(["Hello!"])
    events = await story(agreement(model).stream("Say hello."))
    assert attempts(events) == []
    assert len(model.asked) == 1
    assert model.asked[0].conversation[0].text == "Say hello.", "small talk needs no way"


async def test_a_run_that_landed_is_not_solved_again() -> None:
    model = solving("7", "7", "7")
    events = await story(agreement(model, budget=Budget(steps=1)).stream(TASK))
    assert attempts(events) == []
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert answer.stopped_by == "budget"


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("5", "5.0", True),
        ("12480", "12,480", True),
        ("0.50", "0.5", True),
        ("Monday", "monday", True),
        ("the total: 7", "7", True),
        ("5", "50", False),
        ("5", "15", False),
        ("5", "5.5", False),
        ("2,000", "2", False),
        ("Monday", "Tuesday", False),
    ],
)
async def test_values_agree_however_they_are_written(one: str, other: str, agree: bool) -> None:
    events = await story(agreement(solving(one, other, "nothing of it")).stream(TASK))
    assert attempts(events)[0] == (2, other, agree)


@pytest.mark.parametrize("nothing", ["0", "None", "[]", "nan", "not found"])
async def test_what_found_nothing_bears_nothing_out(nothing: str) -> None:
    events = await story(agreement(solving(nothing, nothing, "7")).stream(TASK))
    assert not any(agrees for _, _, agrees in attempts(events))
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert "7" in answer.text


async def test_waiting_and_going_on_are_those_of_the_agent() -> None:
    model = ScriptedModel([calling(("pay", '{"amount": 5}')), "Paid.", "You are welcome."])
    both = agreement(model)
    leg = await waiting(both.stream("Pay 5."))
    answer = await answered(both.continue_(leg, approve={"call-0": True}))
    assert answer.text == "Paid."
    thanked = await answered(both.continue_(answer, "Thanks for the 5."))
    assert thanked.text == "You are welcome."


def test_it_can_be_asked_like_an_agent() -> None:
    assert agreement(solving("7", "7", "7")).ask(TASK).text == "Way 1 says 7."
