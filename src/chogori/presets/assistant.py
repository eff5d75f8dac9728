"""The assistant of `chogori ask`: a model, the tools, the sandbox, and the checks that fit it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chogori.agent import Agent, Agreement, Budget, Context
from chogori.agent.loop import Approval
from chogori.agent.verbs import Verbs
from chogori.chat import ChatModel, Options, Tool
from chogori.errors import ConfigError
from chogori.presets.mentions import Mentions
from chogori.store import Store
from chogori.toolbox.programs import launcher_or_refusal, program_tools

if TYPE_CHECKING:
    from chogori.toolbox import Sandboxes

INSTRUCTIONS = (Path(__file__).parent / "instructions.md").read_text(encoding="utf-8").strip()
CUE = (
    "Write a short, plain Python program that prints it, with the values of the task in it: loops "
    "and dictionaries, csv.DictReader for CSV, no input(), no pandas, no sympy."
)
SMALL = (Path(__file__).parent / "instructions_small.md").read_text(encoding="utf-8").strip()
SMALL_READING = (
    (Path(__file__).parent / "instructions_reading.md").read_text(encoding="utf-8").strip()
)
"""For a small model that is given no program to write."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The tools of an agent, and what they work in."""

    tools: Sequence[Tool]
    out: Callable[[str], Path]
    """The folder of a run, by its id; made by whoever is asked."""
    sandboxes: Sandboxes


async def toolkit(
    stack: AsyncExitStack,
    *,
    runs: Path,
    workspace: Path | None,
    write: bool,
    unsafe: bool,
    web: bool,
    allow_hosts: Sequence[str],
    mcp: Sequence[str],
    allow_read_only: bool,
    tools: Sequence[Tool] = (),
) -> Kit:
    """What the options ask for; `stack` ends it. Raises `SandboxUnavailable`."""
    from chogori.toolbox import McpServer, Reach, Sandboxes, file_tools

    launcher = await launcher_or_refusal(unsafe=unsafe)

    def out(run_id: str) -> Path:
        folder = runs / run_id.partition(".")[0] / "out"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    sandboxes = Sandboxes(Reach(workspace, out, write), launcher)
    stack.push_async_callback(sandboxes.aclose)
    offered = [*program_tools(sandboxes), *file_tools(sandboxes), *tools]
    if web:
        from chogori.toolbox.web import fetch_tool  # aiohttp takes its time

        offered.append(fetch_tool(allow_hosts=allow_hosts))
    for command in mcp:
        server = McpServer(command, allow_read_only=allow_read_only)
        await stack.enter_async_context(server)
        offered += server.tools(taken=[tool.spec.name for tool in offered])
    return Kit(offered, out, sandboxes)


@asynccontextmanager
async def assistant(
    model: ChatModel,
    *,
    runs: Path,
    workspace: Path | None = None,
    write: bool = False,
    unsafe: bool = False,
    web: bool = False,
    allow_hosts: Sequence[str] = (),
    mcp: Sequence[str] = (),
    allow_read_only: bool = False,
    tools: Sequence[Tool] = (),
    only: Sequence[str] | None = None,
    budget: Budget | None = None,
    options: Options = Options(),
    approval: Approval = "ask",
    context: Context | None = None,
    store: Store | None = None,
) -> AsyncGenerator[Verbs]:
    """An agent with its tools, for as long as the context lasts.

    `runs` is where each run's own folder is made; `workspace` is the user's folder, which tools
    may change only with `write`. With `only` the agent gets the tools of these names and no
    others. Raises `SandboxUnavailable` where nothing confines the tools, unless `unsafe` says that
    nothing need, and `ConfigError` for a name that no tool has. Runs are kept in `store`, if there
    is one; `rebuild` makes the same assistant again for them.
    """
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
            tools=tools,
        )
        given = _chosen(kit.tools, only)
        writes_programs = any(tool.spec.name == "python" for tool in given)
        agent = Agent(
            model,
            given,
            instructions_for(model, workspace, write=write, writes_programs=writes_programs),
            budget=budget or Budget(),
            options=options,
            approval=approval,
            context=context_for(model, context),
            out=kit.out,
            store=store,
            made_by={
                "preset": "assistant",
                "workspace": None if workspace is None else str(workspace),
                "write": write,
                "unsafe": unsafe,
                "web": web,
                "allow_hosts": list(allow_hosts),
                "mcp": list(mcp),
                "allow_read_only": allow_read_only,
                "only": None if only is None else list(only),
            },
        )
        # A second solution is a second program, and so is what the cue asks for.
        checks = model.profile.agreement > 1 and writes_programs
        cue = CUE if writes_programs and not model.profile.native_tools else ""
        yield Mentions(Agreement(agent) if checks else agent, workspace, cue)


def _chosen(offered: Sequence[Tool], only: Sequence[str] | None) -> Sequence[Tool]:
    if only is None:
        return offered
    known = {tool.spec.name: tool for tool in offered}
    if missing := [name for name in only if name not in known]:
        raise ConfigError(f"there is no tool {missing[0]!r}; there are: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(only)]


def context_for(model: ChatModel, wanted: Context | None) -> Context:
    """A small model is not given one more tool, whose description it would read every time, and
    which it would call instead of going on."""
    if model.profile.native_tools:
        return wanted or Context(policy="hide_tool_results")
    return replace(wanted or Context(), recall=False)


def instructions_for(
    model: ChatModel, workspace: Path | None, *, write: bool, writes_programs: bool = True
) -> str:
    """What a model is told of where it works."""
    if not model.profile.native_tools:  # every further line is read before the first token
        return SMALL if writes_programs else SMALL_READING
    if workspace is None:
        return f"{INSTRUCTIONS} There is no /work in this run: work in /out."
    return f"{INSTRUCTIONS} /work may {'be changed' if write else 'not be changed: write to /out'}."
