"""The swarm of `chogori swarm`: an orchestrator and subagents with the assistant's tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chogori.agent import Agent, Budget, Context
from chogori.agent.loop import Approval
from chogori.chat import ChatModel, Options
from chogori.presets.assistant import context_for, instructions_for, toolkit
from chogori.store import Store
from chogori.swarm import Swarm
from chogori.swarm.swarm import SUBAGENT_STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """How wide a swarm may be, and how deep each of its subagents may go."""

    subagents: int = 100
    """At once."""
    steps: int = SUBAGENT_STEPS
    """Of each."""
    maps: bool = False
    """Whether the orchestrator may give one task for many items in one call."""


@asynccontextmanager
async def swarm(
    model: ChatModel,
    *,
    runs: Path,
    subagent_model: ChatModel | None = None,
    width: Width = Width(),
    workspace: Path | None = None,
    write: bool = False,
    unsafe: bool = False,
    web: bool = False,
    allow_hosts: Sequence[str] = (),
    mcp: Sequence[str] = (),
    allow_read_only: bool = False,
    budget: Budget | None = None,
    options: Options = Options(),
    approval: Approval = "ask",
    context: Context | None = None,
    store: Store | None = None,
) -> AsyncGenerator[Swarm]:
    """A swarm with its tools, for as long as the context lasts; the arguments are those of
    `assistant`. Each run has a sandbox and a folder of its own. Raises `SandboxUnavailable`."""
    workers = subagent_model or model
    async with AsyncExitStack() as stack:
        kit = await toolkit(
            stack,
            runs=runs,
            workspace=workspace,
            write=write,
            unsafe=unsafe,
            web=web,
            allow_hosts=allow_hosts,
            mcp=mcp,
            allow_read_only=allow_read_only,
        )
        lead = Agent(
            model,
            kit.tools,
            instructions_for(model, workspace, write=write),
            budget=budget or Budget(),
            options=options,
            approval=approval,
            context=context_for(model, context),
            out=kit.out,
            store=store,
            made_by={
                "preset": "swarm",
                "workspace": None if workspace is None else str(workspace),
                "write": write,
                "unsafe": unsafe,
                "web": web,
                "allow_hosts": list(allow_hosts),
                "mcp": list(mcp),
                "allow_read_only": allow_read_only,
            },
        )
        yield Swarm(
            lead,
            workers,
            kit.tools,
            width=width.subagents,
            subagent_budget=Budget(steps=width.steps),
            maps=width.maps,
            note=instructions_for(workers, workspace, write=write),
            ended=kit.sandboxes.end,
        )
