"""Laws of the journal: what it says, what it says only in blobs, and that it tells all."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from agent_harness import answered, bare, story, waiting
from resume_harness import RUN, World, bodies, put_back, records, scratch_store
from resume_scenarios import MIXED, SCENARIOS, scenario

from chogori.agent import Agent, ClientTool, kept
from chogori.agent.journal import Journal, read
from chogori.agent.past import is_event
from chogori.agent.replay import replay
from chogori.chat import (
    Answer,
    Delta,
    Event,
    Message,
    ScriptedModel,
    StepStarted,
    ToolCall,
    ToolResult,
    ToolSpec,
    assistant,
    content_of,
    tool,
)
from chogori.chat.event_json import encode
from chogori.chat.scripted import Reply
from chogori.errors import ConfigError, RunChanged, StreamCut
from chogori.store import blobs

STREAMED: tuple[type, ...] = get_args(Delta)
SECRET = "Hortensia"
"""Stands wherever a person, a model or a tool may write."""


@tool(effect="pure")
async def tell(name: str) -> ToolResult:
    """Tell of somebody."""
    if name.endswith("?"):
        raise ValueError(f"{name} is unknown")
    return ToolResult(content_of(f"{name} is well"), extra={"who": name})


async def personal(store: Any) -> None:
    """A run in which everybody speaks of the same person."""
    script: list[Message | Reply | str] = [
        assistant(
            f"I look for {SECRET}.",
            reasoning=f"{SECRET}?",
            calls=[
                ToolCall(f"{SECRET}-1", "tell", json.dumps({"name": SECRET})),
                ToolCall(f"{SECRET}-2", "tell", json.dumps({"name": f"{SECRET}?"})),
                ToolCall(f"{SECRET}-3", f"find_{SECRET}", f"{SECRET} is no JSON"),
            ],
        ),
        assistant(calls=[ToolCall(f"{SECRET}-4", "ask", "{}")]),
        assistant(calls=[ToolCall(f"{SECRET}-5", "charge", json.dumps({"value": SECRET}))]),
        f"{SECRET} is well, 7 times.",
        f"{SECRET} is well.",
        Reply(message=assistant(f"And {SECRET} again."), fault="cut"),
    ]
    client = ClientTool(ToolSpec("ask", "Ask.", {"type": "object"}))
    tools = [tell, *World().tools(), client]
    agent = Agent(ScriptedModel(script), tools, f"Be kind to {SECRET}.", store=store)
    leg: Any = await waiting(agent.stream(f"How is {SECRET}?", run_id=RUN))
    await kept.steer(store, RUN, f"Greet {SECRET}.")
    leg = await waiting(agent.continue_(leg, results={f"{SECRET}-4": f"{SECRET} answers"}))
    await kept.decide(store, RUN, f"{SECRET}-5", yes=False)
    leg = await answered(agent.resume(RUN))
    with pytest.raises(StreamCut):
        await story(agent.continue_(leg, f"And {SECRET}?"))
    await kept.reward(store, RUN, 0.5, SECRET)


async def test_what_anybody_said_is_in_blobs_only() -> None:
    async with scratch_store() as store:
        await personal(store)
        said = await bodies(store)
        assert [body for body in said if SECRET.encode() in body] == []
        whole = b"".join(blob for record in await records(store) for blob in record.blobs)
        assert whole.count(SECRET.encode()) > 20, "but it is all there"
        types = {json.loads(body)["type"] for body in said}
        assert types >= {"steered", "waiting", "leg_started", "stopped", "rewarded", "reply_cut"}


async def test_what_was_said_can_be_deleted_and_the_chain_stays_whole() -> None:
    async with scratch_store() as store:
        await personal(store)
        assert await kept.remove(store, RUN) == [RUN]
        assert (await kept.verify(store, RUN)).problem == ""
        left = await store.read(lambda tx: blobs.contents_of(tx, RUN))
        assert left == {}
        assert {entry.redacted for entry in await read(store, RUN) if entry.type == "answer"} == {
            True
        }


@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_is_kept_is_what_was_told(name: str) -> None:
    """Every event but deltas, in the words of the events themselves."""
    async with scratch_store() as store:
        plain = SCENARIOS[name]
        told = await plain.play(plain.make(World(), store)[0], store)
        found = [item async for item in kept.events(store, RUN)]
        numbers = [item[0] for item in found if isinstance(item, tuple)]
        assert numbers == list(range(len(found)))
        again = [plainly(item[1]) for item in found if isinstance(item, tuple)]
        live = [plainly(event) for event in told if not isinstance(event, STREAMED)]
        assert [event for event in live if event not in again] == []
        assert len(again) >= len(live)


def plainly(event: Event) -> Any:
    """An event as it is kept, without its number."""
    return json.loads(json.dumps(encode(event, 0)))


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_replay_compares_every_request_and_asks_nobody(name: str) -> None:
    async with scratch_store() as store:
        plain = SCENARIOS[name]
        _, model = before = plain.make(World(), store)
        await plain.play(before[0], store)
        again, idle = plain.make(World(), store)
        shown = await replay(again, store, RUN)
        past = await read(store, RUN)
        assert shown.requests == sum(entry.type == "reply_finished" for entry in past)
        assert shown.requests <= len(model.asked)
        assert shown.events == sum(map(is_event, past))
        assert shown.is_whole
        assert idle.asked == []


@pytest.mark.parametrize("name", ["parallel calls", "approvals", "third decides", "summary"])
async def test_a_replay_of_a_run_that_was_cut_does_nothing_either(name: str) -> None:
    plain = SCENARIOS[name]
    async with scratch_store() as store:
        await plain.play(plain.make(World(), store)[0], store)
        past, whole = await read(store, RUN), await records(store)
        for cut in range(1, len(whole)):
            await put_back(store, whole[:cut])
            world = World()
            verbs, model = plain.make(world, store)
            shown = await replay(verbs, store, RUN)
            replies = sum(entry.type == "reply_finished" for entry in past[:cut])
            assert (shown.requests, world.deeds, model.asked) == (replies, [], []), cut
            assert world.asked.total() == 0
            assert len(await read(store, RUN)) == cut


@pytest.mark.parametrize("change", [{"instructions": "Be bad."}, {"tools": ()}])
async def test_a_replay_finds_an_agent_that_would_ask_otherwise(change: dict[str, Any]) -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        await story(verbs.stream("Go.", run_id=RUN))
        assert isinstance(verbs, Agent)
        with pytest.raises(RunChanged, match="the request of record 3 had 2 messages"):
            await replay(replace(verbs, **change), store, RUN)


async def test_a_replay_finds_a_record_that_is_not_what_was_asked() -> None:
    """Somebody who holds the key writes the whole log anew."""
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        await story(verbs.stream("Go.", run_id=RUN))
        forged = [
            replace(record, blobs=tuple(blob.replace(b"saw a", b"saw z") for blob in record.blobs))
            for record in await records(store)
        ]
        await put_back(store, forged)
        assert (await kept.verify(store, RUN)).problem == ""
        with pytest.raises(RunChanged, match="the request of record 7 had 4 messages"):
            await replay(verbs, store, RUN)


async def test_many_wait_for_one_commit_and_each_gets_its_own() -> None:
    async with scratch_store() as store:
        journal = await Journal.begin(store, RUN)

        async def write(number: int) -> None:
            for turn in range(20):
                place = journal.add("noted", {"writer": number, "turn": turn})
                await journal.settle()
                assert len(await read(store, RUN)) > place

        await asyncio.gather(*map(write, range(8)))
        await journal.close()
        past = await read(store, RUN)
        assert len(past) == journal.count == 160
        for number in range(8):
            turns = [e.fields["turn"] for e in past if e.fields["writer"] == number]
            assert turns == list(range(20))


async def test_a_run_that_failed_at_once_is_not_kept() -> None:
    async with scratch_store() as store:
        twice = bare(ScriptedModel(["Hi."]), [tell, tell], store=store)
        with pytest.raises(ConfigError, match="two tools are called 'tell'"):
            await story(twice.stream("Go.", run_id=RUN))
        once = bare(ScriptedModel(["Hi."]), [tell], store=store)
        assert (await answered(once.stream("Go.", run_id=RUN))).text == "Hi."


async def test_a_branch_of_a_later_turn_goes_on_from_there() -> None:
    async with scratch_store() as store:
        plain = SCENARIOS["turns"]
        verbs, _ = plain.make(World(), store)
        told = await plain.play(verbs, store)
        steps = sum(isinstance(event, StepStarted) for event in told)
        fork = await kept.fork(store, RUN, at=steps - 1)
        end = (await story(verbs.resume(fork, "And then?")))[-1]
        assert isinstance(end, Answer)
        assert end.run_id == fork
        assert isinstance(told[-1], Answer)
        assert [m.text for m in end.conversation] == [m.text for m in told[-1].conversation]
