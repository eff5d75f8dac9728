"""Subagents on Ray: what travels, who waits for whom, and a node that is lost."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import cloudpickle

from chogori import Agent, tool
from chogori.agent import Budget
from chogori.chat import (
    Conversation,
    FixedLimiter,
    LearningLimiter,
    Message,
    Reply,
    ReplyFinished,
    ScriptedModel,
    ToolCall,
    Usage,
    assistant,
)
from chogori.errors import ChogoriError, LeaseHeld, StoreError, StreamCut
from chogori.service import Limits
from chogori.store import Record, Transaction, logs, open_store
from chogori.swarm.ray.endpoints import LimitersActor, SharedLimiter
from chogori.swarm.ray.journal import JournalActor, RemoteStore
from chogori.swarm.ray.slots import Slots
from chogori.swarm.ray.worker import Account
from served import served

PROGRAM = Path(__file__).parents[2] / "bench" / "swarm" / "ray_node.py"


def copied_by_ray(value: Any) -> Any:
    """As it comes out at the other end."""
    pickles: Any = cloudpickle
    return pickles.loads(pickles.dumps(value))


class Handle:
    """A handle of an actor that is in this process; what goes to it and comes back is pickled."""

    def __init__(self, actor: object) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        return Method(getattr(self._actor, name))


class Method:
    def __init__(self, method: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self._method = method

    async def remote(self, *arguments: Any) -> Any:
        copied = copied_by_ray(arguments)
        await asyncio.sleep(0)
        return copied_by_ray(await self._method(*copied))


@tool(effect="pure")
async def look(key: str) -> str:
    """Look up a key."""
    return f"{key} is there"


async def test_a_run_through_the_actor_is_kept_as_one_beside_the_store(tmp_path: Path) -> None:
    calls = [Reply(message=assistant(calls=[ToolCall(f"c{n}", "look", '{"key": "a"}')]))
             for n in range(3)]  # fmt: skip
    model = ScriptedModel([*calls, "done"])
    told: list[list[str]] = []
    actor = JournalActor(str(tmp_path / "far"))
    async with open_store(tmp_path / "near") as near:
        for store in (near, RemoteStore(Handle(actor))):
            agent = Agent(model, tools=[look], store=store)
            assert (await agent.run("go", run_id="r")).text == "done"
            with pytest.raises(ChogoriError, match="there is a run r already"):
                await agent.run("go", run_id="r")
            again = [event async for event in agent.resume("r")]
            assert len(again) == 1, "it has ended, and its end is all that is told"
            kept = await store.read(lambda tx: logs.entries(tx, "r"))
            told.append([json.loads(entry.body)["type"] for entry in kept])
    await (await actor._store()).aclose()
    assert told[0] == told[1]


@settings(max_examples=15)
@given(st.lists(st.booleans(), max_size=30))
def test_works_are_done_in_order_and_one_that_fails_fails_alone(
    tmp_path_factory: pytest.TempPathFactory, fail: list[bool]
) -> None:
    def work_of(number: int, *, fails: bool) -> Callable[[Transaction], int]:
        def work(tx: Transaction) -> int:
            sequence = logs.append(tx, "log", [Record(b"%d" % number)]).sequence
            if fails:
                raise LeaseHeld("held", owner="somebody", until=1.5)
            return sequence

        return work

    async def check() -> None:
        actor = JournalActor(str(tmp_path_factory.mktemp("store")))
        store = RemoteStore(Handle(actor))
        await store.write(lambda tx: logs.create(tx, "log", "test"))
        works = [store.submit(work_of(n, fails=fails)) for n, fails in enumerate(fail)]
        done = await asyncio.gather(*works, return_exceptions=True)
        bodies = [e.body for e in await store.read(lambda tx: logs.entries(tx, "log"))]
        kept = [n for n, fails in enumerate(fail) if not fails]
        assert bodies == [b"%d" % n for n in kept]
        assert [it for it in done if isinstance(it, int)] == list(range(len(kept)))
        for error in (it for it in done if isinstance(it, LeaseHeld)):
            assert (error.owner, error.until) == ("somebody", 1.5)
        await (await actor._store()).aclose()

    asyncio.run(check())


async def test_whoever_loses_the_journal_is_told_and_waits_no_longer() -> None:
    class Dead:
        async def write(self, *arguments: Any) -> None:
            raise ConnectionError("the actor died")

        read = write

    store = RemoteStore(Handle(Dead()))
    with pytest.raises(StoreError, match="resume goes on from there"):
        await store.write(lambda tx: None)
    with pytest.raises(StoreError, match="resume goes on from there"):
        await store.read(lambda tx: None)


async def test_a_subagent_waits_until_what_it_asked_for_is_accounted_for(tmp_path: Path) -> None:
    actor = JournalActor(str(tmp_path))
    await actor.begin("r")
    waiting = asyncio.create_task(actor.allowed("r", 3))
    await actor.allow("r", 2, {"calls": 1})
    await asyncio.sleep(0)
    assert not waiting.done()
    await actor.allow("r", 3, {"calls": 2})
    assert await waiting == {"calls": 2}
    await actor.begin("r")
    later = asyncio.create_task(actor.allowed("r", 1))
    await asyncio.sleep(0)
    assert not later.done(), "what was said to the one before does not hold"
    later.cancel()


async def test_replies_that_are_recorded_are_allowed_their_calls_and_new_ones_are_asked_for() -> (
    None
):
    class Miser:
        async def allowed(self, run_id: str, told: int) -> dict[str, Any]:
            return {"calls": 3}

    def reply(calls: int) -> ReplyFinished:
        made = [ToolCall(f"c{n}", "look", "{}") for n in range(calls)]
        return ReplyFinished(assistant(calls=made), Usage(), 0.0, 0.0, 0.0)

    account = Account("r", Handle(Miser()), Budget(calls=1))
    told: list[tuple[bytes, bool]] = []
    account.note(reply(3))
    assert account.limits().calls == 3
    new = reply(2)
    account.note(new)
    await account.tell(new, told.append)
    assert [is_news for _, is_news in told] == [False, True]
    assert account.limits().calls == 3, "three of the five calls are allowed"


@pytest.mark.parametrize(
    "error",
    [
        LeaseHeld("held", owner="o", until=2.0),
        StreamCut("cut", url="u", status=500),
        ChogoriError("plain"),
    ],
)
def test_an_error_is_the_same_in_another_process(error: ChogoriError) -> None:
    copied = copied_by_ray(error)
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


_steps = st.tuples(st.sampled_from(["take", "give back", "wait"]), st.integers(0, 5))


@given(st.lists(_steps, max_size=60), st.integers(1, 3))
def test_no_more_hold_slots_than_there_are_and_the_dead_hold_none(
    steps: list[tuple[str, int]], slots: int
) -> None:
    now, until = 0.0, dict[str, float]()
    engine = Slots(lambda: now)
    for step, number in steps:
        holder = f"h{number}"
        if step == "wait":
            now += number
        elif step == "give back":
            engine.give_back(holder)
            until.pop(holder, None)
        elif engine.take(holder, slots, 10.0):
            until[holder] = now + 10.0
        assert sum(end > now for end in until.values()) <= slots
    now += 11
    for number in range(6):
        engine.give_back(f"h{number}")
    assert engine.take("new", slots, 10.0), "who died, or gave up waiting, holds up nobody"


def test_slots_go_round_in_the_order_in_which_they_were_asked_for() -> None:
    engine = Slots(lambda: 0.0)
    assert engine.take("a", 1, 9)
    assert not engine.take("b", 1, 9)
    assert not engine.take("c", 1, 9)
    assert engine.take("a", 1, 9), "whoever holds one may hold it longer"
    engine.give_back("a")
    assert not engine.take("c", 1, 9)
    assert engine.take("b", 1, 9)


class Endpoint:
    """Takes two at once; its limiter is told so by refusals."""

    def __init__(self) -> None:
        self.inside = self.most = self.asked = self.refused = 0

    async def ask(self, limiter: SharedLimiter) -> None:
        while True:
            async with limiter.slot():
                self.asked += 1
                self.inside += 1
                self.most = max(self.most, self.inside)
                is_refused = self.inside > 2
                await asyncio.sleep(0)
                self.inside -= 1
                if not is_refused:
                    limiter.answered(0.01)
                    return
            self.refused += 1
            limiter.refused(429, None)


async def test_tasks_that_ask_one_endpoint_learn_together_what_it_takes() -> None:
    now = 0.0
    actor = LimitersActor(lambda: LearningLimiter(clock=lambda: now))
    endpoint, handle = Endpoint(), Handle(actor)
    tasks = [SharedLimiter("http://m/v1", handle, f"run-{number}") for number in range(9)]
    asking = [asyncio.create_task(endpoint.ask(each)) for each in tasks]
    for _ in range(100):
        now += 0.5
        await asyncio.sleep(0.001)
    await asyncio.gather(*asking)
    before = endpoint.asked
    endpoint.most = 0
    later = [asyncio.create_task(endpoint.ask(each)) for each in tasks]
    for _ in range(100):
        await asyncio.sleep(0.001)
    await asyncio.gather(*later)
    assert endpoint.most <= 3, "what one was told all know"
    assert endpoint.asked - before < 2 * len(tasks)


async def test_who_dies_in_the_line_or_in_its_turn_holds_up_nobody() -> None:
    actor = LimitersActor(lambda: FixedLimiter(1))
    await actor.enter("http://m/v1", "dies", "", 0.05)
    waits = asyncio.create_task(actor.enter("http://m/v1", "leaves", "", 60))
    last = asyncio.create_task(actor.enter("http://m/v1", "last", "", 60))
    await asyncio.sleep(0)
    await actor.leave("leaves")
    async with asyncio.timeout(30):
        await asyncio.gather(waits, last)
    await actor.leave("last")
    async with asyncio.timeout(30):
        await actor.enter("http://m/v1", "next", "", 60)


async def test_a_turn_that_is_renewed_goes_on() -> None:
    actor = LimitersActor(lambda: FixedLimiter(1))
    await actor.enter("http://m/v1", "first", "", 0.2)
    second = asyncio.create_task(actor.enter("http://m/v1", "second", "", 60))
    for _ in range(8):
        await asyncio.sleep(0.05)
        await actor.renew("first", 0.2)
    assert not second.done()
    await actor.leave("first")
    await second


def test_subagents_on_ray_ask_an_endpoint_that_wants_a_key_and_takes_two_at_once(
    tmp_path: Path,
) -> None:
    def says(conversation: Conversation) -> Message | str:
        at = sum(message.role == "assistant" for message in conversation)
        arguments = json.dumps({"key": f"k{at}"})
        return assistant(calls=[ToolCall(f"c{at}", "look", arguments)]) if at < 2 else "done"

    limits = Limits(concurrent_requests=2)
    with served({"m": ScriptedModel(says)}, tmp_path, limits=limits) as server:
        spec = f"{server.base_url}#m"
        command = [sys.executable, str(PROGRAM), "--agents=5", "--calls=2", "--model", spec]
        environ = {**os.environ, "CHOGORI_BENCH_KEY": server.key}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environ)
        assert done.returncode == 0, done.stderr[-4000:]
        told = json.loads(done.stdout.splitlines()[-1])
        assert (told["answered"], told["calls"], told["repeated"]) == (5, 10, 0)
        assert server.query("select count(*) from usage") == [(15,)]


def test_a_node_that_is_killed_loses_nothing_that_was_finished() -> None:
    """Two nodes of a real Ray, and the second is killed while its subagents are at work."""
    command = [sys.executable, str(PROGRAM), "--agents=6", "--calls=6", "--kill"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["answered"] == told["agents"] == 6
    assert (told["nodes"], told["calls"], told["keys"]) == (2, 36, 36)
    assert told["moved"] >= 1, "subagents of the lost node went on elsewhere"
    assert told["repeated"] <= told["moved"], "of each, the call under way at most"
