"""Laws of what the model is shown: stable between two compactions, whole where it must be."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from agent_harness import is_well_formed
from hypothesis import given, settings
from hypothesis import strategies as st

from chogori.agent.context import ASK, SHARE, SUMMARY, Context, Restarting
from chogori.agent.view import TOKEN_CHARS, WORTHWHILE, View, characters
from chogori.chat import (
    Compacted,
    Conversation,
    ImagePart,
    JsonFormat,
    Message,
    Options,
    ScriptedModel,
    ToolCall,
    ToolContext,
    ToolSpec,
    Usage,
    assistant,
    system,
    text_of,
    tool_result,
    user,
)
from chogori.errors import ConfigError
from strategies import TROUBLE

NOTE = Restarting("discard_all", 1, 1).aside()
BENCH = Path(__file__).parents[2] / "bench" / "context_stability.py"
TASK = [system("Be exact."), user("Which file is last?")]
HIDDEN = " hidden; recall(call_id="
SHORTENING = ("hide_tool_results", "discard_all", "summary")


@dataclass(frozen=True)
class Step:
    """A reply that calls, its results, and what a person says then; without calls, an answer."""

    results: tuple[str, ...] = ("result " * 50,)
    reasoning: str | None = "hm"
    said: str | None = None
    is_counted: bool = True
    id: str = "functions.read:{number}"


@dataclass
class Drive:
    """A run, as an agent drives the view of it."""

    view: View
    model: ScriptedModel = field(default_factory=lambda: ScriptedModel(lambda _: "a summary"))
    conversation: Conversation = field(default_factory=lambda: Conversation(TASK))
    shown: list[list[Message]] = field(default_factory=list[list[Message]])
    told: list[Compacted | None] = field(default_factory=list[Compacted | None])
    """What the view told before each request."""
    calls: int = 0

    async def show(self, options: Options = Options(), tools: Sequence[ToolSpec] = ()) -> None:
        showing = self.view.show(self.conversation, self.model, options, tools)
        events = [event async for event in showing]
        assert all(isinstance(event, Compacted) for event in events)
        assert len(events) <= 1
        self.told.append(events[0] if events else None)  # pyright: ignore[reportArgumentType]
        self.shown.append(list(self.view.shown))

    async def step(self, step: Step) -> None:
        await self.show()
        calls: list[ToolCall] = []
        for _ in step.results:
            calls.append(ToolCall(step.id.format(number=self.calls), "read", "{}"))
            self.calls += 1
        reply = assistant("" if calls else "so it is", reasoning=step.reasoning, calls=calls)
        counted = tokens(*self.view.shown), tokens(reply)
        self.view.saw(Usage(*counted) if step.is_counted else Usage(), reply)
        results = [tool_result(*pair) for pair in zip(calls, step.results, strict=True)]
        said = step.said if calls else step.said or "and then?"
        self.conversation = self.conversation.append(
            reply, *results, *([] if said is None else [user(said)])
        )

    @property
    def compactions(self) -> list[Compacted]:
        return [event for event in self.told if event is not None]


def tokens(*messages: Message) -> int:
    return round(sum(map(characters, messages)) / TOKEN_CHARS)


async def _driven(context: Context, steps: Sequence[Step], context_tokens: int) -> Drive:
    drive = Drive(context.view(context_tokens))
    for step in steps:
        await drive.step(step)
    await drive.show()
    return drive


def driven(context: Context, steps: Sequence[Step], context_tokens: int = 100_000) -> Drive:
    return asyncio.run(_driven(context, steps, context_tokens))


def recalled(view: View, **arguments: Any) -> str:
    (recall,) = view.tools()
    context = ToolContext("r", ToolCall("c", "recall", "{}"))
    result = asyncio.run(recall.call(orjson.dumps(arguments).decode(), context))
    return text_of(result.content)


texts = st.sampled_from(["", "hm", *TROUBLE])
outputs = texts | st.integers(20, 150).map(lambda lines: "what a file says\n" * lines)
steps = st.lists(
    st.builds(
        Step,
        results=st.lists(outputs, max_size=3).map(tuple),
        reasoning=st.none() | texts,
        said=st.sampled_from([None, None, None, "", "steer", "steer " * 300]),
        is_counted=st.booleans(),
        id=st.sampled_from(["functions.read:{number}", "call"]),
    ),
    min_size=4,
    max_size=12,
)
contexts = st.builds(
    Context, policy=st.sampled_from(SHORTENING), tokens=st.sampled_from([1, 100, 400, 1_000])
)
sizes = st.sampled_from([200, 1_000, 5_000])
law = settings(max_examples=50)


@law
@given(contexts, steps, sizes)
def test_each_request_extends_the_one_before_unless_a_compaction_is_told(
    context: Context, steps: list[Step], size: int
) -> None:
    drive = driven(context, steps, size)
    for before, after, told in zip(drive.shown, drive.shown[1:], drive.told[1:], strict=False):
        assert told is not None or after[: len(before)] == before


@law
@given(contexts, steps, sizes)
def test_the_task_and_what_persons_say_is_always_shown_in_order(
    context: Context, steps: list[Step], size: int
) -> None:
    drive = driven(context, steps, size)
    kept = [m for m in drive.conversation if m.role in ("system", "user")]
    assert [m for m in drive.shown[-1] if m in kept] == kept
    for shown in drive.shown:
        said = [m for m in shown if m in kept]
        assert said == kept[: len(said)]
        assert shown[: len(TASK)] == TASK


@law
@given(contexts, steps, sizes)
def test_every_call_that_is_shown_has_its_result(
    context: Context, steps: list[Step], size: int
) -> None:
    for shown in driven(context, steps, size).shown:
        assert is_well_formed(Conversation(shown))
        assert {m.tool_call_id for m in shown if m.role == "tool"} <= {
            call.id for m in shown for call in m.tool_calls
        }


@law
@given(contexts, steps, sizes)
def test_replies_are_shown_as_they_were_said(
    context: Context, steps: list[Step], size: int
) -> None:
    drive = driven(context, steps, size)
    said = [m for m in drive.conversation if m.role == "assistant"]
    for shown in drive.shown:
        replies = [m for m in shown if m.role == "assistant"]
        assert all(any(reply is one for one in said) for reply in replies)
    last = [m for m in drive.shown[-1] if m.role == "assistant"]
    if context.policy == "hide_tool_results":
        assert last == said, "all reasoning stays"


@law
@given(contexts, steps, sizes)
def test_reasoning_goes_back_for_the_same_replies_as_without_a_view(
    context: Context, steps: list[Step], size: int
) -> None:
    drive = driven(context, steps, size)
    chain = drive.conversation[drive.conversation.chain_start :]
    shown = drive.view.shown
    for reply in shown[shown.chain_start :]:
        assert reply.role != "assistant" or any(reply is one for one in chain)
    for reply in shown[: shown.chain_start]:
        assert not any(reply is one for one in chain)


@law
@given(contexts, steps, sizes)
def test_a_view_that_is_driven_again_shows_the_same(
    context: Context, steps: list[Step], size: int
) -> None:
    one, other = driven(context, steps, size), driven(context, steps, size)
    assert one.shown == other.shown
    assert one.told == other.told


@law
@given(contexts, steps, sizes)
def test_whatever_is_hidden_is_recalled_word_for_word(
    context: Context, steps: list[Step], size: int
) -> None:
    drive = driven(context, steps, size)
    seen: dict[str, int] = {}
    for message in drive.conversation:
        if message.role == "tool":
            id = message.tool_call_id or ""
            seen[id] = seen.get(id, 0) + 1
            key = id if seen[id] == 1 else f"{id}#{seen[id]}"
            page = recalled(drive.view, call_id=key, lines=10_000)
            assert page.startswith(message.text)
            assert page == message.text or page[len(message.text)] in "(\n"


@law
@given(contexts, steps, sizes)
def test_a_hidden_result_names_a_call_that_recall_knows(
    context: Context, steps: list[Step], size: int
) -> None:
    drive = driven(Context(policy="hide_tool_results", tokens=context.tokens), steps, size)
    pairs = zip(drive.conversation, drive.shown[-1], strict=True)
    for message, shown in pairs:
        if shown != message:
            assert HIDDEN in shown.text
            key = shown.text.partition('call_id="')[2].partition('"')[0]
            assert recalled(drive.view, call_id=key, lines=10_000).startswith(message.text)


@law
@given(steps, st.sampled_from([1, 100, 400]), sizes)
def test_the_latest_round_of_results_is_shown_whole(
    steps: list[Step], tokens: int, size: int
) -> None:
    drive = driven(Context(policy="hide_tool_results", tokens=tokens), steps, size)
    called = [n for n, message in enumerate(drive.conversation) if message.tool_calls]
    if called:
        assert drive.shown[-1][called[-1] :] == drive.conversation[called[-1] :]


@law
@given(steps, st.sampled_from([1, 100, 400]), sizes)
def test_what_is_hidden_stays_as_it_is(steps: list[Step], tokens: int, size: int) -> None:
    drive = driven(Context(policy="hide_tool_results", tokens=tokens), steps, size)
    for before, after in zip(drive.shown, drive.shown[1:], strict=False):
        for one, other in zip(before, after, strict=False):
            assert HIDDEN not in one.text or one == other


@law
@given(contexts, steps, sizes)
def test_a_compaction_frees_what_it_says_and_is_not_due_again_at_once(
    context: Context, steps: list[Step], size: int
) -> None:
    drive = driven(context, steps, size)
    for event in drive.compactions:
        assert event.policy == context.policy
        assert event.hidden > 0
        if context.policy != "summary":
            assert event.tokens_after < event.tokens_before
    asyncio.run(drive.show())
    assert drive.told[-1] is None


@law
@given(steps, sizes)
def test_without_a_policy_the_model_is_shown_the_conversation(steps: list[Step], size: int) -> None:
    drive = driven(Context(), steps, size)
    assert drive.view.shown is drive.conversation
    assert drive.view.tools() == ()
    assert drive.compactions == []
    assert drive.model.asked == []


# --- when


@pytest.mark.parametrize("is_counted", [True, False])
def test_a_compaction_comes_at_the_threshold_and_not_before(is_counted: bool) -> None:
    steps = [Step(results=("x" * 350,), is_counted=is_counted)] * 30
    drive = driven(Context(policy="discard_all", tokens=1_000), steps)
    for event, shown in zip(drive.told, drive.shown, strict=True):
        assert event is not None or tokens(*shown) < 1_000
        assert event is None or 1_000 <= event.tokens_before < 1_200
    assert len(drive.compactions) == 3


def test_without_a_threshold_it_is_a_share_of_the_context() -> None:
    drive = driven(Context(policy="discard_all"), [Step(("x" * 3_500,))] * 9, 10_000)
    (event,) = drive.compactions
    assert SHARE * 10_000 <= event.tokens_before < SHARE * 10_000 + 1_100


def test_what_the_endpoint_counts_goes_before_any_estimate() -> None:
    async def scene() -> Drive:
        drive = Drive(Context(policy="discard_all", tokens=1_000).view(100_000))
        await drive.step(Step(is_counted=False))
        drive.view.saw(Usage(prompt=950, completion=40), drive.conversation[-2])
        await drive.show()
        return drive

    (event,) = asyncio.run(scene()).compactions
    result = len("result " * 50) + len("functions.read:0")
    assert event.tokens_before == 990 + round(result / TOKEN_CHARS)


def test_what_an_endpoint_does_not_count_is_estimated_even_if_it_looks_like_what_it_did() -> None:
    step = Step(("x" * 350,), id="call")
    once = driven(
        Context(policy="discard_all", tokens=1_000), [step, *[replace(step, is_counted=False)] * 20]
    )
    never = driven(
        Context(policy="discard_all", tokens=1_000), [replace(step, is_counted=False)] * 21
    )
    for one, other in zip(once.compactions, never.compactions, strict=True):
        assert abs(one.tokens_before - other.tokens_before) <= 1


def test_a_result_that_is_too_large_for_now_is_hidden_once_another_has_come() -> None:
    drive = driven(Context(policy="hide_tool_results", tokens=100), [Step(("x" * 9_000,)), Step()])
    assert [event is not None for event in drive.told] == [False, False, True]
    assert "9,000 characters hidden" in drive.shown[-1][3].text


def test_a_task_that_is_too_long_is_not_compacted_for_ever() -> None:
    for policy in SHORTENING:
        drive = Drive(Context(policy=policy, tokens=1_000).view(2_000))
        drive.conversation = Conversation([system("Be exact."), user("long " * 3_000)])
        for _ in range(20):
            asyncio.run(drive.step(Step(("x" * 70,))))
        assert drive.shown[-1][1].text == "long " * 3_000
        worth = WORTHWHILE * 1_000 * TOKEN_CHARS
        assert len(drive.compactions) <= 20 * 150 / worth + 1


def test_towards_the_end_of_the_context_any_room_is_worth_making() -> None:
    steps = [Step(("x" * 350,), reasoning="y" * 700)] * 20
    drive = driven(Context(policy="hide_tool_results", tokens=3_000), steps, 4_000)
    assert max(event.tokens_before for event in drive.compactions) >= 3_500
    shown = drive.shown[-1]
    assert sum(HIDDEN in message.text for message in shown) == 19


def test_a_result_shorter_than_what_would_stand_for_it_stays() -> None:
    drive = driven(Context(policy="hide_tool_results", tokens=1), [Step(("yes",)), Step(), Step()])
    assert drive.shown[-1][3].text == "yes"
    assert HIDDEN in drive.shown[-1][5].text


def test_a_picture_is_hidden_with_its_text() -> None:
    drive = Drive(Context(policy="hide_tool_results", tokens=1).view(1_000))
    call = ToolCall("look:0", "look", "{}")
    picture = ImagePart("data:image/png;base64," + "A" * 10**6)
    seen = tool_result(call, [picture], failed=True)
    drive.conversation = drive.conversation.append(assistant(calls=[call]), seen)
    asyncio.run(drive.show())
    assert drive.told == [None], "a picture is not as long as its bytes"
    asyncio.run(drive.step(Step()))
    asyncio.run(drive.show())
    shown = drive.shown[-1][3]
    assert shown.text == '[0 characters and 1 other part hidden; recall(call_id="look:0") reads it]'
    assert (shown.tool_call_id, shown.name, shown.extra) == ("look:0", "look", {"failed": True})


# --- restarting


def test_what_was_said_stays_in_its_order_and_the_work_is_a_note() -> None:
    steps = [Step(), Step(said="mind the dates"), Step(()), Step(), Step(said="be quick")]
    drive = driven(Context(policy="discard_all", tokens=400), steps)
    told = [(message.role, message.text) for message in drive.shown[-1]]
    assert told == [
        ("system", "Be exact."),
        ("user", "Which file is last?"),
        ("user", "mind the dates"),
        ("assistant", "so it is"),
        ("user", "and then?"),
        ("user", NOTE),
        ("user", "be quick"),
    ]


def test_a_summary_is_asked_as_a_continuation_of_what_was_shown() -> None:
    async def scene() -> Drive:
        drive = Drive(Context(policy="summary", tokens=300).view(10_000))
        for _ in range(3):
            await drive.step(Step())
        options = Options(temperature=0.3, response_format=JsonFormat(), prefill="{")
        await drive.show(options, [ToolSpec("read", "Read.", {})])
        return drive

    drive = asyncio.run(scene())
    (asked,) = drive.model.asked
    assert list(asked.conversation) == [*drive.conversation, user(ASK)]
    assert asked.tools == (ToolSpec("read", "Read.", {}),)
    assert asked.options == Options(temperature=0.3, tool_choice="none")
    assert drive.shown[-1] == [*TASK, user(f"{NOTE}{SUMMARY}a summary")]
    assert drive.view.spent.completion == 2


def test_a_summary_goes_into_the_next_one() -> None:
    drive = driven(Context(policy="summary", tokens=300), [Step()] * 12)
    first, second, *_ = (list(asked.conversation) for asked in drive.model.asked)
    assert second[: len(TASK) + 1] == [*TASK, user(f"{NOTE}{SUMMARY}a summary")]
    assert first[: len(TASK)] == second[: len(TASK)]


@pytest.mark.parametrize("text", ["", " \n"])
def test_without_a_summary_the_work_is_set_aside_all_the_same(text: str) -> None:
    async def scene() -> Drive:
        drive = Drive(Context(policy="summary", tokens=300).view(10_000))
        drive.model = ScriptedModel(lambda _: text)
        for _ in range(3):
            await drive.step(Step())
        await drive.show()
        return drive

    assert asyncio.run(scene()).shown[-1] == [*TASK, user(NOTE)]


def test_no_summary_is_asked_of_a_model_that_it_does_not_fit() -> None:
    drive = driven(Context(policy="summary", tokens=300), [Step(("x" * 9_000,))], 2_000)
    assert drive.shown[-1] == [*TASK, user(NOTE)]
    assert drive.model.asked == []


# --- cost


@pytest.mark.parametrize(("policy", "most"), [("none", 1), ("hide_tool_results", 2)])
def test_a_message_is_encoded_once_and_once_more_when_a_compaction_settles_it(
    policy: Any, most: int
) -> None:
    encoded: list[Message] = []

    async def scene() -> Drive:
        drive = Drive(Context(policy=policy, tokens=8_000).view(100_000))
        for _ in range(200):
            await drive.step(Step())
            drive.view.shown.encoded("test", encoded.append)
        return drive

    drive = asyncio.run(scene())
    assert len(encoded) <= most * len(drive.conversation) + 4 * len(drive.compactions)
    assert policy == "none" or len(drive.compactions) > 3


def test_requests_stay_in_the_cache_as_the_measure_asks() -> None:
    measure = runpy.run_path(str(BENCH))["measure"]
    assert measure("none").share == 1.0
    for tokens in (65_000, 75_000, 85_000):
        hiding = measure("hide_tool_results", tokens=tokens)
        assert hiding.share >= 0.98
        assert 3 <= hiding.compactions <= 6
        assert hiding.longest_tokens < 1.1 * tokens


# --- the description


@law
@given(contexts)
def test_a_context_is_rebuilt_from_its_description(context: Context) -> None:
    assert Context(**orjson.loads(orjson.dumps(asdict(context)))) == context


def test_a_context_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'hide'; there are: none, hide_tool_results, discard"):
        Context(policy="hide")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="at least 1 token, not 0"):
        Context(tokens=0)


@pytest.mark.parametrize("policy", ["hide_tool_results", "discard_all", "summary"])
def test_a_model_that_has_no_recall_is_not_told_of_it(policy: Any) -> None:
    context = Context(policy=policy, tokens=60, recall=False)
    drive = driven(context, [Step()] * 4)
    assert drive.view.tools() == ()
    assert any("hidden]" in m.text or "set aside" in m.text for m in drive.shown[-1])
    assert not any("recall" in m.text for m in drive.shown[-1])
