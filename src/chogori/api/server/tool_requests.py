"""Tools, tool_choice and response_format of a request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from chogori.api.server.reading import (
    Json,
    choice,
    flag,
    items,
    needed,
    plain_json,
    record,
    text,
    wrong,
)
from chogori.api.server.refusals import invalid, missing
from chogori.chat import AllowedTools, JsonFormat, NamedTool, ToolChoice, ToolSpec

MOST_TOOLS = 512
MOST_SCHEMA = 64 * 1024
"""Bytes of one schema."""
TOOL_NAME = "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,255}"
_WORDS = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """What may be called, and whether it must be."""

    specs: tuple[ToolSpec, ...]
    choice: ToolChoice
    foreign: tuple[Json, ...] = ()
    """Tools that only an upstream knows, such as Moonshot's $web_search."""
    is_plain: bool = True
    """Whether they can be handed on as they came."""


def read_tools(body: Json) -> ToolRequest:
    """`tools` and `tool_choice`."""
    specs: list[ToolSpec] = []
    foreign: list[Json] = []
    is_plain = True
    for at, entry in enumerate(items(body, "tools", MOST_TOOLS) or ()):
        where = f"tools[{at}]"
        if type(entry) is not dict:
            raise wrong(where, "an object", entry)
        tool = cast(Json, entry)
        kind = needed(text(tool, "type", f"{where}."), f"{where}.type")
        if kind != "function":
            plain_json(tool, where, MOST_SCHEMA)
            foreign.append(tool)
            continue
        is_flat = "function" not in tool and "name" in tool
        is_plain = is_plain and not is_flat
        if not is_flat:
            needed(record(tool, "function", f"{where}."), f"{where}.function")
        specs.append(_spec(tool if is_flat else tool["function"], where, is_flat))
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise invalid("tools", f"Two tools are called {name!r}.")
    return ToolRequest(tuple(specs), _choice(body, names, foreign), tuple(foreign), is_plain)


def _spec(function: Json, where: str, is_flat: bool) -> ToolSpec:
    where = where if is_flat else f"{where}.function"
    name = needed(text(function, "name", f"{where}."), f"{where}.name")
    if not re.fullmatch(TOOL_NAME, name):
        raise invalid(
            f"{where}.name",
            f"{where}.name must be 1 to 256 letters, digits, '_', '-' or '.', and begin with a "
            "letter, a digit or '_'.",
        )
    flag(function, "strict", f"{where}.")
    parameters = record(function, "parameters", f"{where}.")
    if parameters:
        plain_json(parameters, f"{where}.parameters", MOST_SCHEMA)
        if parameters.get("type", "object") != "object":
            raise invalid(
                f"{where}.parameters",
                f"{where}.parameters must be the schema of an object.",
                "invalid_json_schema",
            )
    description = text(function, "description", f"{where}.") or ""
    return ToolSpec(name, description, parameters or {"type": "object", "properties": {}})


def _choice(body: Json, names: Sequence[str], foreign: Sequence[Json]) -> ToolChoice:
    value = body.get("tool_choice")
    if value is None:
        return "auto"
    if type(value) is str:
        if value not in _WORDS:
            raise wrong("tool_choice", "none, auto, required or an object", value)
        if value == "required" and not (names or foreign):
            raise invalid("tool_choice", "tool_choice is 'required', and there are no tools.")
        return cast(ToolChoice, value)
    if type(value) is not dict:
        raise wrong("tool_choice", "none, auto, required or an object", value)
    chosen = cast(Json, value)
    kind = needed(text(chosen, "type", "tool_choice."), "tool_choice.type")
    match kind:
        case "function" | "custom" | "builtin_function":
            held = chosen.get("function" if kind != "custom" else "custom", chosen)
            return NamedTool(_known(held, "tool_choice.function", names, foreign))
        case "allowed_tools":
            return _allowed(chosen, names, foreign)
        case "none" | "auto" | "required" | "any":
            return _choice({"tool_choice": "required" if kind == "any" else kind}, names, foreign)
        case _:
            raise wrong("tool_choice.type", "function or allowed_tools", kind)


def _allowed(chosen: Json, names: Sequence[str], foreign: Sequence[Json]) -> AllowedTools:
    where = "tool_choice.allowed_tools"
    fields = chosen
    if "allowed_tools" in chosen:
        fields = needed(record(chosen, "allowed_tools", "tool_choice."), where)
    mode = needed(choice(fields, "mode", ("auto", "required"), f"{where}."), f"{where}.mode")
    tools = needed(items(fields, "tools", MOST_TOOLS, f"{where}."), f"{where}.tools")
    if not tools:
        raise invalid(f"{where}.tools", f"{where}.tools names no tool.")
    allowed: list[str] = []
    for at, tool in enumerate(tools):
        place = f"{where}.tools[{at}]"
        held = cast(Json, tool).get("function", tool) if type(tool) is dict else tool
        allowed.append(_known(held, place, names, foreign))
    return AllowedTools(tuple(allowed), required=mode == "required")


def _known(held: Any, where: str, names: Sequence[str], foreign: Sequence[Json]) -> str:
    if type(held) is not dict:
        raise wrong(where, "an object", held)
    name = needed(text(cast(Json, held), "name", f"{where}."), f"{where}.name")
    if name not in names and not foreign:
        offered = ", ".join(names) or "none"
        raise invalid(f"{where}.name", f"There is no tool {name!r} among the tools: {offered}.")
    return name


def read_response_format(body: Json) -> JsonFormat | None:
    """`response_format`; text is None."""
    form = record(body, "response_format")
    if form is None:
        return None
    kind = needed(text(form, "type", "response_format."), "response_format.type")
    match kind:
        case "text":
            return None
        case "json_object":
            return JsonFormat()
        case "json_schema":
            return _json_schema(form)
        case _:
            raise wrong("response_format.type", "text, json_object or json_schema", kind)


def _json_schema(form: Json) -> JsonFormat:
    where = "response_format.json_schema"
    held = needed(record(form, "json_schema", "response_format."), where)
    name = needed(text(held, "name", f"{where}."), f"{where}.name")
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise invalid(f"{where}.name", f"{where}.name must be 1 to 64 letters, digits, '_' or '-'.")
    if "schema" not in held:
        raise missing(f"{where}.schema")
    schema = record(held, "schema", f"{where}.")
    if schema is None:
        raise wrong(f"{where}.schema", "an object", None)
    plain_json(schema, f"{where}.schema", MOST_SCHEMA)
    strict = held.get("strict")
    if strict is not None and type(strict) is not bool:
        raise wrong(f"{where}.strict", "true or false", strict)
    text(held, "description", f"{where}.")
    return JsonFormat(schema, name, True if strict is None else strict)
