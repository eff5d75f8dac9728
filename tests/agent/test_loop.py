"""The loop: what an agent does between the task and the answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from agent_harness import (
    PATIENCE_SECONDS,
    SilentModel,
    add,
    answered,
    bare,
    calling,
    is_well_formed,
    kinds,
    outputs,
    pay,
    story,
    told_by_tools,
    waiting,
)

from chogori.agent import Agent, Budget, ClientTool
from chogori.chat import (
    Answer,
    Conversation,
    Event,
    Message,
    Price,
    Reply,
    ReplyFinished,
    ReplyRestarted,
    RunStarted,
    ScriptedModel,
    StepStarted,
    TextDelta,
    ToolContext,
    ToolError,
    ToolFinished,
    ToolSpec,
    ToolStarted,
    assistant,
    profile_for,
    tool,
)
from chogori.errors import ConfigError, ModelUnavailable, StreamCut

ADD = ("add", '{"a": 2, "b": 3}')


@tool
async def fail() -> str:
    """Always fail."""
    raise ToolError("the disk is full")


@tool
async def crash() -> str:
    """Break."""
    raise ValueError("no such thing")


# Answering


async def test_the_agent_calls_tools_until_the_model_answers() -> None:
    model = ScriptedModel([calling(ADD, reasoning="sum them"), "It is 5."])
    answer = await Agent(model, [add], instructions="Be exact.").run("2+3?")
    assert (answer.text, answer.stopped_by, answer.steps) == ("It is 5.", "answer", 2)
    roles = [message.role for message in answer.conversation]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    assert told_by_tools(answer.conversation) == ["5"]


async def test_events_tell_the_story_in_order() -> None:
    model = ScriptedModel([calling(ADD), "It is 5."])
    events = await story(bare(model, [add]).stream("2+3?", run_id="run-7"))
    assert kinds(events) == [
        "RunStarted",
        "StepStarted",
        "Finished",
        "ReplyFinished",
        "ToolStarted",
        "ToolFinished",
        "StepStarted",
        "Finished",
        "ReplyFinished",
        "Answer",
    ]
    assert isinstance(events[0], RunStarted)
    assert (events[0].run_id, events[0].tools) == ("run-7", ("add",))
    assert [e.number for e in events if isinstance(e, StepStarted)] == [1, 2]
    text = "".join(e.text for e in events if isinstance(e, TextDelta))
    assert text == "It is 5."
    assert isinstance(events[-1], Answer)
    assert events[-1].run_id == "run-7"


async def test_reasoning_is_always_kept_in_the_conversation() -> None:
    script = [calling(ADD, reasoning="first"), assistant("5", reasoning="")]
    answer = await bare(ScriptedModel(script), [add]).run("2+3?")
    said = [m for m in answer.conversation if m.role == "assistant"]
    assert [m.reasoning for m in said] == ["first", ""]


async def test_what_a_run_used_is_the_sum_of_its_replies() -> None:
    model = ScriptedModel([calling(ADD, reasoning="a b c"), "It is 5."])
    events = await story(bare(model, [add]).stream("2+3?"))
    finished = [e for e in events if isinstance(e, ReplyFinished)]
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert answer.usage == finished[0].usage + finished[1].usage
    assert answer.usage.reasoning == 3
    assert all(e.tokens_per_second >= 0 and e.seconds >= 0 for e in finished)
    assert all(0 <= e.first_token_seconds <= e.seconds for e in finished)


def test_an_agent_can_be_asked_again_and_again() -> None:
    agent = bare(ScriptedModel(["one"]))
    assert [agent.ask("?").text, agent.ask("?").text] == ["one", "one"]


async def test_an_agent_serves_many_runs_at_once() -> None:
    model = ScriptedModel(
        lambda c: calling(("add", f'{{"a": {c[0].text}}}')) if len(c) == 1 else f"so {c[-1].text}"
    )
    agent = bare(model, [add])
    answers = await asyncio.gather(*(agent.run(str(n)) for n in range(50)))
    assert [a.text for a in answers] == [f"so {n + 1}" for n in range(50)]
    assert len({a.run_id for a in answers}) == 50


@pytest.mark.parametrize("task", ["", " ", "\ud83d", "\x00", "ولماذا؟", "x" * 1_000_000])
async def test_any_task_at_all_is_answered(task: str) -> None:
    answer = await Agent(ScriptedModel(["Well."], profile=profile_for("x"))).run(task)
    assert answer.text == "Well."


def test_a_description_holds_what_another_process_needs_and_no_secret() -> None:
    described = Agent(ScriptedModel([]), [add], instructions="Be exact.").describe()
    assert described["instructions"] == "Be exact."
    assert [made["name"] for made in described["tools"]] == ["add"]
    assert described["tools"][0]["path"] == "agent_harness:add"


# Tools


@pytest.mark.parametrize(
    ("call", "output"),
    [
        (("add", "{}"), "invalid arguments: a: Field required"),
        (("add", "not json"), "invalid arguments: arguments: Invalid JSON"),
        (("add", "[" * 300 + "]" * 300), "invalid arguments: arguments: "),
        (("nope", "{}"), "there is no tool 'nope'; there are: add, fail, crash"),
        (("", "{}"), "there is no tool ''; there are: add, fail, crash"),
        (("fail", "{}"), "the disk is full"),
        (("crash", "{}"), "ValueError: no such thing"),
    ],
)
async def test_what_goes_wrong_in_a_tool_is_told_to_the_model(
    call: tuple[str, str], output: str
) -> None:
    model = ScriptedModel([calling(call), "never mind"])
    events = await story(Agent(model, [add, fail, crash]).stream("go"))
    finished = [event for event in events if isinstance(event, ToolFinished)]
    assert [event.failed for event in finished] == [True]
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert told_by_tools(answer.conversation)[0].startswith(output)
    assert (answer.text, answer.stopped_by) == ("never mind", "answer")


async def test_a_tool_that_hangs_is_given_up_and_the_run_goes_on() -> None:
    cancelled = asyncio.Event()

    @tool
    async def hang() -> str:
        """Never return."""
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    model = ScriptedModel([calling(("hang", "{}"), ADD), "never mind"])
    answer = await bare(model, [hang, add], tool_seconds=0.01).run("go")
    told = told_by_tools(answer.conversation)
    assert told == ["hang did not finish within 0.01 seconds", "5"]
    assert answer.text == "never mind"
    assert cancelled.is_set()


async def test_a_blocking_tool_that_hangs_is_given_up_too() -> None:
    release = threading.Event()

    @tool
    def block() -> str:
        """Block a thread."""
        release.wait(PATIENCE_SECONDS)
        return ""

    try:
        model = ScriptedModel([calling(("block", "{}")), "never mind"])
        answer = await bare(model, [block], tool_seconds=0.01).run("go")
    finally:
        release.set()
    assert told_by_tools(answer.conversation) == ["block did not finish within 0.01 seconds"]


async def test_a_tool_that_is_cancelled_from_within_is_told_to_the_model() -> None:
    @tool
    async def give_up() -> str:
        """Lose what it waits for."""
        waited_for: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waited_for.cancel()
        return await waited_for

    model = ScriptedModel([calling(("give_up", "{}")), "never mind"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await bare(model, [give_up]).run("go")
    assert told_by_tools(answer.conversation) == ["give_up was cancelled from within"]


async def test_tools_asked_for_together_run_together() -> None:
    meet = asyncio.Barrier(3)

    @tool
    async def wait_for_the_others() -> str:
        """Return once three calls are inside."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await meet.wait()
        return "met"

    model = ScriptedModel([calling(*[("wait_for_the_others", "{}")] * 3), "done"])
    answer = await bare(model, [wait_for_the_others]).run("go")
    assert told_by_tools(answer.conversation) == ["met"] * 3


