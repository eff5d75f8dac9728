"""Laws of runs that are stopped: by death, by people, by errors, by the clock; and of refusals."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from agent_harness import PATIENCE_SECONDS, SilentModel, answered, bare, calling, story
from hypothesis import given, settings
from hypothesis import strategies as st
from resume_harness import RUN, Clock, Death, DyingStore, World, put_back, records, scratch_store
from resume_scenarios import MIXED, SCENARIOS, scenario

from chogori.agent import DEFAULT_GUARDS, Agent, Budget
from chogori.agent.branch import is_reply
from chogori.agent.journal import Journal, read
from chogori.agent.kept import remove, verify
from chogori.agent.replay import replay
from chogori.agent.verbs import Verbs
from chogori.chat import (
    Answer,
    Event,
    Message,
    ReplyFinished,
    Resumed,
    ScriptedModel,
    StepStarted,
    ToolFinished,
)
from chogori.chat.scripted import Reply
from chogori.errors import (
    ChogoriError,
    ConfigError,
    LeaseHeld,
    RunChanged,
    RunDamaged,
    RunNotFound,
    StoreError,
    StreamCut,
)
from chogori.store import SqliteStore, Store

# Death

EFFECTS = st.sampled_from(["look", "put", "edit", "send"])
STEPS = st.lists(st.lists(EFFECTS, min_size=1, max_size=4), min_size=1, max_size=5)
DEATHS = st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=6)


def script_of(steps: Sequence[Sequence[str]]) -> list[Message | str]:
    """A call of each effect; no two are alike."""
    made: list[Message | str] = []
    for number, effects in enumerate(steps):
        calls = [(effect, f'{{"value": "{number}.{n}"}}') for n, effect in enumerate(effects)]
        made.append(calling(*calls, reasoning=f"Step {number}.", first=10 * number))
    return [*made, "Done."]


async def go_on(verbs: Verbs, store: Store) -> list[Event]:
    """Begin the run, or resume it if it has begun."""
    try:
        await read(store, RUN)
    except RunNotFound:
        return await story(verbs.stream("Go.", run_id=RUN))
    return await story(verbs.resume(RUN))


@settings(max_examples=60)
@given(STEPS, DEATHS)
def test_a_run_that_dies_again_and_again_ends_as_if_it_had_not(
    steps: list[list[str]], deaths: list[tuple[int, bool]]
) -> None:
    async def play() -> None:
        plain, world, clock = scenario(script_of(steps)), World(), Clock()
        async with scratch_store(clock) as store:
            for groups, late in deaths:
                dying = DyingStore(store, groups, late=late)
                try:
                    await go_on(plain.make(world, dying)[0], dying)
                except Death:
                    clock.now += 60  # its lease has run out
                    await store.write(lambda tx: None)  # what it wrote late is written
            told = await go_on(plain.make(world, store)[0], store)
            end = told[-1]
            assert isinstance(end, Answer)
            assert (end.text, end.steps) == ("Done.", len(steps) + 1)
            await check_world(store, world, steps)

    asyncio.run(play())


async def check_world(store: SqliteStore, world: World, steps: list[list[str]]) -> None:
    past = await read(store, RUN)
    turns = [entry.fields["turn"] for entry in past if is_reply(entry)]
    assert turns == list(range(1, len(steps) + 2)), "no reply is asked for twice, once recorded"
    lost = {e.place for e in past if e.type == "tool_finished" and "unknown" in e.fields["extra"]}
    done = Counter(world.deeds)
    for number, effects in enumerate(steps):
        for n, effect in enumerate(effects):
            times = done[f"{effect} {number}.{n}"]
            if effect == "look":
                assert times >= 1
            elif effect == "send":
                assert times == 1 or (times == 0 and (number + 1, n) in lost)
            else:
                assert times == 1
            assert effect == "send" or (number + 1, n) not in lost
    assert (await verify(store, RUN)).problem == ""


# People and errors


async def stop(verbs: Verbs, number: int, how: str) -> None:
    """Begin a run, and stop it at its event of that number."""
    async with aclosing(verbs.stream("How many of the 100?", run_id=RUN)) as events:
        async for _ in events:
            number -= 1
            if number == 0 and how == "left":
                return
            if number == 0:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()


def given_up(told: Sequence[Event]) -> Counter[str]:
    """The deeds of the calls that did not end: those beside a call that decided a solution. Whether
    they were begun before it ended is up to the clock."""
    called = [
        c for event in told if isinstance(event, ReplyFinished) for c in event.message.tool_calls
    ]
    for event in told:
        if isinstance(event, ToolFinished):
            called.remove(event.call)
    return Counter(f"{call.name} {json.loads(call.arguments)['value']}" for call in called)


@pytest.mark.parametrize("name", ["mixed effects", "parallel calls", "a loop", "third decides"])
@pytest.mark.parametrize("how", ["left", "cancelled"])
async def test_a_run_that_is_stopped_at_any_event_goes_on_from_there(name: str, how: str) -> None:
    plain, whole = SCENARIOS[name], World()
    async with scratch_store() as store:
        told = await story(plain.make(whole, store)[0].stream("How many of the 100?", run_id=RUN))
    assert isinstance(told[-1], Answer)
    most = Counter(whole.deeds) | given_up(told)
    for number in range(2, len(told), 3):
        async with scratch_store() as store:
            world = World()
            first = asyncio.create_task(stop(plain.make(world, store)[0], number, how))
            await asyncio.gather(first, return_exceptions=True)
            again = await story(plain.make(world, store)[0].resume(RUN))
            end = again[-1]
            assert isinstance(end, Answer)
            assert (end.steps, end.stopped_by) == (told[-1].steps, told[-1].stopped_by)
            for deed, times in (Counter(world.deeds) - most).items():
                assert deed.startswith("look"), (number, deed, times)
            assert (await verify(store, RUN)).problem == ""


async def test_a_model_that_failed_is_asked_again() -> None:
    failing = MIXED[2]
    assert isinstance(failing, Message)
    broken = [*MIXED[:2], Reply(message=failing, fault="cut"), *MIXED[3:]]
    world = World()
    async with scratch_store() as store:
        with pytest.raises(StreamCut):
            await story(scenario(broken).make(world, store)[0].stream("Go.", run_id=RUN))
        verbs, model = scenario(MIXED).make(world, store)
        told = await story(verbs.resume(RUN))
        assert isinstance(told[0], Resumed)
        assert told[0].step == 3
        assert len(model.asked) == 3
        assert world.deeds == ["look a", "put b", "edit c", "send d"]


async def test_a_reply_that_was_cut_by_time_stays_cut() -> None:
    """However short the log is cut after it: the time of a run goes on when the run does."""

    def agent(store: Store) -> tuple[Agent, SilentModel]:
        model = SilentModel(model=ScriptedModel(["Too late."]))
        return bare(model, store=store, budget=Budget(seconds=0.05)), model

    async with scratch_store() as store:
        verbs, _ = agent(store)
        whole = await answered(verbs.stream("Go.", run_id=RUN))
        past, kept = await read(store, RUN), await records(store)
    assert (whole.text, whole.missing) == ("Too late.", "seconds")
    cut = next(n for n, entry in enumerate(past) if entry.type == "reply_cut") + 1
    assert "so" in past[cut - 1].fields["text"]
    for count in range(cut, len(kept)):
        async with scratch_store() as store:
            await put_back(store, kept[:count])
            verbs, model = agent(store)
            model.asked = 1
            end = await answered(verbs.resume(RUN))
            assert (end.text, end.missing, end.steps) == ("Too late.", "seconds", whole.steps)


async def test_time_in_which_nobody_drives_a_run_is_not_its_own() -> None:
    async with scratch_store() as store:
        agent = scenario(MIXED, budget=Budget(seconds=1000)).make(World(), store)[0]
        await stop(agent, 20, "left")
        past = await read(store, RUN)
        last = [time for entry in past for time in entry.fields.get("clock", ())][-1]
        told = await story(agent.resume(RUN))
        first = next(event for event in told if isinstance(event, StepStarted))
        spent = 1000 - first.budget["seconds"]
        assert 0 < spent < PATIENCE_SECONDS
        assert last > 0


# Refusals


async def refused(events: Any, error: type[ChogoriError], store: SqliteStore) -> str:
    """What the refusal says; nothing has changed."""
    before = await everything(store)
    with pytest.raises(error) as raised:
        await story(events)
    assert await everything(store) == before
    assert "\n" not in str(raised.value)
    return str(raised.value)


async def everything(store: SqliteStore) -> list[Any]:
    tables = ("logs", "entries", "blobs", "messages", "leases")
    return await store.read(lambda tx: [tx.execute(f"select * from {table}") for table in tables])


async def test_a_run_that_is_not_kept_is_not_resumed() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        said = await refused(verbs.resume("run-2"), RunNotFound, store)
        assert "'run-2'" in said
        assert "chogori runs list" in said
    with pytest.raises(ConfigError, match="give it a store"):
        await story(bare(ScriptedModel(["Hi."])).resume(RUN))


async def test_a_run_id_that_is_taken_is_refused() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        await stop(verbs, 10, "left")
        said = await refused(verbs.stream("Again.", run_id=RUN), ConfigError, store)
        assert f"there is a run {RUN} already" in said


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "instructions": ({"instructions": "Be bad."}, "the instructions changed"),
    "a tool": ({"tools": World().tools()[1:]}, "the tool 'look' has gone; the tool 'fetch' has"),
    "a model": ({"model": "other"}, "the model was '' and is 'other'"),
    "guards": ({"guards": DEFAULT_GUARDS}, "the guards changed"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
async def test_an_agent_that_has_changed_is_refused_and_says_in_what(
    change: dict[str, Any], said: str
) -> None:
    async with scratch_store() as store:
        verbs, model = scenario(MIXED).make(World(), store)
        await stop(verbs, 12, "left")
        assert isinstance(verbs, Agent)
        if "model" in change:
            change = {"model": ScriptedModel(MIXED, profile=replace(model.profile, spec="other"))}
        other = replace(verbs, **change)
        told = await refused(other.resume(RUN), RunChanged, store)
        assert said in told
        assert "--accept-changes" in told
        end = (await story(other.resume(RUN, accept_changes=True)))[-1]
        assert isinstance(end, Answer)
        assert end.text == "All done."
        again = await answered(other.resume(RUN))
        assert again.text == end.text, "what was accepted once is not asked about again"
        assert said.partition(" ")[0] in await refused(verbs.resume(RUN), RunChanged, store)
        with pytest.raises(RunChanged, match="although its agent had changed"):
            await replay(other, store, RUN)


async def test_more_budget_is_no_change() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        await stop(verbs, 12, "left")
        assert isinstance(verbs, Agent)
        more = replace(verbs, budget=Budget(steps=400))
        assert (await answered(more.resume(RUN, accept_changes=True))).text == "All done."


async def test_a_run_that_somebody_drives_is_refused() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        async with aclosing(verbs.stream("Go.", run_id=RUN)) as events:
            while not isinstance(await anext(events), ToolFinished):
                pass
            await asyncio.sleep(0)  # what its driver has to write of that
            await store.write(lambda tx: None)
            said = await refused(verbs.resume(RUN), LeaseHeld, store)
            assert "is driven by process" in said
        assert (await answered(verbs.resume(RUN))).text == "All done."


@pytest.mark.parametrize(
    "statement",
    [
        "update entries set body = replace(body, '\"turn\":1', '\"turn\":2') where sequence = 2",
        "update blobs set content = x'7b7d' where rowid = 2",
        "delete from entries where sequence = 4",
        "delete from entries where sequence > 5",
    ],
)
async def test_a_journal_that_was_tampered_with_is_refused(statement: str) -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        await stop(verbs, 14, "left")
        await store.write(lambda tx: tx.execute(statement))
        assert "was changed" in await refused(verbs.resume(RUN), RunDamaged, store)
        with pytest.raises(RunDamaged, match="was changed"):
            await replay(verbs, store, RUN)


async def test_a_run_whose_words_were_deleted_is_refused() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        await stop(verbs, 14, "left")
        await remove(store, RUN)
        assert "redacted" in await refused(verbs.resume(RUN), RunDamaged, store)


async def test_a_run_whose_first_record_was_lost_never_was() -> None:
    async with scratch_store() as store:
        dying = DyingStore(store, 0)
        with pytest.raises(Death):
            await story(scenario(MIXED).make(World(), dying)[0].stream("Go.", run_id=RUN))
        verbs, _ = scenario(MIXED).make(World(), store)
        await refused(verbs.resume(RUN), RunNotFound, store)


async def test_records_that_follow_lost_ones_are_lost_too() -> None:
    """A disk that was full for a moment must leave no hole in a journal."""
    async with scratch_store() as store:
        flaky = DyingStore(store, 1)
        journal = await Journal.begin(flaky, RUN)
        journal.add("noted", {"n": 0})
        await journal.settle()
        journal.add("noted", {"n": 1})
        with pytest.raises(Death):
            await journal.settle()
        flaky.heal()
        journal.add("noted", {"n": 2})
        with pytest.raises(Death):  # what happened first, though another was asked to write
            await journal.settle()
        with pytest.raises(StoreError):
            await journal.close()
        assert [entry.fields["n"] for entry in await read(store, RUN)] == [0]
        await (await Journal.reopen(store, RUN)).close()
