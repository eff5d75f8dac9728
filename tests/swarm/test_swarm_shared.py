"""What subagents share: results of pure calls, and a folder that they append to."""

from __future__ import annotations

import asyncio

import pytest
from swarm_harness import (
    RUN,
    World,
    answered,
    assign,
    call,
    create,
    is_orchestrator,
    journals,
    results,
    scratch_store,
    scripted,
    swarm,
    task_of,
    works,
)

from chogori.agent.kept import calls as calls_of
from chogori.chat import Message, ToolContext, ToolError, assistant, text_of, tool
from chogori.swarm.folder import Folder
from chogori.swarm.shared import Results


def context(run_id: str = "r", key: str = "k") -> ToolContext:
    return ToolContext(run_id, call("share", "1"), key)


def reads_the_same(task: str, at: int) -> Message | str:
    names = {0: "page", 1: "page", 2: "/out/own"}
    if at in names:
        return assistant(calls=[call("look", f"c{at}", key=names[at])])
    return f"did {task}"


async def test_the_same_page_is_read_once_and_each_journal_says_from_whom_it_came() -> None:
    world = World()
    stages = [[create()], [assign("a"), assign("b"), assign("c")], [assign("d")]]
    async with scratch_store() as store:
        whole = swarm(scripted(stages, reads_the_same), world.tools(), store=store)
        answer = await answered(whole.stream("Go.", run_id=RUN))
        runs = [run for run in await journals(store) if run != RUN]
        told = [finished for run in runs for _, finished in await calls_of(store, run)]
    assert results(answer) == [f"did {task}" for task in "abcd"]
    assert world.deeds.count("page") == 1
    assert world.deeds.count("/out/own") == 4, "a run's own folder is its own"
    [first] = {it.extra["shared_from"] for it in told if "shared_from" in it.extra}
    assert first in runs
    assert sum("shared_from" in it.extra for it in told) == 7


async def test_calls_under_way_are_joined_and_one_that_fails_is_made_by_who_joined() -> None:
    tries = 0
    going = asyncio.Event()

    @tool(effect="pure")
    async def read(key: str) -> str:
        """Read."""
        nonlocal tries
        tries += 1
        await going.wait()
        if key == "bad" and tries == 1:
            raise ToolError("not now")
        return key

    shared = Results()
    [joined] = shared.share([read])
    made = [asyncio.create_task(joined.call('{"key": "bad"}', context())) for _ in range(3)]
    await asyncio.sleep(0)
    assert tries == 1
    going.set()
    told = await asyncio.gather(*made, return_exceptions=True)
    assert isinstance(told[0], ToolError)
    assert tries == 2, "one of those who joined made it, and the third joined that one"
    assert shared.saved == 1


async def test_a_result_that_lies_in_a_runs_own_folder_is_nobody_elses() -> None:
    at_work = most = 0
    going = asyncio.Event()

    @tool(effect="pure")
    async def grep(key: str, context: ToolContext) -> str:
        """Search."""
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await going.wait()
        await asyncio.sleep(0)
        at_work -= 1
        return f"too long: the rest is in /out/results/{context.run_id}.txt"

    shared = Results()
    [joined] = shared.share([grep])
    runs = [f"r{number}" for number in range(9)]
    made = [asyncio.create_task(joined.call('{"key": "a"}', context(run))) for run in runs]
    await asyncio.sleep(0)
    going.set()
    told = [text_of(result.content) for result in await asyncio.gather(*made)]
    assert told == [f"too long: the rest is in /out/results/{run}.txt" for run in runs]
    assert shared.saved == 0
    assert most == len(runs) - 1, "once it is known, nobody waits for another"


async def test_whoever_joined_is_not_cancelled_with_whoever_made_the_call() -> None:
    going = asyncio.Event()

    @tool(effect="pure")
    async def read(key: str) -> str:
        """Read."""
        await going.wait()
        return key

    [joined] = Results().share([read])
    first = asyncio.create_task(joined.call('{"key": "a"}', context()))
    second = asyncio.create_task(joined.call('{"key": "a"}', context()))
    await asyncio.sleep(0)
    first.cancel()
    going.set()
    assert (await second).content[0].text == "a"  # pyright: ignore[reportAttributeAccessIssue]


