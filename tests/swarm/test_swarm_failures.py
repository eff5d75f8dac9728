"""Whatever becomes of some subagents, the work of the others is there, and what these had found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_harness import (
    RUN,
    World,
    answered,
    assign,
    create,
    is_orchestrator,
    outcomes,
    position,
    results,
    scratch_store,
    scripted,
    swarm,
    task_of,
    works,
)

from chogori.agent import Budget
from chogori.chat import Conversation, Delta, Options, ToolSpec
from chogori.errors import EndpointError, ModelUnavailable, StreamCut

FATES = ("well", "refuses", "unavailable", "breaks", "hangs", "loops", "fails twice")
FOUND = 2
"""Steps before its fate befalls a subagent."""


class Fated:
    """Lets each subagent work a while, and then befalls it what its task says."""

    def __init__(self, stages: Sequence[Sequence[object]], tool: str = "look") -> None:
        worker = works(lambda _: FOUND, tool)
        self._script = scripted(stages, worker)  # pyright: ignore[reportArgumentType]
        self.profile = self._script.profile
        self.failures: dict[str, int] = {}

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        task = task_of(conversation)
        if not is_orchestrator(conversation) and position(conversation) == FOUND:
            await self._befall(task, task.rpartition(": ")[2])
        async for delta in self._script.stream(conversation, tools, options):
            yield delta

    async def _befall(self, task: str, fate: str) -> None:
        if fate == "unavailable":
            raise EndpointError("no such key", url="scripted:", status=401)
        if fate == "breaks":
            raise RuntimeError("a bug")
        if fate == "hangs":
            await asyncio.Event().wait()
        if fate == "fails twice":
            self.failures[task] = self.failures.get(task, 0) + 1
            if self.failures[task] <= 2:
                raise ModelFlaky
        await asyncio.sleep(0)

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return 0

    async def aclose(self) -> None: ...


class ModelFlaky(EndpointError):
    def __init__(self) -> None:
        super().__init__("try again", url="scripted:", status=503)


@settings(max_examples=12)
@given(st.lists(st.sampled_from(FATES), min_size=1, max_size=6), st.booleans())
def test_any_failures_of_some_leave_the_others_results(fates: list[str], is_kept: bool) -> None:
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(_befallen(fates, is_kept=is_kept))
    finally:
        logging.disable(logging.NOTSET)


async def _befallen(fates: list[str], *, is_kept: bool) -> None:
    tasks = [f"task {number}: {fate}" for number, fate in enumerate(fates)]
    model = Fated([[create()], [assign(task) for task in tasks]])
    async with scratch_store() as store:
        whole = swarm(
            model,
            World().tools()[:1],
            store=store if is_kept else None,
            subagent_budget=Budget(seconds=0.4 if "hangs" in fates else 20.0),
            grace_seconds=0.1,
            retry_seconds=0.0,
        )
        answer = await answered(whole.stream("Go.", run_id=RUN))
    assert answer.stopped_by == "answer"
    for task, fate, told in zip(tasks, fates, results(answer), strict=True):
        if fate in ("well", "refuses", "loops", "fails twice"):
            assert told == f"did {task}"
        else:
            assert told.startswith("[incomplete]")
            assert f"look: saw {task}/1" in told, "what it had found comes back"
    assert answer.report["subagents"] == len(fates)
    bad = sum(fate in ("unavailable", "breaks", "hangs") for fate in fates)
    assert answer.report["unfinished"] == bad


async def test_a_task_whose_model_fails_for_a_while_goes_on_where_it_was() -> None:
    world = World()
    model = Fated([[create()], [assign("a: fails twice")]])
    async with scratch_store() as store:
        whole = swarm(model, world.tools(), store=store, retry_seconds=0.0)
        events = [event async for event in whole.stream("Go.", run_id=RUN)]
    assert world.deeds == ["a: fails twice/0", "a: fails twice/1"], "nothing was done again"
    [outcome] = outcomes(events)
    assert (outcome["steps"], outcome["calls"]) == (3, 2), "nothing is counted twice"


@pytest.mark.parametrize("tool", ["look", "act"])
async def test_without_a_store_only_what_changed_nothing_is_begun_anew(tool: str) -> None:
    world = World()
    model = Fated([[create()], [assign("a: fails twice")]], tool)
    answer = await answered(swarm(model, world.tools(), retry_seconds=0.0).stream("Go."))
    if tool == "look":
        assert results(answer) == ["did a: fails twice"]
        return
    [told] = results(answer)
    assert told.startswith("[incomplete]")
    assert "act: did a: fails twice/1" in told, "what it had found comes back"
    assert world.deeds == ["a: fails twice/0", "a: fails twice/1"], "nothing was done again"


async def test_assigning_a_task_again_continues_the_subagent_that_had_to_stop() -> None:
    world = World()
    stages = [[create()], [assign("a")], [assign("a")]]
    async with scratch_store() as store:
        whole = swarm(
            scripted(stages, works(lambda _: 5)),
            world.tools(),
            store=store,
            subagent_budget=Budget(steps=3),
        )
        events = [event async for event in whole.stream("Go.", run_id=RUN)]
    first, second = outcomes(events)
    assert first["run_id"] == second["run_id"]
    assert (first["ended"], second["ended"]) == ("budget", "answer")
    assert (first["steps"], second["steps"]) == (3, 2), "landing is a reply and no step"
    assert len(world.deeds) == len(set(world.deeds)), "and nothing was done again"


class Slow:
    """Hangs in one subagent's last reply, the first time it is asked for it."""

    def __init__(self, stages: Sequence[Sequence[object]]) -> None:
        self._script = scripted(stages, works(lambda _: 1))  # pyright: ignore[reportArgumentType]
        self.profile = self._script.profile
        self.hung = False

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        is_last = not is_orchestrator(conversation) and position(conversation) == 1
        if is_last and task_of(conversation) == "slow" and not self.hung:
            self.hung = True
            await asyncio.Event().wait()
        async for delta in self._script.stream(conversation, tools, options):
            yield delta

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return 0

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_straggler_gets_a_second_run_from_where_it_stands(is_kept: bool) -> None:
    world = World()
    tasks = ["a", "b", "c", "slow"]
    model = Slow([[create()], [assign(task) for task in tasks]])
    async with scratch_store() as store:
        whole = swarm(
            model, world.tools()[:1], store=store if is_kept else None, patience_seconds=0.1
        )
        async with asyncio.timeout(20):
            answer = await answered(whole.stream("Go.", run_id=RUN))
    assert results(answer) == [f"did {task}" for task in tasks]
    assert world.deeds.count("slow/0") == 1, "what was read is not read again"


def test_the_errors_of_a_model_that_may_pass_are_told_from_those_that_do_not() -> None:
    from chogori.swarm.crew import _may_pass  # pyright: ignore[reportPrivateUsage]

    cut = StreamCut("cut", url="u")
    assert [_may_pass(error) for error in (cut, ModelFlaky(), ModelUnavailable("no file"))] == [
        True,
        True,
        False,
    ]
    assert not _may_pass(EndpointError("no", url="u", status=403))
