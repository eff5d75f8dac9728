"""Laws of resuming: a run that was cut anywhere ends as if it had not been."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from agent_harness import kinds
from resume_harness import (
    RUN,
    Scenario,
    World,
    put_back,
    records,
    scratch_store,
    unknown,
)
from resume_scenarios import SCENARIOS

from chogori.agent.branch import is_reply
from chogori.agent.journal import Entry, read
from chogori.agent.kept import verify
from chogori.agent.past import is_event
from chogori.agent.replay import replay
from chogori.chat import (
    Answer,
    Event,
    ReplyFinished,
    ReplyRestarted,
    Resumed,
    Waiting,
)
from chogori.store import Record, SqliteStore


@dataclass(frozen=True, slots=True)
class Whole:
    """A run that was never stopped."""

    told: list[Event]
    world: World
    past: list[Entry]
    records: list[Record]


async def whole(scenario: Scenario) -> Whole:
    world = World()
    async with scratch_store() as store:
        verbs, _ = scenario.make(world, store)
        told = await scenario.play(verbs, store)
        return Whole(told, world, await read(store, RUN), await records(store))


def calls(past: Sequence[Entry], type: str) -> Counter[str]:
    """The calls that such records are of, as deeds."""
    made = {
        (entry.branch, entry.fields["turn"]): entry.event()
        for entry in past
        if entry.type == "reply_finished"
    }
    found: Counter[str] = Counter()
    for entry in past:
        if entry.type == type:
            reply = made[entry.branch, entry.place[0]]
            assert isinstance(reply, ReplyFinished)
            call = reply.message.tool_calls[entry.place[1]]
            found[f"{call.name} {value_of(call.arguments)}"] += 1
    return found


def value_of(arguments: str) -> str:
    found = re.search(r'"value": "(.*)"', arguments)
    return found[1] if found else "?"


def story_of(leg: Event, lost: Sequence[str]) -> tuple[Any, ...]:
    """All of a leg's end but its times, and but the results of the calls that are `lost`."""
    assert isinstance(leg, Answer | Waiting)
    told = [it if it.tool_call_id not in lost else it.tool_call_id for it in leg.conversation]
    said = (leg.text, leg.missing, leg.claims, leg.stopped_by) if isinstance(leg, Answer) else ()
    return leg.run_id, leg.steps, told, *(said if not lost else ()), leg.usage if not lost else ()


def numbered(told: Sequence[Event]) -> list[str]:
    """The events that have a number of their own, in words."""
    return [kind for kind in kinds(told) if kind != "Finished"]


def is_told_whole(run: Whole) -> bool:
    """Whether each of its events is told, and comes again when it is asked for: not so where calls
    are given up, and where replies are cut."""
    told = numbered(run.told)
    return len(told) == sum(map(is_event, run.past)) and "ReplyRestarted" not in told


async def check_log(scenario: Scenario, store: SqliteStore, past: Sequence[Entry]) -> None:
    """The log is sound, holds what it held, and can be driven once more."""
    assert (await verify(store, RUN)).problem == ""
    kept = await read(store, RUN)
    assert [entry.type for entry in kept[: len(past)]] == [entry.type for entry in past]
    verbs, model = scenario.make(World(), store)
    shown = await replay(verbs, store, RUN)
    assert shown.is_whole
    assert shown.requests == sum(map(is_reply, kept))
    [end] = [event async for event in verbs.resume(RUN)]
    assert isinstance(end, Answer | Waiting)
    assert not model.asked, "nothing is asked for what has ended"


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_a_run_cut_after_any_record_ends_as_if_it_had_not_been(scenario: Scenario) -> None:
    """Calls that were under way are tried both ways: they had happened, and they had not."""
    before = await whole(scenario)
    start = next(n for n, entry in enumerate(before.past) if entry.type == "run_started") + 1
    async with scratch_store() as store:
        for cut in range(start, len(before.records) + 1):
            past = before.past[:cut]
            ended, begun = calls(past, "tool_finished"), calls(past, "tool_started")
            for done in [ended] if begun == ended else [ended, begun]:
                await put_back(store, before.records[:cut])
                await check(store, scenario, before, cut, before.world.as_of(done))


async def check(
    store: SqliteStore, scenario: Scenario, before: Whole, cut: int, world: World
) -> None:
    past, where = before.past[:cut], f"cut after record {cut - 1}, {before.past[cut - 1].type}"
    open_ = calls(past, "tool_started") - calls(past, "tool_finished")
    verbs, model = scenario.make(world, store)
    told = [event async for event in verbs.resume(RUN)]
    first = told[0]
    told += await scenario.rest(verbs, store, told[-1])
    # It is told from there on, to the same end.
    has_ended = isinstance(first, Answer | Waiting)
    assert has_ended or isinstance(first, Resumed), where
    assert has_ended == (past[-1].type in ("answer", "waiting")), where
    lost = unknown(told)
    if isinstance(first, Resumed):
        assert first.events == sum(map(is_event, past)), where
        if not open_ and is_told_whole(before):
            assert sorted(numbered(told)[1:]) == sorted(numbered(before.told)[first.events :]), (
                where
            )
    assert story_of(told[-1], lost) == story_of(before.told[-1], lost), where
    # Nothing is asked or done again.
    again = sum(isinstance(event, ReplyRestarted) for event in told)
    replies = sum(map(is_reply, (await read(store, RUN))[cut:]))
    assert len(model.asked) - again == replies, where
    assert sum(map(is_reply, past)) + replies == sum(map(is_reply, before.past)), where
    check_deeds(world, before.world, open_, where)
    # What was done again is what nobody could know.
    assert len(lost) == len(set(lost)) <= open_.total(), where
    await check_log(scenario, store, past)


def check_deeds(world: World, before: World, open_: Counter[str], where: str) -> None:
    done, once = Counter(world.deeds), Counter(before.deeds)
    for deed in done | once:
        effect = deed.split()[0]
        if "way" in deed:  # given up once the solutions agreed: it may have happened or not
            assert done[deed] <= 1, (where, deed)
        elif effect in ("send", "charge") and deed in open_:
            assert done[deed] <= once[deed], (where, deed)
        elif effect == "look" and deed in open_:
            assert done[deed] >= 1, (where, deed)
        else:
            assert done[deed] == once[deed], (where, deed)
