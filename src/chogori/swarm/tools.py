"""The tools by which an orchestrator directs its subagents.

`create_subagent` and `assign_task` are those that Kimi K2.5 was trained with, word for word (its
technical report, appendix E.8). `map_task` is ours, for wide work, and is not offered unless asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from chogori.chat import Effect, ToolContext, ToolError, ToolResult, ToolSpec, content_of
from chogori.swarm.table import Wide

if TYPE_CHECKING:
    from chogori.swarm.team import Team

CREATE = ToolSpec(
    "create_subagent",
    "Create a custom subagent with specific system prompt and name for reuse.",
    {
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
    },
)
ASSIGN = ToolSpec(
    "assign_task",
    "Launch a new agent.\n"
    "Usage notes:\n"
    "1. You can launch multiple agents concurrently whenever possible, to maximize performance;\n"
    "2. When the agent is done, it will return a single message back to you.",
    {
        "type": "object",
        "properties": {
            "agent": {"type": "string", "description": "Specify which created agent to use."},
            "prompt": {"type": "string", "description": "The task for the agent to perform"},
        },
        "required": ["agent", "prompt"],
    },
)
MAP = ToolSpec(
    "map_task",
    "Give the same task for each of many items, all at once, each to an agent of its own. "
    "Returns a table with a row for each item, in their order.",
    {
        "type": "object",
        "properties": {
            "agent": {"type": "string", "description": "Which created agent to use."},
            "template": {
                "type": "string",
                "description": "The task, with {item} where the item goes.",
            },
            "items": {
                "type": "array",
                "items": {"type": "string"},
                "description": "What goes into the template, one for each agent.",
            },
            "columns": {
                "type": "array",
                "items": {"type": "string"},
                "description": "What each agent is to find out: the columns of the table. "
                "Without them each row holds the whole message.",
            },
        },
        "required": ["agent", "template", "items"],
    },
)
DIRECTING = frozenset({CREATE.name, ASSIGN.name, MAP.name})
"""These are no calls of a budget: what the subagents call is."""


class Directing:
    """One of these tools, for the team of one run. Its own state is rebuilt by the team."""

    needs_approval = False
    path = ""
    seconds: float | None = None
    """A task takes as long as its own budget allows."""

    def __init__(self, spec: ToolSpec, effect: Effect, team: Team) -> None:
        self.spec = spec
        self.effect: Effect = effect
        self._team = team

    def touches(self, arguments: str) -> frozenset[str]:
        return frozenset()

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        told = parsed(self.spec, arguments)
        match self.spec.name:
            case "create_subagent":
                return ToolResult(content_of(self._team.created(told["name"])))
            case "assign_task":
                return await self._team.assign(told["agent"], told["prompt"], context.key)
            case _:
                return await self._team.map(Wide.of(told), context.key)

    async def reconcile(self, arguments: str, context: ToolContext) -> ToolResult | None:
        """The run of the task is there or is not; either way the call itself goes on with it."""
        return None


def directing_tools(team: Team, *, maps: bool) -> list[Directing]:
    """The tools of one run."""
    tools = [Directing(CREATE, "pure", team), Directing(ASSIGN, "reconcilable", team)]
    return [*tools, Directing(MAP, "reconcilable", team)] if maps else tools


def parsed(spec: ToolSpec, arguments: str) -> Mapping[str, Any]:
    """What a model wrote for one of these tools. Raises `ToolError`."""
    try:
        told: object = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise ToolError(f"the arguments are no JSON object: {error}") from error
    if not isinstance(told, dict):
        raise ToolError(f"the arguments are no object, but {type(told).__name__}")
    values = cast(dict[str, Any], told)
    properties: Mapping[str, Any] = spec.parameters["properties"]
    for name, schema in properties.items():
        if name in spec.parameters["required"] and name not in values:
            raise ToolError(f"{spec.name} needs {name}: {schema['description']}")
        if name in values and not _fits(values[name], schema["type"]):
            raise ToolError(f"{name} must be {_KINDS[schema['type']]}")
    return values


_KINDS = {"string": "a text that is not empty", "array": "a list of texts, at least one"}


def _fits(value: object, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str) and bool(value.strip())
    items = cast(list[object], value) if isinstance(value, list) else []
    return bool(items) and all(isinstance(item, str) for item in items)
