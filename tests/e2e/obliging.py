"""A model that does what it is asked, and knows nothing: it fills any schema from the question.

Suites of clients ask for tools and forms of their own; a script cannot know them, and a small model
gets them right only on some days.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from chogori.chat import (
    Conversation,
    Delta,
    Finished,
    NamedTool,
    Options,
    Profile,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
    Usage,
    profile_for,
)

Schema = Mapping[str, Any]
REASONING = "I do as I am asked."


class Obliging:
    """A `ChatModel`. It calls a tool that must be called, or that the question is about."""

    def __init__(self) -> None:
        self.profile: Profile = profile_for("kimi-k2-thinking", spec="obliging")

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        asked = conversation[-1].text
        yield ReasoningDelta(REASONING)
        tool = None if conversation[-1].role == "tool" else _chosen(tools, options, asked)
        if tool is not None:
            arguments = json.dumps(_fill(tool.parameters, asked), ensure_ascii=False)
            yield ToolCallDelta(0, f"functions.{tool.name}:0", tool.name, arguments)
            yield Finished("tool_calls", Usage(20, 12, 6))
            return
        text = f"You said: {asked}"
        if options.response_format is not None:
            wanted = options.response_format.schema or {
                "type": "object",
                "required": re.findall(r"'(\w+)'", asked),
            }
            text = json.dumps(_fill(wanted, asked), ensure_ascii=False, separators=(",", ":"))
        for stop in options.stop:
            text = text.partition(stop)[0]
        for piece in re.findall(r"\S+\s*|\s+", text):
            yield TextDelta(piece)
        yield Finished("stop", Usage(20, 12, 6))

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return 20

    async def aclose(self) -> None:
        """Nothing is held."""


def _chosen(tools: Sequence[ToolSpec], options: Options, asked: str) -> ToolSpec | None:
    if options.tool_choice == "none" or not tools:
        return None
    if isinstance(options.tool_choice, NamedTool):
        name = options.tool_choice.name
        return next(tool for tool in tools if tool.name == name)
    wanted = re.search(r"\btool\b|What is (?:the weather|\d)", asked)
    return tools[0] if wanted or options.tool_choice != "auto" else None


def _fill(schema: Schema, asked: str, root: Schema | None = None) -> Any:
    """A value that fits, from the numbers and the quoted text of the question."""
    root = root or schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _fill(root["$defs"][name], asked, root)
    if among := schema.get("anyOf"):
        return _fill(among[0], asked, root)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "string")
    numbers = iter(re.findall(r"\d+", asked) + ["1"] * 20)
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: int(next(numbers))
            if properties.get(name, {}).get("type") in ("integer", "number")
            else _fill(properties.get(name, {}), asked, root)
            for name in (properties or schema.get("required", ()))
        }
    if kind in ("integer", "number"):
        return int(next(numbers))
    quoted = re.search(r"'([^']+)'", asked)
    plain: dict[str, Any] = {"array": [], "boolean": True, "null": None}
    return plain.get(kind, quoted[1] if quoted else asked[:40])
