"""A turn that was stopped and left: the conversation goes on from before it; so does a resume."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from agent_harness import (
    add,
    answered,
    bare,
    calling,
    pay,
    story,
    told_by_tools,
    waiting,
)

from chogori.agent import Agent, Budget, ClientTool, Context
from chogori.agent.kept import fork
from chogori.agent.replay import replay
from chogori.chat import Answer, Conversation, Message, ScriptedModel, ToolSpec
from chogori.errors import ModelUnavailable
from chogori.store import SqliteStore, open_store

CONTEXTS = [Context(), Context(policy="hide_tool_results", tokens=40)]


def speak(conversation: Conversation) -> Message | str:
    said = [message.text for message in conversation if message.role == "user"][-1]
    if conversation[-1].role == "tool":
        return f"{said}: {conversation[-1].text}"
    if said == "fails":
        raise ModelUnavailable("nobody is there")
    return calling(("add", f'{{"a": {len(conversation)}}}'), first=len(conversation))


@asynccontextmanager
async def chatting(folder: Path, context: Context) -> AsyncGenerator[tuple[Agent, Answer]]:
    """An agent, and the answer of a run in which a turn failed and the next went on before it."""
    async with open_store(folder) as store:
        agent = bare(ScriptedModel(speak), [add], store=store, context=context)
        first = await answered(agent.stream("hello", run_id="run"))
        with pytest.raises(ModelUnavailable):
            await story(agent.continue_(first, "fails"))
        yield agent, await answered(agent.continue_(first, "again"))


@pytest.mark.parametrize("context", CONTEXTS)
async def test_it_is_no_part_of_what_is_driven_again(tmp_path: Path, context: Context) -> None:
    async with chatting(tmp_path, context) as (agent, answer):
        assert "fails" not in [message.text for message in answer.conversation]
        assert isinstance(agent.store, SqliteStore)
        assert (await replay(agent, agent.store, "run")).requests == 4
        again = await answered(agent.resume("run"))
        assert again.conversation == answer.conversation
        more = await answered(agent.resume("run", "more"))
        assert more.text == "more: 10"
        assert (await replay(agent, agent.store, "run")).requests == 6


async def test_a_larger_budget_counts_from_where_the_records_end(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        agent = bare(ScriptedModel(speak), [add], store=store, budget=Budget(steps=1))
        landed = await answered(agent.stream("hello", run_id="run"))
        assert landed.stopped_by == "budget"
        richer = replace(agent, budget=Budget(steps=9))
        assert (await answered(richer.resume("run"))).stopped_by == "budget"
        assert (await answered(richer.resume("run", "again"))).stopped_by == "answer"


async def test_a_branch_at_the_last_step_of_a_turn_goes_on_after_its_answer(tmp_path: Path) -> None:
    async with chatting(tmp_path, CONTEXTS[0]) as (agent, _):
        assert agent.store is not None
        forked = await fork(agent.store, "run", at=2)
        branch = await answered(agent.resume(forked, "otherwise"))
        said = [message.text for message in branch.conversation if message.role == "user"]
        assert said == ["hello", "otherwise"]


async def test_what_a_step_was_given_while_it_waited_is_not_asked_for_again() -> None:
    client = ClientTool(ToolSpec("look", "Look.", {"type": "object"}))
    both = calling(("pay", '{"amount": 5}'), ("look", "{}"))
    agent = bare(ScriptedModel([both, "done"]), [pay, client])
    first = await waiting(agent.stream("go"))
    second = await waiting(agent.continue_(first, approve={"call-0": True}))
    assert [second.reason, *(call.id for call in second.calls)] == ["tool_results", "call-1"]
    answer = await answered(agent.continue_(second, results={"call-1": "a tree"}))
    assert told_by_tools(answer.conversation) == ["paid 5", "a tree"]