async def test_results_stand_in_the_order_of_their_calls_however_they_end() -> None:
    turns = [asyncio.Event() for _ in range(4)]
    turns[3].set()

    @tool
    async def backwards(number: int) -> str:
        """End after the next one."""
        await turns[number].wait()
        if number:
            turns[number - 1].set()
        return str(number)

    calls = [("backwards", f'{{"number": {number}}}') for number in range(4)]
    events = await story(bare(ScriptedModel([calling(*calls), "done"]), [backwards]).stream("go"))
    assert outputs(events) == ["3", "2", "1", "0"], "each end is told as it happens"
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert told_by_tools(answer.conversation) == ["0", "1", "2", "3"]
    assert is_well_formed(answer.conversation)


async def test_the_siblings_of_a_failing_call_finish() -> None:
    failed = asyncio.Event()

    @tool
    async def break_down() -> str:
        """Break."""
        failed.set()
        raise RuntimeError("broken")

    @tool
    async def outlive() -> str:
        """End after the other failed."""
        await failed.wait()
        return "still here"

    model = ScriptedModel([calling(("break_down", "{}"), ("outlive", "{}")), "done"])
    answer = await bare(model, [break_down, outlive]).run("go")
    assert told_by_tools(answer.conversation) == ["RuntimeError: broken", "still here"]


