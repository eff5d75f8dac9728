"""Models that loop are stopped within fifteen calls, with a report; others are left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from agent_harness import calling, story

from chogori.agent import Agent
from chogori.chat import (
    Answer,
    Conversation,
    Landing,
    Message,
    Reminded,
    ScriptedModel,
    ToolFinished,
    tool,
)

MOST_CALLS = 15
CIRCLES = "Hmm, wait. Perhaps I should read it once more, to be sure of it. " * 60
PONDERED = "I have seen a page. It does not say what I look for, so I turn to the next page. " * 4


@tool(effect="pure")
async def read_page(page: int) -> str:
    """Read a page of the book."""
    return f"Page {page % 3}: nothing of interest." if page < 1_000 else f"Page {page}."


@tool(effect="pure")
async def search(words: str) -> str:
    """Search the book."""
    return "nothing found"


def is_landing(conversation: Conversation) -> bool:
    return "The budget has ended" in conversation[-1].text


def made(conversation: Conversation) -> int:
    """The calls so far."""
    return sum(message.role == "tool" for message in conversation)


def read(page: int, conversation: Conversation, reasoning: str | None = None) -> Message:
    return calling(
        ("read_page", f'{{"page": {page}}}'), first=len(conversation), reasoning=reasoning
    )


def the_same(conversation: Conversation) -> Message:
    """Calls the same, and hears no reminder."""
    return read(1, conversation)


def two_in_turn(conversation: Conversation) -> Message:
    return read(made(conversation) % 2, conversation)


def two_in_turn_written_anew(conversation: Conversation) -> Message:
    """The same two, their JSON written otherwise each time."""
    number = made(conversation)
    arguments = f'{{"page":{" " * (number % 5)}{number % 2}}}'
    return calling(("read_page", arguments), first=len(conversation))


def batches(conversation: Conversation) -> Message:
    """Three calls a step, always these."""
    calls = [("read_page", f'{{"page": {page}}}') for page in range(3)]
    return calling(*calls, first=len(conversation))


def circling(conversation: Conversation) -> Message:
    """Reasons in circles, and reads a page that is new each time."""
    return read(1_000 + made(conversation), conversation, reasoning=CIRCLES)


def pondering(conversation: Conversation) -> Message:
    """Thinks the same long thought, calls something else each time, and finds nothing."""
    words = f'{{"words": "word {made(conversation)}"}}'
    return calling(("search", words), first=len(conversation), reasoning=PONDERED)


def failing(conversation: Conversation) -> Message:
    """Gets the arguments wrong, in another way each time."""
    return calling(("read_page", f'{{"side": {made(conversation)}}}'), first=len(conversation))


def forgetful(conversation: Conversation) -> Message:
    """Loops, and goes on looping when it is asked to land."""
    return read(1, conversation, reasoning="I should read page 1.")


LOOPS: list[Callable[[Conversation], Message]] = [
    the_same,
    two_in_turn,
    two_in_turn_written_anew,
    batches,
    circling,
    pondering,
    failing,
]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
async def test_a_model_that_loops_is_stopped_with_a_report(
    loop: Callable[[Conversation], Message],
) -> None:
    def speak(conversation: Conversation) -> Message | str:
        return "I found nothing." if is_landing(conversation) else loop(conversation)

    events = await story(Agent(ScriptedModel(speak), [read_page, search]).stream("Find it."))
    assert sum(isinstance(event, ToolFinished) for event in events) <= MOST_CALLS
    assert sum(isinstance(event, Landing) for event in events) == 1
    assert any(isinstance(event, Reminded) for event in events)
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert answer.stopped_by == "guard"
    assert answer.missing, "it says why it is not the whole answer"
    assert answer.text == "I found nothing."


async def test_a_model_that_will_not_land_is_stopped_all_the_same() -> None:
    events = await story(Agent(ScriptedModel(forgetful), [read_page]).stream("Find it."))
    assert sum(isinstance(event, ToolFinished) for event in events) <= MOST_CALLS
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert (answer.stopped_by, bool(answer.missing)) == ("guard", True)
    assert "Page 1" in answer.text, "the last that it saw stands for an answer"


@pytest.mark.parametrize("reasoning", [None, "Next page.", PONDERED])
async def test_three_hundred_distinct_calls_are_never_disturbed(reasoning: str | None) -> None:
    def speak(conversation: Conversation) -> Message | str:
        number = made(conversation)
        if number == 299:
            return "It ends with page 1298."
        return read(1_000 + number, conversation, reasoning=reasoning)

    events = await story(Agent(ScriptedModel(speak), [read_page]).stream("How does it end?"))
    assert not any(isinstance(event, Reminded | Landing) for event in events)
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert (answer.stopped_by, answer.steps) == ("answer", 300)


async def test_a_model_that_polls_is_never_disturbed() -> None:
    looks = iter(range(1_000))

    @tool(effect="pure")
    async def status() -> str:
        """How far the job is."""
        return f"{next(looks)} of 200 done"

    def speak(conversation: Conversation) -> Message | str:
        if "200 of 200" in conversation[-1].text:
            return "All 200 are done."
        return calling(("status", "{}"), first=len(conversation), reasoning="Not yet.")

    events = await story(Agent(ScriptedModel(speak), [status]).stream("Wait until it is done."))
    assert not any(isinstance(event, Reminded | Landing) for event in events)
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert (answer.text, answer.stopped_by) == ("All 200 are done.", "answer")
