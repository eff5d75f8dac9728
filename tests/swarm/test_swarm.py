"""An orchestrator and its subagents: who sees what, what runs beside what, and what is allowed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from swarm_harness import (
    QUIET,
    World,
    answered,
    assign,
    call,
    create,
    is_orchestrator,
    outcomes,
    results,
    scripted,
    swarm,
    task_of,
    works,
)

from chogori.agent import Agent, Budget
from chogori.chat import (
    FromSubagent,
    Message,
    Options,
    Reminded,
    ToolError,
    ToolFinished,
    assistant,
    tool,
)
from chogori.errors import ConfigError
from chogori.swarm import ROLES, Role, Swarm
from chogori.swarm.tools import ASSIGN, CREATE, MAP, parsed


def test_the_published_tools_are_offered_word_for_word() -> None:
    assert CREATE.description == (
        "Create a custom subagent with specific system prompt and name for reuse."
    )
    assert CREATE.parameters == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Unique name for this agent configuration"},
            "system_prompt": {
                "type": "string",
                "description": (
                    "System prompt defining the agent's role, capabilities, and boundaries"
                ),
            },
        },
        "required": ["name", "system_prompt"],
    }
    assert ASSIGN.description == (
        "Launch a new agent.\nUsage notes:\n"
        "1. You can launch multiple agents concurrently whenever possible, to maximize "
        "performance;\n"
        "2. When the agent is done, it will return a single message back to you."
    )
    assert ASSIGN.parameters == {
        "type": "object",
        "properties": {
            "agent": {"type": "string", "description": "Specify which created agent to use."},
            "prompt": {"type": "string", "description": "The task for the agent to perform"},
        },
        "required": ["agent", "prompt"],
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{", "no JSON object"),
        ("[]", "no object, but list"),
        ('{"agent": "a"}', "assign_task needs prompt: The task for the agent to perform"),
        ('{"agent": 3, "prompt": "p"}', "agent must be a text"),
        ('{"agent": "a", "prompt": " "}', "prompt must be a text that is not empty"),
    ],
)
def test_arguments_that_do_not_fit_are_told_to_the_model(arguments: str, problem: str) -> None:
    with pytest.raises(ToolError, match=problem):
        parsed(ASSIGN, arguments)
    assert parsed(MAP, '{"agent": "a", "template": "t", "items": ["x"]}')["items"] == ["x"]


async def test_the_orchestrator_has_the_two_tools_beside_its_own_and_a_third_on_wish() -> None:
    world = World()
    model = scripted([], works(lambda _: 0))
    whole = swarm(model, world.tools())
    whole = replace(whole, orchestrator=replace(whole.orchestrator, tools=world.tools()))
    await whole.run("Go.")
    await replace(whole, maps=True).run("Go.")
    names = [[spec.name for spec in asked.tools] for asked in model.asked]
    assert names == [
        ["look", "act", "create_subagent", "assign_task"],
        ["look", "act", "create_subagent", "assign_task", "map_task"],
    ]


async def test_tasks_of_one_turn_run_side_by_side() -> None:
    met = asyncio.Barrier(3)

    @tool(effect="pure")
    async def look(key: str) -> str:
        """Look."""
        async with asyncio.timeout(10):
            await met.wait()
        return key

    stages = [[create()], [assign("a"), assign("b"), assign("c")]]
    answer = await swarm(scripted(stages, works(lambda _: 1)), [look]).run("Go.")
    assert results(answer) == ["did a", "did b", "did c"]


async def test_no_more_run_at_once_than_the_swarm_is_wide() -> None:
    at_work, most = 0, 0

    @tool(effect="pure")
    async def look(key: str) -> str:
        """Look."""
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        return key

    stages = [[create()], [assign(str(number)) for number in range(9)]]
    answer = await swarm(scripted(stages, works(lambda _: 2)), [look], width=2).run("Go.")
    assert len(results(answer)) == 9
    assert most <= 2


async def test_an_engine_of_one_slot_gets_one_task_at_a_time() -> None:
    model = scripted([], works(lambda _: 0))
    model.slots = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert swarm(model).turnstile().width == 1


async def test_a_subagent_sees_its_own_task_and_tools_and_nothing_else() -> None:
    world = World()
    stages = [[create("w", "Be w.")], [assign("secret one", "w"), assign("secret two", "w")]]
    model = scripted(stages, works(lambda _: 1))
    await swarm(model, world.tools()).run("The whole secret.")
    for asked in model.asked:
        if is_orchestrator(asked.conversation):
            said = "".join(message.text for message in asked.conversation)
            assert "saw" not in said, "the orchestrator is told last messages alone"
            continue
        told = [message.text for message in asked.conversation]
        assert told[0] == "Be w."
        assert [spec.name for spec in asked.tools] == ["look", "act"]
        others = {"secret one", "secret two"} - {task_of(asked.conversation)}
        assert not any(other in text for text in told for other in [*others, "The whole"])


async def test_an_agent_can_be_created_and_set_to_work_in_one_turn() -> None:
    stages = [[create("w"), assign("a", "w")]]
    answer = await swarm(scripted(stages, works(lambda _: 0))).run("Go.")
    assert results(answer) == ["did a"]


async def test_ready_roles_have_the_tools_that_suit_them() -> None:
    @tool(effect="pure")
    async def grep(key: str) -> str:
        """Grep."""
        return key

    model = scripted([[assign("a", "reader")]], works(lambda _: 0))
    await swarm(model, [*World().tools(), grep]).run("Go.")
    [asked] = [it for it in model.asked if not is_orchestrator(it.conversation)]
    assert [spec.name for spec in asked.tools] == ["grep"]
    reader = next(role for role in ROLES if role.name == "reader")
    assert asked.conversation[0].text == reader.system_prompt


async def test_without_tools_of_their_own_subagents_have_the_orchestrators() -> None:
    model = scripted([[create(), assign("a")]], works(lambda _: 1))
    lead = Agent(model, World().tools(), "Lead.", guards=(), options=QUIET)
    answer = await Swarm(lead, shared_folder=False).run("Go.")
    assert results(answer) == ["did a"]
    [asked, *_] = [it for it in model.asked if not is_orchestrator(it.conversation)]
    assert [spec.name for spec in asked.tools] == ["look", "act"]
    table = await Swarm(lead, shared_folder=False).map("Look at {item}.", ["b"])
    assert [row.ended for row in table.rows] == ["answer"]


async def test_roles_that_would_have_none_of_their_tools_are_not_offered() -> None:
    @tool(effect="pure")
    async def python(code: str) -> str:
        """Run."""
        return code

    roles = [*ROLES, Role("poet", "Rhyme.", "rhymes", ()), Role("any", "Be.", "does all")]
    model = scripted([], works(lambda _: 0))
    await swarm(model, [python], roles=roles).run("Go.")
    told = model.asked[0].conversation[0].text
    names = [line[2:].partition(":")[0] for line in told.splitlines() if line.startswith("- ")]
    assert names[-5:] == ["coder", "analyst", "fact_checker", "poet", "any"]
    assert not {"researcher", "reader", "writer"} & set(names)


async def test_an_unknown_agent_is_told_with_those_that_there_are() -> None:
    answer = await swarm(scripted([[assign("a", "ghost")]], works(lambda _: 0)), roles=[]).run("G")
    assert results(answer) == ["there is no agent 'ghost'; there are: none yet: create one"]


async def test_a_swarm_has_no_more_tasks_than_it_may_have() -> None:
    stages = [[create()], [assign(str(number)) for number in range(5)]]
    answer = await swarm(scripted(stages, works(lambda _: 0)), most=3).run("Go.")
    told = results(answer)
    assert told[:3] == ["did 0", "did 1", "did 2"]
    assert all("has had its 3 tasks" in text for text in told[3:])


@pytest.mark.parametrize(
    "more", [{"width": 301}, {"most": 301}, {"depth": 3}, {"budget": Budget(calls=4_001)}]
)
def test_limits_that_no_swarm_has_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"a swarm.s .* is from 1 to"):
        swarm(scripted([], works(lambda _: 0)), **more)


async def test_subagents_make_no_more_calls_together_than_the_budget_allows() -> None:
    world = World()
    stages = [[create()], [assign(str(number)) for number in range(4)]]
    model = scripted(stages, works(lambda _: 5))
    whole = swarm(model, world.tools(), budget=Budget(calls=13))
    events = [event async for event in whole.stream("Go.")]
    assert len(world.deeds) == 13
    assert sum(it["calls"] for it in outcomes(events)) == 13
    assert [it["ended"] for it in outcomes(events)] == ["answer"] * 4, "they answer all the same"


async def test_when_tokens_run_low_subagents_land_and_the_orchestrator_is_told() -> None:
    stages = [[create()], [assign("a"), assign("b")], [assign("c")]]

    def worker(task: str, at: int) -> Message | str:
        return assistant("so far " * 20, calls=[call("look", f"c{at}", key=f"{task}{at}")])

    whole = swarm(scripted(stages, worker), World().tools(), budget=Budget(tokens=60_000))
    events = [event async for event in whole.stream("Go.")]
    told = outcomes(events)
    assert [it["ended"] for it in told] == ["budget", "budget"]
    finished = [e for e in events if isinstance(e, ToolFinished) and e.call.name == "assign_task"]
    assert finished[0].output.startswith("[incomplete] It had to stop (tokens)")
    assert "the team has used up its tokens" in finished[2].output
    [reminded, *_] = [event for event in events if isinstance(event, Reminded)]
    assert "What remains for the whole team" in reminded.text
    assert (await answered(whole.stream("Go."))).text.startswith("all: ")


async def test_the_orchestrator_is_told_what_remains_of_tasks_and_of_time() -> None:
    @tool(effect="pure")
    async def look(key: str) -> str:
        """Look."""
        await asyncio.sleep(0.4)
        return key

    stages = [[create()], [assign("a"), assign("b")], [assign("c")]]
    whole = swarm(scripted(stages, works(lambda _: 0)), most=4)
    told = [it.text async for it in whole.stream("Go.") if isinstance(it, Reminded)]
    assert ["2 of 4 tasks" in told[0], "1 of 4 tasks" in told[1], len(told)] == [True, True, 2]
    whole = swarm(scripted(stages, works(lambda _: 1)), [look], budget=Budget(seconds=1.4))
    told = [it.text async for it in whole.stream("Go.") if isinstance(it, Reminded)]
    assert told
    assert " of 1 seconds" in told[0]


async def test_what_subagents_do_is_told_only_where_somebody_watches() -> None:
    stages = [[create()], [assign("a")]]
    for options, is_told in ((QUIET, False), (Options(), True)):
        whole = swarm(scripted(stages, works(lambda _: 1)), World().tools(), options=options)
        events = [event async for event in whole.stream("Go.")]
        assert any(isinstance(event, FromSubagent) for event in events) is is_told


async def test_a_later_turn_knows_the_agents_of_an_earlier_one() -> None:
    whole = swarm(scripted([[create()], [assign("a")], [], [assign("b")]], works(lambda _: 0)))
    first = await answered(whole.stream("Go."))
    again = await answered(whole.continue_(first, "And on."))
    assert results(again) == ["did a", "did b"]
    assert again.report["subagents"] == 1, "the report is of the turn"


def test_a_description_is_json_without_secrets() -> None:
    told = swarm(scripted([], works(lambda _: 0)), World().tools()).describe()
    assert json.loads(json.dumps(told)) == json.loads(json.dumps(told, default=str))
    assert told["swarm"]["width"] == 100
