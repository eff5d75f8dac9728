"""What the tests of the swarm share: scripts for an orchestrator and its subagents, a world."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chogori.agent import Agent, Budget
from chogori.agent.journal import Entry, read
from chogori.chat import (
    Answer,
    Conversation,
    Event,
    Message,
    Options,
    ScriptedModel,
    Tool,
    ToolCall,
    ToolFinished,
    assistant,
    tool,
)
from chogori.store import SqliteStore, Store, logs, open_store
from chogori.swarm import Swarm

RUN = "run-1"
_MEMORY = Path("/dev/shm")
QUIET = Options(stream=False)


@asynccontextmanager
async def scratch_store() -> AsyncGenerator[SqliteStore]:
    """A store for one example: in memory, where there is such a place."""
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        async with open_store(Path(folder)) as store:
            yield store


def call(tool: str, id: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(id, tool, json.dumps(arguments))


def assign(prompt: str, agent: str = "worker") -> ToolCall:
    return call("assign_task", f"assign {agent} {prompt}", agent=agent, prompt=prompt)


def create(name: str = "worker", system_prompt: str = "Work.") -> ToolCall:
    return call("create_subagent", f"create {name}", name=name, system_prompt=system_prompt)


def position(conversation: Conversation) -> int:
    return sum(message.role == "assistant" for message in conversation)


def is_orchestrator(conversation: Conversation) -> bool:
    return conversation[0].text.startswith(("Lead.", "You lead"))


def task_of(conversation: Conversation) -> str:
    return next(message.text for message in conversation if message.role == "user")


Worker = Callable[[str, int], Message | str]
"""What a subagent with this task says at this position."""


def works(steps: Callable[[str], int], tool: str = "look") -> Worker:
    """A subagent that calls `tool` so many times, and says what it has done."""

    def reply(task: str, at: int) -> Message | str:
        if at < steps(task):
            return assistant(calls=[call(tool, f"{tool}-{at}", key=f"{task}/{at}")])
        return f"did {task}"

    return reply


def scripted(stages: Sequence[Sequence[ToolCall]], worker: Worker) -> ScriptedModel:
    """An orchestrator that makes these calls, stage by stage, and its subagents."""

    def reply(conversation: Conversation) -> Message | str:
        at = position(conversation)
        if not is_orchestrator(conversation):
            return worker(task_of(conversation), at)
        if at < len(stages):
            return assistant(calls=stages[at])
        told = [m.text for m in conversation if m.role == "tool" and m.name == "assign_task"]
        return "all: " + "; ".join(told)

    return ScriptedModel(reply)


@dataclass(slots=True)
class World:
    """What the tools of subagents act on."""

    deeds: list[str] = field(default_factory=list[str])

    def tools(self) -> list[Tool]:
        return [tool(effect="pure")(self.look), tool(effect="once", approval=False)(self.act)]

    async def look(self, key: str) -> str:
        """Look."""
        self.deeds.append(key)
        return f"saw {key}"

    async def act(self, key: str) -> str:
        """Act."""
        self.deeds.append(key)
        return f"did {key}"


def swarm(
    model: Any, tools: Sequence[Tool] = (), *, store: Store | None = None, **more: Any
) -> Swarm:
    """One without guards, so that it is seen alone."""
    budget = more.pop("budget", Budget())
    options = more.pop("options", QUIET)
    lead = Agent(model, (), "Lead.", guards=(), store=store, budget=budget, options=options)
    plain: dict[str, Any] = {"subagent_guards": (), "shared_folder": False}
    return Swarm(lead, subagent_tools=tools, **(plain | more))


async def answered(events: AsyncIterator[Event]) -> Answer:
    told = [event async for event in events]
    assert isinstance(told[-1], Answer)
    return told[-1]


def results(answer: Answer) -> list[str]:
    """What the orchestrator was told of each task."""
    told = [message for message in answer.conversation if message.role == "tool"]
    return [message.text for message in told if message.name == "assign_task"]


async def journals(store: Store, run_id: str = RUN) -> dict[str, list[Entry]]:
    """The records of a run and of all below it."""
    found = {run_id: await read(store, run_id)}
    for child in await store.read(lambda tx: logs.children(tx, run_id)):
        found |= await journals(store, child.name)
    return found


def outcomes(events: Sequence[Event]) -> list[dict[str, Any]]:
    """What is recorded of each task, of a stage after the other."""
    return [
        told
        for event in events
        if isinstance(event, ToolFinished)
        for told in event.extra.get("subagents", ())
    ]
