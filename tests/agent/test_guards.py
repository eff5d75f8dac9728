"""The guards, each alone and then within a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import aclosing

import pytest
from agent_harness import add, calling, kinds, pay, story, told_by_tools

from chogori.agent import DEFAULT_GUARDS, Agent, Evidence, Guard, Remind, Step, Stop
from chogori.agent.guards import (
    EmptyTurns,
    Failures,
    HastyAnswer,
    RepeatedReasoning,
    Repetition,
    UnsupportedClaims,
    canonical,
    goes_round,
)
from chogori.chat import (
    Answer,
    Conversation,
    Message,
    Reminded,
    ScriptedModel,
    ToolCall,
    ToolFinished,
    Waiting,
    assistant,
    content_of,
    tool,
)

Verdict = Remind | Stop | None


def step(
    *made: tuple[str, str],
    answer: str = "",
    task: str = "go",
    failed: bool = False,
    evidence: Evidence | None = None,
    has_tools: bool = True,
    reasoning: str | None = None,
) -> Step:
    """A step of these calls, each (arguments, output); without any, one that answers."""
    calls = [ToolCall(f"call-{n}", "look", arguments) for n, (arguments, _) in enumerate(made)]
    results = [
        ToolFinished(call, content_of(output), failed, 0.0, "pure")
        for call, (_, output) in zip(calls, made, strict=True)
    ]
    message = assistant(answer, reasoning=reasoning, calls=calls)
    return Step(task, message, tuple(results), evidence or Evidence(), has_tools)


def judged(guard: Guard, steps: Iterable[Step]) -> list[Verdict]:
    """What the guard says of each, up to a stop."""
    verdicts: list[Verdict] = []
    for one in steps:
        verdicts.append(guard.judge(one))
        if isinstance(verdicts[-1], Stop):
            break
    return verdicts


def spoken(verdicts: list[Verdict]) -> dict[int, type]:
    """At which step, counted from 1, what was said."""
    return {n: type(verdict) for n, verdict in enumerate(verdicts, 1) if verdict is not None}


# Repetition


def test_the_same_call_with_the_same_result_reminds_at_3_5_and_8_and_stops_at_12() -> None:
    verdicts = judged(Repetition(), [step(("{}", "same"))] * 20)
    assert spoken(verdicts) == {3: Remind, 5: Remind, 8: Remind, 12: Stop}


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_cycle_of_calls_is_stopped_within_fifteen(length: int) -> None:
    cycle = [step((f'{{"n": {n}}}', f"page {n}")) for n in range(length)]
    said = spoken(judged(Repetition(), cycle * 10))
    assert list(said.values()) == [Remind, Remind, Remind, Stop]
    assert max(said) <= 15


def test_how_the_json_is_written_does_not_make_a_call_new() -> None:
    written = ['{"a":1,"b":2}', '{"b": 2, "a": 1}', ' {"a" : 1, "b":2} ']
    verdicts = judged(Repetition(), [step((arguments, "same")) for arguments in written * 4])
    assert spoken(verdicts) == {3: Remind, 5: Remind, 8: Remind, 12: Stop}


def test_polling_that_brings_something_new_is_left_alone() -> None:
    assert not spoken(judged(Repetition(), [step(("{}", f"{n} %")) for n in range(300)]))


def test_three_hundred_different_calls_are_left_alone() -> None:
    steps = [step((f'{{"page": {n}}}', "nothing here")) for n in range(300)]
    assert not spoken(judged(Repetition(), steps))


def test_news_begins_the_count_anew() -> None:
    stale, news = [step(("{}", "same"))] * 2, [step(("{}", "news"))]
    steps = [*stale, *news, *stale[:1], step(("{}", "more news"))] * 1
    assert not spoken(judged(Repetition(), steps))


def test_a_batch_that_passes_a_mark_reminds_once() -> None:
    batch = step(*[("{}", "same")] * 6)
    assert spoken(judged(Repetition(), [batch])) == {1: Remind}
    assert spoken(judged(Repetition(), [batch] * 3)) == {1: Remind, 2: Stop}


@pytest.mark.parametrize("arguments", ["not json", "[" * 400 + "]" * 400, "\ud800", "", "1e999"])
def test_arguments_that_are_no_json_repeat_like_any_other(arguments: str) -> None:
    verdicts = judged(Repetition(), [step((arguments, "\ud800"))] * 3)
    assert spoken(verdicts) == {3: Remind}
    assert canonical(ToolCall("id", "look", arguments)).startswith("look ")


# Failures, empty turns


def test_calls_that_fail_in_a_row_remind_at_4_and_stop_at_12() -> None:
    steps = [step((f'{{"n": {n}}}', "no"), failed=True) for n in range(20)]
    assert spoken(judged(Failures(), steps)) == {4: Remind, 12: Stop}


def test_one_success_among_the_failures_begins_the_count_anew() -> None:
    steps = [*[step(("{}", "no"), failed=True)] * 3, step(("{}", "yes"))] * 10
    assert not spoken(judged(Failures(), steps))


def test_a_model_that_says_nothing_is_reminded_twice_and_then_stopped() -> None:
    verdicts = judged(EmptyTurns(), [step(answer=" \n")] * 5)
    assert spoken(verdicts) == {1: Remind, 2: Remind, 3: Stop}


def test_a_call_or_an_answer_is_no_empty_turn() -> None:
    assert not spoken(judged(EmptyTurns(), [step(("{}", "x")), step(answer="5")]))


# Repeated reasoning

LONG = "The file is not where I looked, so I have to look elsewhere, and there it may well be. " * 3
CIRCLES = "Wait, let me think about that once more. " * 40
VARIED = " ".join(f"Line {n} of {n * n} says {n**3}." for n in range(400))


@pytest.mark.parametrize(
    "stretch", ["Wait. ", "But no, 7 is prime. So 7. ", "\u7b49\u4e00\u4e0b", "\n"]
)
def test_reasoning_that_says_the_same_over_and_over_goes_round(stretch: str) -> None:
    assert goes_round(stretch * (4_000 // len(stretch)))
    assert goes_round(VARIED[:1_000] + stretch * (8_000 // len(stretch)))
    assert not goes_round(stretch * (900 // len(stretch))), "short reasoning may stammer"


@pytest.mark.parametrize("thought", ["", LONG, VARIED, VARIED[:3_000] * 2, VARIED * 3])
def test_reasoning_that_goes_on_does_not_go_round(thought: str) -> None:
    assert not goes_round(thought)


def test_reasoning_that_goes_round_reminds_at_2_and_4_and_stops_at_6_whatever_it_calls() -> None:
    steps = [step((f'{{"n": {n}}}', f"page {n}"), reasoning=CIRCLES) for n in range(20)]
    assert spoken(judged(RepeatedReasoning(), steps)) == {2: Remind, 4: Remind, 6: Stop}


def test_the_same_long_thoughts_are_stopped_where_they_bring_nothing_new() -> None:
    steps = [step((f'{{"n": {n}}}', "nothing"), reasoning=LONG) for n in range(20)]
    assert spoken(judged(RepeatedReasoning(), steps)) == {3: Remind, 5: Remind, 7: Stop}
    cycle = [step((f'{{"n": {n}}}', "no"), reasoning=f"{n % 2}{LONG}") for n in range(20)]
    assert max(spoken(judged(RepeatedReasoning(), cycle))) <= 15


def test_the_same_thoughts_are_left_alone_where_they_bring_something_new() -> None:
    steps = [step((f'{{"n": {n}}}', f"page {n}"), reasoning=LONG) for n in range(300)]
    assert not spoken(judged(RepeatedReasoning(), steps))


def test_short_thoughts_and_none_may_come_again() -> None:
    for reasoning in (None, "", "Next file."):
        steps = [step((f'{{"n": {n}}}', "nothing here"), reasoning=reasoning) for n in range(300)]
        assert not spoken(judged(RepeatedReasoning(), steps))


# Hasty answers


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("What is 17 * 23?", "391"),
        ("How many?", "There are 12."),
        ("Sum sales.csv", "Much."),
        ("What does notes.txt say?", "Hello."),
    ],
)
def test_an_answer_before_any_tool_is_sent_back_once_where_a_tool_could_settle_it(
    task: str, answer: str
) -> None:
    verdicts = judged(HastyAnswer(), [step(answer=answer, task=task)] * 2)
    assert spoken(verdicts) == {1: Remind}
    assert isinstance(verdicts[0], Remind)
    assert verdicts[0].call, "the next reply should be a call"


def test_a_greeting_is_no_hasty_answer() -> None:
    assert HastyAnswer().judge(step(answer="Hello!", task="Say hello.")) is None
    assert HastyAnswer().judge(step(answer="391", task="17*23?", has_tools=False)) is None
    called = Evidence(calls=1)
    assert HastyAnswer().judge(step(answer="391", task="17*23?", evidence=called)) is None


# Unsupported claims


def test_what_finds_no_support_goes_back_once() -> None:
    evidence = Evidence(calls=1)
    evidence.add("391", "call-0")
    good, bad = step(answer="It is 391.", evidence=evidence), step(answer="392", evidence=evidence)
    verdicts = judged(UnsupportedClaims(), [good, bad, bad])
    assert spoken(verdicts) == {2: Remind}
    assert isinstance(verdicts[1], Remind)
    assert "392" in verdicts[1].text


def test_an_agent_without_tools_is_not_asked_for_evidence() -> None:
    assert UnsupportedClaims().judge(step(answer="42", has_tools=False)) is None


# Within a run


@tool(effect="pure")
async def product(a: int, b: int) -> str:
    """Multiply."""
    return str(a * b)


async def test_an_unsupported_claim_goes_back_also_after_a_hasty_answer() -> None:
    script = [
        "It is 392.",
        calling(("product", '{"a": 17, "b": 23}')),
        "It is 392.",
        "It is 391.",
    ]
    agent = Agent(ScriptedModel(script), [product])
    events = await story(agent.stream("What is 17 * 23?"))
    said = [event.guard for event in events if isinstance(event, Reminded)]
    assert said == ["hasty answer", "unsupported claims"]
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert [(claim.text, claim.status) for claim in answer.claims] == [("391", "supported")]


async def test_a_claim_that_stays_unsupported_stays_marked() -> None:
    script = [calling(("product", '{"a": 17, "b": 23}')), "It is 392.", "It is 392, really."]
    answer = await Agent(ScriptedModel(script), [product]).run("What is 17 * 23?")
    assert answer.text == "It is 392, really."
    assert [(claim.text, claim.status) for claim in answer.claims] == [("392", "unsupported")]


async def test_a_model_that_does_not_think_is_held_to_the_call_it_was_reminded_of() -> None:
    model = ScriptedModel(["391", calling(("product", '{"a": 17, "b": 23}')), "It is 391."])
    await Agent(model, [product]).run("What is 17 * 23?")
    assert [asked.options.tool_choice for asked in model.asked] == ["auto", "required", "auto"]


async def test_a_run_that_goes_nowhere_is_stopped_and_lands() -> None:
    def speak(conversation: Conversation) -> Message:
        if "The budget has ended" in conversation[-1].text:
            return assistant("I went round in circles.")
        return calling(("product", '{"a": 1, "b": 1}'), first=len(conversation))

    events = await story(Agent(ScriptedModel(speak), [product]).stream("go"))
    assert [e.guard for e in events if isinstance(e, Reminded)] == ["repetition"] * 3
    assert kinds(events).count("ToolFinished") == 12
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert answer.stopped_by == "guard"
    assert answer.missing == "the same calls brought the same results twelve times"
    assert answer.text == "I went round in circles."


@pytest.mark.parametrize("yes", [True, False])
async def test_a_loop_of_calls_that_a_person_decides_about_is_stopped(yes: bool) -> None:
    def speak(conversation: Conversation) -> Message:
        if "The budget has ended" in conversation[-1].text:
            return assistant("Stopped.")
        return calling(("pay", '{"amount": 1}'))

    agent = Agent(ScriptedModel(speak), [pay])
    leg = (await story(agent.stream("go")))[-1]
    for _ in range(20):
        if not isinstance(leg, Waiting):
            break
        again = agent.continue_(leg, approve={call.id: yes for call in leg.calls})
        async with aclosing(again) as given_up:  # nothing of what is given up is remembered
            assert await anext(given_up)
        approve = {call.id: yes for call in leg.calls}
        leg = (await story(agent.continue_(leg, approve=approve)))[-1]
    assert isinstance(leg, Answer)
    assert (leg.stopped_by, leg.steps) == ("guard", 12)


async def test_reminders_do_not_reset_what_a_guard_has_counted() -> None:
    """A nudge that cleared the count would let the loop go on for ever."""

    def speak(conversation: Conversation) -> Message:
        if "The budget has ended" in conversation[-1].text:
            return assistant("Stopped.")
        return calling(("product", '{"a": 1, "b": 1}'))

    answer = await Agent(ScriptedModel(speak), [product]).run("go")
    assert answer.steps == 12


async def test_an_empty_turn_is_reminded_and_then_answered() -> None:
    answer = await Agent(ScriptedModel(["", "", "Here I am."]), [add]).run("Hello?")
    assert (answer.text, answer.stopped_by) == ("Here I am.", "answer")
    roles = [message.role for message in answer.conversation]
    assert roles == ["user", "assistant", "user", "assistant", "user", "assistant"]


async def test_the_guards_of_one_run_know_nothing_of_another() -> None:
    agent = Agent(ScriptedModel([calling(("add", '{"a": 1}')), "It is 2."]), [add])
    for _ in range(13):
        answer = await agent.run("1+1?")
        assert (answer.text, answer.stopped_by) == ("It is 2.", "answer")
        assert told_by_tools(answer.conversation) == ["2"]


async def test_a_guard_of_ones_own_is_heard() -> None:
    class Polite:
        name = "polite"

        def judge(self, step: Step) -> Verdict:
            rude = step.answers and "please" not in step.message.text
            return Remind("Say please.") if rude else None

    guards: tuple[Callable[[], Guard], ...] = (*DEFAULT_GUARDS, Polite)
    answer = await Agent(ScriptedModel(["No.", "No, please."]), guards=guards).run("Go?")
    assert answer.text == "No, please."
