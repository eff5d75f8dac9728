"""Makes an agent again from the description that its run began with (`Verbs.describe`).

Another process needs nothing else: the model is named by its spec, tools by their import paths, and
the assistant of `chogori ask` by what it was made with. What cannot be had again is named.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from chogori.agent import Agent, Agreement, Budget, Context
from chogori.agent.verbs import Verbs
from chogori.chat import AllowedTools, ChatModel, JsonFormat, NamedTool, Options, Tool
from chogori.errors import RunChanged
from chogori.presets.assistant import assistant
from chogori.presets.load import load
from chogori.presets.swarm import Width, swarm
from chogori.store import Store
from chogori.swarm import Role, Subagent, Swarm

Load = Callable[[str], ChatModel]
"""From a spec string to a model."""


@asynccontextmanager
async def rebuild(
    description: Mapping[str, Any],
    model: ChatModel,
    *,
    store: Store,
    runs: Path,
    limits: Mapping[str, float | None] = {},
    load: Load = load,
) -> AsyncGenerator[Verbs]:
    """The agent, for as long as the context lasts; `runs` is where the folders of runs are, and
    `limits` stand in the place of those of the same name in its budget. `load` finds the model of a
    swarm's subagents, where that is another. Raises `RunChanged` naming what cannot be had again.
    """
    held: dict[str, Any] = {**description["budget"], **limits}
    allowed = Budget(**held)
    made_by: dict[str, Any] = dict(description["made_by"])
    preset = made_by.pop("preset", None)
    if preset is not None:
        workspace = made_by.pop("workspace")
        if workspace is not None and not Path(workspace).is_dir():
            raise RunChanged(f"the folder {workspace}, which the run works in, is not there now")
        made_by |= {
            "runs": runs,
            "workspace": None if workspace is None else Path(workspace),
            "budget": allowed,
            "options": options_of(description["options"]),
            "approval": description["approval"],
            "context": Context(**description["context"]),
            "store": store,
        }
    if preset == "assistant":
        async with assistant(model, **made_by) as verbs:
            yield verbs
        return
    if preset == "swarm":
        async with _preset_swarm(description, model, made_by, load) as verbs:
            yield verbs
        return
    agent = _agent(description, model, allowed, store, runs)
    if "subagent" in description:
        yield Subagent(agent, description["subagent"]["name"])
    elif "swarm" in description:
        async with _subagents(description["swarm"]["subagent"], model, load) as workers:
            yield _swarm(description["swarm"], agent, workers)
    else:
        hints = description.get("agreement")
        yield agent if hints is None else Agreement(agent, hints)


@asynccontextmanager
async def _preset_swarm(
    description: Mapping[str, Any], model: ChatModel, made_by: Mapping[str, Any], load: Load
) -> AsyncGenerator[Verbs]:
    """That of `chogori swarm`, or one of its subagents alone."""
    if "subagent" in description:
        names = tuple(tool["name"] for tool in description["tools"])
        async with swarm(model, **made_by) as whole:
            agent = replace(
                whole.subagent(Role("", "", tools=names)),
                instructions=description["instructions"],
                budget=made_by["budget"],
            )
            yield Subagent(agent, description["subagent"]["name"])
        return
    told = description["swarm"]
    async with _subagents(told["subagent"], model, load) as (workers, worker):
        steps: int = worker["budget"]["steps"]
        width = Width(subagents=told["width"], steps=steps, maps=told["maps"])
        async with swarm(model, subagent_model=workers, width=width, **made_by) as whole:
            yield whole


def _agent(
    description: Mapping[str, Any], model: ChatModel, budget: Budget, store: Store, runs: Path
) -> Agent:
    return Agent(
        model,
        [_tool(told) for told in description["tools"]],
        description["instructions"],
        budget,
        options_of(description["options"]),
        [_named(path, "guard") for path in description["guards"]],
        description["approval"],
        Context(**description["context"]),
        tool_seconds=description["tool_seconds"],
        out=(lambda run_id: runs / run_id / "out") if description["has_out"] else None,
        store=store,
    )


@asynccontextmanager
async def _subagents(
    description: Mapping[str, Any], model: ChatModel, load: Load
) -> AsyncGenerator[tuple[ChatModel, Mapping[str, Any]]]:
    """The model of a swarm's subagents, and how they are described."""
    spec = description["model"]
    if spec == model.profile.spec:
        yield model, description
        return
    other = load(spec)
    try:
        yield other, description
    finally:
        await other.aclose()


def _swarm(
    told: Mapping[str, Any], agent: Agent, workers: tuple[ChatModel, Mapping[str, Any]]
) -> Swarm:
    model, description = workers
    return Swarm(
        agent,
        model,
        [_tool(tool) for tool in description["tools"]],
        width=told["width"],
        subagent_budget=Budget(**description["budget"]),
        roles=[_role(role) for role in told["roles"]],
        maps=told["maps"],
        depth=told["depth"],
        shared_folder=told["shared_folder"],
        most=told["most"],
        note=told["note"],
        subagent_guards=[_named(path, "guard") for path in description["guards"]],
    )


def _role(told: Mapping[str, Any]) -> Role:
    tools = None if told["tools"] is None else tuple(told["tools"])
    return Role(told["name"], told["system_prompt"], told["what"], tools)


def options_of(told: Mapping[str, Any]) -> Options:
    """Options, from what `asdict` made of them."""
    choice, wanted = told["tool_choice"], told["response_format"]
    if isinstance(choice, Mapping):
        named = cast(Mapping[str, Any], choice)
        choice = (
            NamedTool(named["name"])
            if "name" in named
            else AllowedTools(tuple(named["names"]), named["required"])
        )
    values: dict[str, Any] = {
        **told,
        "tool_choice": choice,
        "response_format": None if wanted is None else JsonFormat(**wanted),
        "stop": tuple(told["stop"]),
    }
    return Options(**values)


def _tool(told: Mapping[str, Any]) -> Tool:
    if not told["path"]:
        raise RunChanged(
            f"the tool {told['name']!r} cannot be imported: it was made inside a function; resume "
            "the run from the program that made it, with agent.resume"
        )
    found = _named(told["path"], f"tool {told['name']!r}")
    if not hasattr(found, "spec"):
        raise RunChanged(f"what {told['path']} names is no tool now ({type(found).__name__})")
    return found


def _named(path: str, what: str) -> Any:
    module, _, name = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise RunChanged(
            f"the {what} cannot be imported from {path}: {error}; is its folder on PYTHONPATH?"
        ) from error
    return cast(Callable[..., Any], found)