async def test_calls_that_touch_the_same_thing_run_one_after_another_and_others_beside() -> None:
    inside: list[str] = []
    seen: list[tuple[str, tuple[str, ...]]] = []
    meet = asyncio.Barrier(2)

    @tool(touches=lambda path, text: [path])
    async def write(path: str, text: str) -> str:
        """Write."""
        inside.append(path)
        seen.append((text, tuple(inside)))
        if text in ("a1", "b1"):  # the first of each path are inside together
            async with asyncio.timeout(PATIENCE_SECONDS):
                await meet.wait()
        await asyncio.sleep(0)
        inside.remove(path)
        return text

    calls = [
        ("write", f'{{"path": "{text[0]}", "text": "{text}"}}')
        for text in ("a1", "a2", "b1", "a3", "b2")
    ]
    answer = await bare(ScriptedModel([calling(*calls), "done"]), [write]).run("go")
    assert told_by_tools(answer.conversation) == ["a1", "a2", "b1", "a3", "b2"]
    assert all(len(set(paths)) == len(paths) for _, paths in seen), "never two at one path"
    for path in "ab":
        order = [text for text, _ in seen if text[0] == path]
        assert order == sorted(order), "in the order in which they were made"


async def test_a_failing_writer_lets_the_next_one_write() -> None:
    @tool(touches=lambda text: ["file"])
    async def write(text: str) -> str:
        """Write."""
        if text == "bad":
            raise ToolError("no")
        return text

    calls = calling(("write", '{"text": "bad"}'), ("write", '{"text": "good"}'))
    answer = await bare(ScriptedModel([calls, "done"]), [write]).run("go")
    assert told_by_tools(answer.conversation) == ["no", "good"]


async def test_a_tool_that_cannot_say_what_it_touches_is_called_all_the_same() -> None:
    def touched(path: str) -> Sequence[str]:
        raise KeyError(path)

    @tool(touches=touched)
    async def write(path: str) -> str:
        """Write."""
        return f"wrote {path}"

    model = ScriptedModel([calling(("write", '{"path": "a"}')), "done"])
    answer = await bare(model, [write]).run("go")
    assert told_by_tools(answer.conversation) == ["wrote a"]


async def test_each_occurrence_of_a_call_has_a_key_of_its_own_that_is_the_same_when_redone() -> (
    None
):
    keys: list[str] = []

    @tool(effect="idempotent")
    async def note(a: int, b: int, context: ToolContext) -> str:
        """Keep the key."""
        keys.append(context.key)
        return "noted"

    script = [
        calling(("note", '{"a": 1, "b": 2}')),
        calling(("note", '{"b":2,"a":1}')),
        calling(("note", '{"a": 2, "b": 2}')),
        "done",
    ]
    for run_id in ("one", "one", "two"):
        await story(bare(ScriptedModel(script), [note]).stream("go", run_id=run_id))
    first, again, other = keys[:3], keys[3:6], keys[6:]
    assert first == again, "a run that is done again has the same keys"
    assert len({*first, *other}) == 6


def test_the_folder_of_a_run_is_handed_to_its_tools(tmp_path: Path) -> None:
    @tool
    def where(context: ToolContext) -> str:
        """Say where."""
        return str(context.out)

    model = ScriptedModel([calling(("where", "{}")), "done"])
    agent = bare(model, [where], out=lambda run_id: tmp_path / run_id)
    answer = agent.ask("go")
    assert told_by_tools(answer.conversation) == [str(tmp_path / answer.run_id)]


async def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two tools are called 'add'; rename one"):
        await story(bare(ScriptedModel(["x"]), [add, add]).stream("go"))


# A stream that is cut


async def test_a_cut_reply_is_dropped_and_asked_for_again() -> None:
    whole = assistant("a b c d e f", reasoning="hm")
    model = ScriptedModel([Reply(message=whole, fault="cut", times=2)])
    events = await story(bare(model).stream("go"))
    assert [e.attempt for e in events if isinstance(e, ReplyRestarted)] == [1, 2]
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert answer.text == "a b c d e f"
    assert list(answer.conversation)[1:] == [whole], "nothing of the cut turns is left"
    assert all(len(asked.conversation) == 1 for asked in model.asked)
    assert answer.steps == 1


