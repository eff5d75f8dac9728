"""Wide work: the same task for many items, as a table in which each item is once."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarm_harness import (
    RUN,
    World,
    answered,
    call,
    create,
    scratch_store,
    scripted,
    swarm,
    works,
)

from chogori.agent import Budget
from chogori.chat import Message
from chogori.errors import ConfigError
from chogori.swarm import Table
from chogori.swarm.scheduler import Turnstile, critical_paths
from chogori.swarm.steps import Outcome

items = st.lists(st.text("ab |\n", min_size=1, max_size=5), min_size=1, max_size=12)


@settings(max_examples=20)
@given(items)
def test_every_item_has_one_row_in_its_place(items: list[str]) -> None:
    model = scripted([], works(lambda _: 0))
    table = asyncio.run(swarm(model).map("read {item}", items))
    assert [row.item for row in table.rows] == items
    assert [row.message for row in table.rows] == [f"did read {item}".strip() for item in items]
    assert len(table.markdown().splitlines()) == len(items) + 2


async def test_columns_are_read_from_what_each_says_and_what_is_missing_is_empty() -> None:
    said = {
        "a": 'Here: ```json\n{"name": "Rice & Co", "amount": 12}\n```',
        "b": 'first {"name": "x"}, no: {"name": "Tea"}',
        "c": "I could not find it {",
    }
    model = scripted([], lambda task, at: said[task.splitlines()[0]])
    table = await swarm(model).map("{item}", ["a", "b", "c"], columns=["name", "amount"])
    assert [dict(row.values) for row in table.rows] == [
        {"name": "Rice & Co", "amount": 12},
        {"name": "Tea", "amount": None},
        {"name": None, "amount": None},
    ]
    assert table.csv() == "item,name,amount\na,Rice & Co,12\nb,Tea,\nc,,\n"
    asked = model.asked[1].conversation[-1].text
    assert 'with exactly these keys: "name", "amount"' in asked


async def test_an_item_that_builds_on_others_is_told_what_they_found() -> None:
    order: list[str] = []

    def worker(task: str, at: int) -> Message | str:
        order.append(task.splitlines()[0])
        return f"found {task.splitlines()[0]}"

    whole = swarm(scripted([], worker))
    table = await whole.map("{item}", ["sum", "one", "two"], after={0: [1, 2]})
    assert order[-1] == "sum"
    assert [row.message for row in table.rows] == ["found sum", "found one", "found two"]
    with pytest.raises(ConfigError, match="in a circle"):
        await whole.map("{item}", ["a", "b"], after={0: [1], 1: [0]})


async def test_the_longest_chain_of_work_begins_first() -> None:
    order: list[str] = []

    def worker(task: str, at: int) -> Message | str:
        order.append(task.splitlines()[0])
        return task

    lengths = [1.0, 5.0, 2.0, 1.0]
    model = scripted([], worker)
    await swarm(model, width=1).map("{item}", list("abcd"), lengths=lengths, after={1: [3]})
    assert order[1:] == ["d", "b", "c"], "d is short, but b waits for it"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.data())
def test_critical_paths_are_the_longest_of_all_paths(lengths: list[int], data: st.DataObject):
    after = {
        task: data.draw(st.lists(st.integers(0, task - 1), unique=True, max_size=2))
        for task in range(1, len(lengths))
    }

    def slowly(task: int) -> int:
        followers = [other for other, before in after.items() if task in before]
        return lengths[task] + max(map(slowly, followers), default=0)

    assert critical_paths(lengths, after) == [slowly(task) for task in range(len(lengths))]


async def test_those_alike_begin_as_they_came_and_one_that_gave_up_holds_nothing() -> None:
    turnstile, order = Turnstile(1), list[int]()

    async def work(number: int, weight: float) -> None:
        async with turnstile.turn(weight):
            order.append(number)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(n, w)) for n, w in enumerate([0, 0, 1, 0, 0])]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 1, 4]
    assert turnstile.inside == 0


async def test_a_map_that_was_stopped_goes_on_and_reads_back_what_was_done() -> None:
    world = World()
    model = scripted([], works(lambda _: 1))
    async with scratch_store() as store:
        whole = swarm(model, world.tools(), store=store)
        first = await whole.map("{item}", ["a", "b"], run_id=RUN)
        again = await whole.map("{item}", ["a", "b"], run_id=RUN)
    assert again.rows == first.rows
    assert len(world.deeds) == 2


async def test_a_model_may_map_where_it_is_offered() -> None:
    told = {"agent": "worker", "template": "see {item}", "items": ["a", "b"]}
    model = scripted([[create()], [call("map_task", "m", **told)]], works(lambda _: 0))
    answer = await answered(swarm(model, maps=True).stream("Go."))
    [result] = [m.text for m in answer.conversation if m.name == "map_task"]
    assert result == "| item | result |\n| --- | --- |\n| a | did see a |\n| b | did see b |"
    assert answer.report["subagents"] == 2


async def test_items_beyond_the_limit_have_rows_that_say_so() -> None:
    table = await swarm(scripted([], works(lambda _: 0)), most=2).map("{item}", list("abc"))
    assert [row.ended for row in table.rows] == ["answer", "answer", "refused"]
    assert "[incomplete: refused]" in table.markdown()


def test_a_table_comes_back_from_json_as_it_was() -> None:
    table = Table(("x",))
    table.add("a", '{"x": [1]}', Outcome(run_id="r", name="n", stage=1, ended="answer"))
    assert Table.of(json.loads(json.dumps(table.told()))).rows == table.rows


async def test_a_map_that_is_reminded_of_its_budget_is_not_made_again() -> None:
    world = World()
    whole = swarm(scripted([], works(lambda _: 1)), world.tools(), budget=Budget(calls=4), width=4)
    table = await whole.map("{item}", ["a", "b", "c", "d"])
    assert [row.ended for row in table.rows] == ["answer"] * 4
    assert sorted(world.deeds) == ["a/0", "b/0", "c/0", "d/0"]
