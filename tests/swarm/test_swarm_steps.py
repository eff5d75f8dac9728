"""Critical steps: as published, the same from the report, from the journals, and by hand."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_harness import (
    RUN,
    Worker,
    World,
    answered,
    assign,
    create,
    is_orchestrator,
    journals,
    results,
    scratch_store,
    scripted,
    swarm,
    works,
)

from chogori.agent import kept
from chogori.agent.journal import Entry
from chogori.chat import Message, ToolCall, assistant
from chogori.swarm.record import tree
from chogori.swarm.steps import critical_steps

plans = st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=4)
"""For each stage, the calls that each of its subagents makes."""


def by_hand(found: dict[str, list[Entry]]) -> int:
    """Every step of every journal, sorted into stages; of each the longest."""
    stages: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for run_id, records in found.items():
        for record in records:
            if record.type == "step_started":
                assert record.fields["role"] == ("orchestrator" if run_id == RUN else "subagent")
                stages[record.fields["stage"]][run_id] += 1
    return sum(
        steps.get(RUN, 0) + max((n for id, n in steps.items() if id != RUN), default=0)
        for steps in stages.values()
    )


@settings(max_examples=15)
@given(plans)
def test_critical_steps_are_those_that_the_journals_hold(plan: list[list[int]]) -> None:
    asyncio.run(_planned(plan))


async def _planned(plan: list[list[int]]) -> None:
    stages = [[create()]]
    for number, stage in enumerate(plan):
        tasks = [assign(f"{number} {index} {calls}") for index, calls in enumerate(stage)]
        stages.append(tasks or [create("another")])
    model = scripted(stages, works(lambda task: int(task.split()[2])))
    async with scratch_store() as store:
        answer = await answered(
            swarm(model, World().tools(), store=store).stream("Go.", run_id=RUN)
        )
        found, node = await journals(store), await tree(store, RUN)
        listed = await kept.newest(store, 50)
    published = len(plan) + 2 + sum(max(stage, default=-1) + 1 for stage in plan)
    assert answer.report["critical_steps"] == published
    assert by_hand(found) == published
    assert node.critical_steps() == published
    every = sum(entry.type == "step_started" for records in found.values() for entry in records)
    assert answer.report["steps"] == node.all_steps == every
    assert answer.report["calls"] == sum(map(sum, plan))
    assert answer.report["subagents"] == sum(map(len, plan)) == len(node.all_below)
    assert [run.id for run in listed] == [RUN], "subagents are not listed among the runs"


def test_a_stage_without_subagents_counts_what_the_orchestrator_did() -> None:
    assert critical_steps(3, {}) == 3
    assert critical_steps(3, {2: [4, 7], 3: []}) == 10


async def test_the_report_counts_tokens_of_all_and_so_does_the_answer() -> None:
    async with scratch_store() as store:
        whole = swarm(
            scripted([[create()], [assign("a"), assign("b")]], works(lambda _: 2)),
            World().tools(),
            store=store,
        )
        answer = await answered(whole.stream("Go.", run_id=RUN))
        found = await journals(store)
    usages = [
        record.fields["usage"]
        for records in found.values()
        for record in records
        if record.type == "reply_finished"
    ]
    assert answer.usage.prompt == sum(usage["prompt"] for usage in usages)
    assert answer.report["tokens"] == answer.usage.prompt + answer.usage.completion


def leads(stages: dict[str, list[list[ToolCall]]], calls: int) -> Worker:
    """Subagents of whom some lead others."""
    plain = works(lambda _: calls)

    def reply(task: str, at: int) -> Message | str:
        if task in stages and at < len(stages[task]):
            return assistant(calls=stages[task][at])
        return f"did {task}" if task in stages else plain(task, at)

    return reply


async def test_a_subagent_that_leads_others_counts_with_its_own_critical_steps() -> None:
    world = World()
    below = {"wide": [[create("x")], [assign("p", "x"), assign("q", "x")]]}
    model = scripted([[create()], [assign("wide"), assign("plain")]], leads(below, 3))
    async with scratch_store() as store:
        whole = swarm(model, world.tools(), store=store, depth=2)
        answer = await answered(whole.stream("Go.", run_id=RUN))
        node = await tree(store, RUN)
    assert results(answer) == ["did wide", "did plain"]
    assert sorted(world.deeds) == sorted(f"{t}/{n}" for t in ("plain", "p", "q") for n in range(3))
    # Three of the orchestrator; in its second stage three of "wide", and four below its second.
    assert answer.report["critical_steps"] == node.critical_steps() == 3 + 3 + 4
    assert answer.report["steps"] == node.all_steps == 3 + 3 + 3 * 4
    assert answer.report["calls"] == 9 + 3, "how one leads others is a call of a subagent's"
    deepest = [each for each in node.all_below if not each.below and each.name == "x"]
    assert [each.run_id.count("-") for each in deepest] == [3, 3]


async def test_no_subagent_leads_others_unless_that_is_allowed() -> None:
    below = {"wide": [[assign("p")]]}
    model = scripted([[create()], [assign("wide")]], leads(below, 0))
    answer = await swarm(model).run("Go.")
    [asked] = [it for it in model.asked if it.conversation[-1].name == "assign_task"
               and not is_orchestrator(it.conversation)]  # fmt: skip
    assert "there is no tool 'assign_task'" in asked.conversation[-1].text
    assert results(answer) == ["did wide"]