async def test_a_reply_is_asked_for_again_three_times_at_most() -> None:
    model = ScriptedModel([Reply(message=assistant("a b c d"), fault="cut")])
    events: list[Event] = []

    async def listen() -> None:
        async for event in bare(model).stream("go"):
            events.append(event)

    with pytest.raises(StreamCut):
        await listen()
    assert [e.attempt for e in events if isinstance(e, ReplyRestarted)] == [1, 2, 3]
    assert len(model.asked) == 4


async def test_a_cut_call_is_never_made() -> None:
    model = ScriptedModel(
        [Reply(message=calling(("pay", '{"amount": 1}'), ADD), fault="cut", times=1), "done"]
    )
    events = await story(bare(model, [pay, add], approval="always").stream("go"))
    started = [e.call.name for e in events if isinstance(e, ToolStarted)]
    assert started == ["pay", "add"], "once each, although the first call had streamed before"


async def test_a_model_that_is_not_there_ends_the_run_with_its_error() -> None:
    model = ScriptedModel([Reply(message=assistant("x"), fault="refuse")])
    with pytest.raises(ModelUnavailable, match="the script refuses"):
        await bare(model).run("go")


# The budget


PRICED = profile_for("kimi-k2")


@pytest.mark.parametrize(
    ("budget", "missing"),
    [
        (Budget(steps=2), "steps"),
        (Budget(tokens=3), "tokens"),
        (Budget(reasoning_tokens=3), "reasoning tokens"),
        (Budget(dollars=1e-6), "dollars"),
        (Budget(seconds=0.0), "seconds"),
        (Budget(steps=0), "steps"),
    ],
)
async def test_a_budget_that_ends_lands_the_run(budget: Budget, missing: str) -> None:
    def speak(conversation: Conversation) -> Message:
        if "The budget has ended" in conversation[-1].text:
            return assistant("My best is 5; the rest is missing.")
        return calling(ADD, reasoning="and again", first=len(conversation))

    model = ScriptedModel(speak, profile=PRICED)
    events = await story(bare(model, [add], budget=budget).stream("2+3?"))
    assert kinds(events).count("Landing") == 1
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert answer.text == "My best is 5; the rest is missing."
    assert (answer.stopped_by, answer.missing) == ("budget", missing)
    assert model.asked[-1].options.tool_choice == "none"
    assert is_well_formed(answer.conversation)


async def test_what_a_step_limit_allows_is_done() -> None:
    answer = await bare(ScriptedModel([calling(ADD), "5"]), [add], budget=Budget(steps=2)).run("?")
    assert (answer.text, answer.stopped_by, answer.steps) == ("5", "answer", 2)


async def test_a_landing_without_words_tells_the_last_result() -> None:
    model = ScriptedModel([calling(ADD), ""])
    answer = await bare(model, [add], budget=Budget(steps=1)).run("2+3?")
    assert answer.text == "(no answer was reached; the last result was) 5"
    assert answer.stopped_by == "budget"


async def test_a_landing_without_words_or_results_is_an_empty_answer() -> None:
    model = ScriptedModel([calling(("fail", "{}")), ""])
    answer = await bare(model, [fail], budget=Budget(steps=1)).run("go")
    assert (answer.text, answer.stopped_by, answer.missing) == ("", "budget", "steps")


async def test_a_landing_that_calls_is_not_obeyed_and_leaves_a_conversation_to_go_on_with() -> None:
    model = ScriptedModel([calling(ADD), calling(("pay", '{"amount": 1}'), first=5)])
    agent = bare(model, [add, pay], budget=Budget(steps=1), approval="always")
    events = await story(agent.stream("2+3?"))
    assert outputs(events) == ["5"]
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert is_well_formed(answer.conversation)


async def test_a_model_that_falls_silent_is_left_when_the_time_is_up() -> None:
    model = SilentModel(model=ScriptedModel(["My best."]))
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await bare(model, budget=Budget(seconds=0.05)).run("go")
    assert (answer.text, answer.stopped_by, answer.missing) == ("My best.", "budget", "seconds")
    assert model.closed.is_set(), "its stream was closed"
    assert [m.role for m in answer.conversation] == ["user", "user", "assistant"]


