"""People in the middle of a swarm: all is paused, one subagent is told something, all go on."""

from __future__ import annotations

import asyncio

import pytest
from swarm_harness import (
    RUN,
    answered,
    assign,
    create,
    journals,
    results,
    scratch_store,
    scripted,
    swarm,
    works,
)

from chogori.agent import Budget, kept
from chogori.apps.swarming import lines_of, pause_all
from chogori.chat import Message, tool
from chogori.presets import rebuild
from chogori.swarm.crew import LOOK_SECONDS, Halted
from chogori.swarm.record import tree


async def test_all_are_paused_and_one_goes_on_with_new_instructions() -> None:
    begun, going = asyncio.Semaphore(0), asyncio.Event()
    deeds: list[str] = []

    @tool(effect="once", approval=False)
    async def look(key: str) -> str:
        """Look."""
        begun.release()
        await going.wait()
        deeds.append(key)
        return key

    works_twice = works(lambda _: 2)

    def worker(task: str, at: int) -> Message | str:
        return works_twice(task, at)

    tasks = ["a", "b", "c"]
    model = scripted([[create()], [assign(task) for task in tasks]], worker)
    async with scratch_store() as store:
        whole = swarm(model, [look], store=store)
        running = asyncio.create_task(answered(whole.stream("Go.", run_id=RUN)))
        for _ in tasks:
            await begun.acquire()
        assert await pause_all(store, RUN) == 3
        going.set()
        with pytest.raises(Halted, match=f"chogori runs resume {RUN}"):
            await running
        assert len(deeds) == 3, "each ended its step, and began no other"
        node = await tree(store, RUN)
        assert {each.state for each in node.below} == {"waiting"}
        told = next(each.run_id for each in node.below if each.task == "b")
        await kept.steer(store, told, "only the north")
        answer = await answered(whole.resume(RUN))
        assert results(answer) == ["did a", "did b", "did c"]
        assert sorted(deeds) == sorted(f"{task}/{at}" for task in tasks for at in (0, 1))
        heard = {
            run for run, records in (await journals(store)).items()
            if any(record.type == "steered" for record in records)
        }  # fmt: skip
        assert heard == {told}
        listed = await lines_of(store, RUN)
    assert "critical steps 6" in listed[-1]
    assert len(listed) == 2 + len(tasks)


async def test_a_task_that_waits_for_its_turn_does_not_begin_once_all_are_paused() -> None:
    begun, going = asyncio.Semaphore(0), asyncio.Event()
    deeds: list[str] = []

    @tool(effect="once", approval=False)
    async def look(key: str) -> str:
        """Look."""
        deeds.append(key)
        begun.release()
        await going.wait()
        return key

    tasks = ["a", "b", "c"]
    model = scripted([[create()], [assign(task) for task in tasks]], works(lambda _: 1))
    async with scratch_store() as store:
        whole = swarm(model, [look], store=store, width=1)
        running = asyncio.create_task(answered(whole.stream("Go.", run_id=RUN)))
        await begun.acquire()
        await asyncio.sleep(LOOK_SECONDS)
        await kept.pause(store, RUN)  # as if the subagent were in its last step
        going.set()
        with pytest.raises(Halted):
            await running
        assert deeds == ["a/0"]
        assert [node.state for node in (await tree(store, RUN)).below] == ["answered"]
        answer = await answered(whole.resume(RUN))
    assert results(answer) == ["did a", "did b", "did c"]
    assert deeds == ["a/0", "b/0", "c/0"]


async def test_a_swarm_is_made_again_from_its_description_and_goes_on(tmp_path: object) -> None:
    stages = [[create()], [assign("a"), assign("b")]]
    model = scripted(stages, works(lambda _: 0))
    async with scratch_store() as store:
        whole = swarm(model, store=store)
        events = whole.stream("Go.", run_id=RUN)
        async for event in events:
            if type(event).__name__ == "ToolStarted":
                break
        await events.aclose()
        began = await kept.began(store, RUN)
        folder = tmp_path  # no tool of this swarm writes anything
        async with rebuild(began.agent, model, store=store, runs=folder) as again:  # pyright: ignore[reportArgumentType]
            answer = await answered(again.resume(RUN))
    assert results(answer) == ["did a", "did b"]


async def test_the_time_of_a_swarm_goes_on_when_it_does() -> None:
    begun, going, spent = asyncio.Semaphore(0), asyncio.Event(), 1.2

    @tool(effect="pure")
    async def look(key: str) -> str:
        """Look."""
        begun.release()
        await going.wait()
        await asyncio.sleep(spent)
        return key

    tasks = ["a", "b"]
    model = scripted([[create()], [assign(task) for task in tasks]], works(lambda _: 2))
    async with scratch_store() as store:
        whole = swarm(model, [look], store=store, budget=Budget(seconds=1_000))
        running = asyncio.create_task(answered(whole.stream("Go.", run_id=RUN)))
        for _ in tasks:
            await begun.acquire()
        await pause_all(store, RUN)
        going.set()
        with pytest.raises(Halted):
            await running
        report = (await answered(whole.resume(RUN))).report
    assert report is not None
    assert report["seconds"] > 2 * spent, "that of both sittings"