async def test_what_was_read_before_a_change_is_read_again_after_it() -> None:
    world = World()
    look, act = Results().share(world.tools())
    for _ in range(2):
        await look.call('{"key": "a"}', context())
    await act.call('{"key": "b"}', context())
    await look.call('{"key": "a"}', context())
    assert world.deeds == ["a", "b", "a"]


async def test_a_swarm_that_goes_on_knows_what_its_journals_hold() -> None:
    world, again = World(), World()
    stages = [[create()], [assign("a")], [assign("b")]]
    async with scratch_store() as store:
        whole = swarm(scripted(stages, reads_the_same), world.tools(), store=store)
        events = whole.stream("Go.", run_id=RUN)
        async for event in events:
            if type(event).__name__ == "StepStarted" and event.number == 3:  # pyright: ignore[reportAttributeAccessIssue]
                break
        await events.aclose()
        later = swarm(scripted(stages, reads_the_same), again.tools(), store=store)
        answer = await answered(later.resume(RUN))
    assert results(answer) == ["did a", "did b"]
    assert "page" in world.deeds
    assert again.deeds == ["/out/own"], "the page was read before"


@pytest.mark.parametrize("is_kept", [True, False])
async def test_the_folder_holds_what_each_has_shared_and_says_who(is_kept: bool) -> None:
    async with scratch_store() as store:
        folder = Folder(store if is_kept else None, RUN, lambda: 0.0)
        share, read = folder.tools("reader")
        await share.call('{"file": "prices", "text": "rice 3"}', context("r1", "k1"))
        await share.call('{"file": "prices", "text": "rice 3"}', context("r1", "k1"))
        await folder.tools("coder")[0].call(
            '{"file": "prices", "text": "tea 4"}', context("r2", "k2")
        )
        assert await folder.read("prices") == (
            "[reader, run r1, 00:00:00 UTC]\nrice 3\n\n[coder, run r2, 00:00:00 UTC]\ntea 4"
        )
        told = await read.call("{}", context())
        assert told.content[0].text == "prices: 2 entries"  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(ToolError, match="there is no 'x'; there are: prices"):
            await read.call('{"file": "x"}', context())
        if is_kept:
            assert len(await Folder(store, RUN).entries()) == 2, "it outlives whoever made it"


async def test_subagents_are_given_the_folder_where_the_swarm_has_one() -> None:
    def worker(task: str, at: int) -> Message | str:
        if at == 0 and task == "write":
            return assistant(calls=[call("share", "s", file="notes", text="seen it")])
        if at == 0:
            return assistant(calls=[call("read_shared", "r", file="notes")])
        return f"did {task}"

    stages = [[create()], [assign("write")], [assign("read")]]
    async with scratch_store() as store:
        model = scripted(stages, worker)
        whole = swarm(model, store=store, shared_folder=True)
        await answered(whole.stream("Go.", run_id=RUN))
        read = [m.text for asked in model.asked for m in asked.conversation if m.role == "tool"]
    assert any("seen it" in text for text in read)


async def test_subagents_of_a_role_are_asked_with_the_very_same_options_and_tools() -> None:
    stages = [[create(), create("other")], [assign("a"), assign("b")], [assign("c", "other")]]
    async with scratch_store() as store:
        model = scripted(stages, works(lambda _: 1))
        whole = swarm(model, World().tools(), store=store, shared_folder=True)
        await answered(whole.stream("Go.", run_id=RUN))
    asked = [it for it in model.asked if not is_orchestrator(it.conversation)]
    assert len(asked) == 6
    by_role = {
        task: [it for it in asked if task_of(it.conversation) in task] for task in ("ab", "c")
    }
    for alike in by_role.values():
        assert len({id(it.options) for it in alike}) == 1, "else it is written anew for each"
        assert len({tuple(map(id, it.tools)) for it in alike}) == 1


async def test_works_without_sharing_are_works_all_the_same() -> None:
    model = scripted([[create()], [assign("a")]], works(lambda _: 1))
    assert results(await swarm(model, World().tools()).run("Go.")) == ["did a"]