async def test_calls_that_wait_when_the_budget_ends_are_answered_not_dangling() -> None:
    def speak(conversation: Conversation) -> Message:
        if "The budget has ended" in conversation[-1].text:
            return assistant("Unpaid.")
        return calling(("pay", '{"amount": 1}'))

    agent = bare(ScriptedModel(speak), [pay], budget=Budget(tokens=1))
    leg = await waiting(agent.stream("go"))
    answer = await answered(agent.continue_(leg, approve={"call-0": True}))
    assert (answer.text, answer.missing) == ("Unpaid.", "tokens")
    assert is_well_formed(answer.conversation)
    assert told_by_tools(answer.conversation) == ["not run: the run has ended"]


async def test_money_spent_before_waiting_stays_spent() -> None:
    def speak(conversation: Conversation) -> Message:
        if "The budget has ended" in conversation[-1].text:
            return assistant("Too dear.")
        return calling(("pay", '{"amount": 1}'), first=len(conversation))

    profile = profile_for("dear")
    price = Price(cached=1e6, prompt=1e6, completion=1e6)  # a dollar a token
    model = ScriptedModel(speak, profile=_priced(profile, price))
    agent = bare(model, [pay], budget=Budget(dollars=9.0))
    leg: Any = await waiting(agent.stream("go"))
    legs = 1
    while not isinstance(leg, Answer):
        legs += 1
        assert legs < 9, "the money ends"
        approve = {call.id: True for call in leg.calls}
        leg = (await story(agent.continue_(leg, approve=approve)))[-1]
    assert leg.missing == "dollars"


def _priced(profile: Any, price: Price) -> Any:
    from dataclasses import replace

    return replace(profile, price=price)


# Waiting


async def test_a_call_that_needs_a_yes_waits_for_it() -> None:
    model = ScriptedModel([calling(("pay", '{"amount": 5}'), ADD), "Paid."])
    agent = bare(model, [pay, add])
    events = await story(agent.stream("pay 5", run_id="run-1"))
    assert "ToolStarted" not in kinds(events), "nothing is done before the yes"
    leg = events[-1]
    assert not isinstance(leg, Answer)
    leg = await waiting(agent.stream("pay 5", run_id="run-1"))
    assert (leg.reason, [call.name for call in leg.calls]) == ("approval", ["pay"])
    answer = await answered(agent.continue_(leg, approve={"call-0": True}))
    assert told_by_tools(answer.conversation) == ["paid 5", "5"]
    assert (answer.text, answer.run_id, answer.steps) == ("Paid.", "run-1", 2)


async def test_a_refused_call_is_told_to_the_model_and_not_made() -> None:
    model = ScriptedModel([calling(("pay", '{"amount": 5}'), ADD), "Then not."])
    agent = bare(model, [pay, add])
    leg = await waiting(agent.stream("pay 5"))
    events = await story(agent.continue_(leg, approve={"call-0": False}))
    assert sorted(outputs(events)) == ["5", "a person was asked and refused this call"]
    assert [e.failed for e in events if isinstance(e, ToolFinished) and e.call.name == "pay"] == [
        True
    ]


@pytest.mark.parametrize(
    ("approval", "told"),
    [("always", "paid 5"), ("never", "a person was asked and refused this call")],
)
async def test_approval_can_be_settled_beforehand(approval: Any, told: str) -> None:
    model = ScriptedModel([calling(("pay", '{"amount": 5}')), "done"])
    answer = await answered(bare(model, [pay], approval=approval).stream("pay 5"))
    assert told_by_tools(answer.conversation) == [told]


async def test_where_nobody_is_there_what_needs_a_yes_is_refused() -> None:
    model = ScriptedModel([calling(("pay", '{"amount": 5}')), "done"])
    answer = await bare(model, [pay]).run("pay 5")
    assert told_by_tools(answer.conversation) == ["a person was asked and refused this call"]


async def test_a_yes_counts_for_its_call_and_not_for_a_later_one_of_the_same_id() -> None:
    again = calling(("pay", '{"amount": 500}'))  # an endpoint whose ids begin anew each turn
    model = ScriptedModel([calling(("pay", '{"amount": 5}')), again, "done"])
    agent = bare(model, [pay])
    leg = await waiting(agent.stream("pay 5"))
    leg = await waiting(agent.continue_(leg, approve={"call-0": True}))
    assert [call.arguments for call in leg.calls] == ['{"amount": 500}']


def look_up() -> ClientTool:
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}}
    return ClientTool(ToolSpec("look_up", "Look it up.", parameters))


async def test_a_clients_tools_are_run_by_the_client() -> None:
    model = ScriptedModel([calling(("look_up", "{}"), ADD), "done"])
    agent = bare(model, [look_up(), add])
    leg = await waiting(agent.stream("go"))
    assert (leg.reason, [call.id for call in leg.calls]) == ("tool_results", ["call-0"])
    answer = await answered(agent.continue_(leg, results={"call-0": "found"}))
    assert told_by_tools(answer.conversation) == ["found", "5"]


async def test_a_result_counts_for_its_call_and_not_for_a_later_one_of_the_same_id() -> None:
    model = ScriptedModel([calling(("look_up", "{}")), calling(("look_up", "{}")), "done"])
    agent = bare(model, [look_up()])
    leg = await waiting(agent.stream("go"))
    leg = await waiting(agent.continue_(leg, results={"call-0": "first"}))
    answer = await answered(agent.continue_(leg, results={"call-0": "second"}))
    assert told_by_tools(answer.conversation) == ["first", "second"]


async def test_a_run_that_waits_for_a_client_cannot_be_run_alone() -> None:
    agent = bare(ScriptedModel([calling(("look_up", "{}"))]), [look_up()])
    with pytest.raises(ConfigError, match="waits for results of the client's tools: use stream"):
        await agent.run("go")


async def test_steps_and_usage_go_on_counting_after_waiting() -> None:
    model = ScriptedModel([calling(("pay", '{"amount": 5}')), "done"])
    agent = bare(model, [pay])
    leg = await waiting(agent.stream("pay 5"))
    answer = await answered(agent.continue_(leg, approve={"call-0": True}))
    assert leg.steps == 1
    assert answer.steps == 2
    assert answer.usage.completion > leg.usage.completion
    assert answer.seconds >= leg.seconds


async def test_a_chat_goes_on_with_a_message() -> None:
    model = ScriptedModel(["I am Kim.", "I said: Kim."])
    agent = bare(model, instructions="Be brief.")
    first = await agent.run("Who are you?")
    second = await answered(agent.continue_(first, "Again?"))
    assert [m.role for m in second.conversation] == ["system", *["user", "assistant"] * 2]
    assert (second.text, second.run_id) == ("I said: Kim.", first.run_id)
    assert len(first.conversation) == 3, "the first turn is as it was"


async def test_what_does_not_fit_what_is_waited_for_is_refused_with_the_reason() -> None:
    agent = bare(ScriptedModel([calling(("pay", '{"amount": 5}'))]), [pay])
    leg = await waiting(agent.stream("pay 5"))
    with pytest.raises(ConfigError, match="the run still waits for: call-0"):
        agent.continue_(leg, approve={"call-9": True})
    answer = await bare(ScriptedModel(["x"])).run("go")
    with pytest.raises(ConfigError, match="an answered run goes on with a message"):
        agent.continue_(answer)


# Closing


async def closed(events: AsyncGenerator[Event], until: type[Event]) -> None:
    """Watch until such an event, then close the stream."""
    async for event in events:
        if isinstance(event, until):
            break
    await events.aclose()


async def test_closing_the_stream_cancels_the_tools_under_way() -> None:
    inside, gone = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        """Wait for ever."""
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return ""

    @tool
    async def ready() -> str:
        """End once the other is inside."""
        await inside.wait()
        return ""

    model = ScriptedModel([calling(("wait", "{}"), ("ready", "{}"))])
    stream = cast("AsyncGenerator[Event]", bare(model, [wait, ready]).stream("go"))
    await closed(stream, ToolFinished)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await gone.wait()


async def test_closing_the_stream_closes_that_of_the_model() -> None:
    model = SilentModel()
    await closed(cast("AsyncGenerator[Event]", bare(model).stream("go")), TextDelta)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await model.closed.wait()


async def test_cancelling_a_run_cancels_its_tools_and_its_model() -> None:
    inside, gone = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        """Wait for ever."""
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return ""

    silent = SilentModel()
    runs = [
        asyncio.create_task(bare(ScriptedModel([calling(("wait", "{}"))]), [wait]).run("go")),
        asyncio.create_task(bare(silent).run("go")),
    ]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await inside.wait()
        while not silent.asked:
            await asyncio.sleep(0)
    for run in runs:
        run.cancel()
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert gone.is_set()
    assert silent.closed.is_set()
