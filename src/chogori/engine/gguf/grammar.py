"""What a model may write, as an llguidance grammar.

A reply is `Answer:` and an answer, or some reasoning and one fenced block that is a call. Text that
ends without a block was an answer after all: asked to greet, a model greets back. Code goes into a
block of its own language, not into a JSON string: small models write it better there
(docs/decisions/0003). Every other call is a JSON object held to the schema of its tool, so a call
that was written to its end always validates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from chogori.chat import AllowedTools, NamedTool, Options, ToolSpec
from chogori.errors import ConfigError

ANSWER = "Answer:"
FENCES = {"text/x-python": "python", "text/x-shellscript": "bash"}
"""The fence of each language that a string argument may hold (its `contentMediaType`)."""
REASONING_LIMIT = 350
"""Characters of reasoning before the block; past it a small model only repeats itself."""


@dataclass(frozen=True, slots=True)
class CodeForm:
    """A tool whose whole input is one piece of code."""

    tool: str
    parameter: str
    media_type: str

    @property
    def fence(self) -> str:
        """The word after the three backticks."""
        return FENCES[self.media_type]


def code_form(spec: ToolSpec) -> CodeForm | None:
    """How `spec` takes code, if code in a known language is all it needs."""
    properties: Mapping[str, Any] = spec.parameters.get("properties", {})
    required = spec.parameters.get("required", [])
    for name, schema in properties.items():
        media_type = schema.get("contentMediaType")
        if media_type in FENCES and list(required) == [name]:
            return CodeForm(spec.name, name, media_type)
    return None


def permitted(tools: Sequence[ToolSpec], options: Options) -> list[ToolSpec]:
    """The tools that `options.tool_choice` leaves. Raises `ConfigError` for an unknown one."""
    match options.tool_choice:
        case "none":
            return []
        case NamedTool(name):
            wanted = (name,)
        case AllowedTools(names):
            wanted = names
        case _:
            return list(tools)
    known = {spec.name: spec for spec in tools}
    if missing := [name for name in wanted if name not in known]:
        raise ConfigError(f"tool_choice names {missing[0]!r}; there are: {', '.join(known)}")
    return [known[name] for name in wanted]


def must_call(options: Options) -> bool:
    """Whether the reply has to be a call."""
    choice = options.tool_choice
    return (
        choice == "required"
        or isinstance(choice, NamedTool)
        or (isinstance(choice, AllowedTools) and choice.required)
    )


def grammar_for(tools: Sequence[ToolSpec], options: Options) -> str | None:
    """The grammar of the next reply; None where any text will do."""
    if options.response_format is not None:
        schema = options.response_format.schema or {"type": "object"}
        return f"%llguidance {{}}\nstart: %json {_json(schema)}\n"
    allowed = permitted(tools, options)
    if not allowed:
        return f"%llguidance {{}}\nstart: /{ANSWER}(?s:.)+/\n" if tools else None
    start = "REASONING fence" if must_call(options) else "ANSWER | SAID | REASONING fence"
    return "\n".join(
        [
            "%llguidance {}",
            f"start: {start}",
            f"ANSWER: /{ANSWER}(?s:.)+/",
            f"SAID: /[^`]{{1,{REASONING_LIMIT}}}/",
            f"REASONING: /[^`]{{1,{REASONING_LIMIT}}}\\n/",
            f"fence: {' | '.join(_fences(allowed))}",
            *_rules(allowed),
            "",
        ]
    )


def code_grammar() -> str:
    """The grammar of one block of code whose fence has been written already."""
    return f"%llguidance {{}}\nstart: code\n{_CODE}\n"


_CODE = 'code: CODE "```"\nCODE: /[^`]+/'
"""A backtick ends the code: a block that could hold some might never end (0003)."""


def _fences(tools: Sequence[ToolSpec]) -> list[str]:
    forms = [code_form(spec) for spec in tools]
    fences = [f'"```{form.fence}\\n" code' for form in forms if form is not None]
    return fences + (['"```json\\n" json "\\n```"'] if any(form is None for form in forms) else [])


def _rules(tools: Sequence[ToolSpec]) -> list[str]:
    plain = [spec for spec in tools if code_form(spec) is None]
    rules = [_CODE] if len(plain) < len(tools) else []
    if plain:
        calls = [f"%json {_json(_call_schema(spec))}" for spec in plain]
        rules += [f"json: {' | '.join(f'call_{n}' for n in range(len(calls)))}"]
        rules += [f"call_{number}: {call}" for number, call in enumerate(calls)]
    return rules


def _call_schema(spec: ToolSpec) -> dict[str, Any]:
    parameters = dict(spec.parameters)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"name": {"const": spec.name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    # References are written from the root of the document.
    if definitions := parameters.pop("$defs", None):
        schema["$defs"] = definitions
    return schema


def _json(schema: Mapping[str, Any]) -> str:
    return orjson.dumps({**schema, "x-guidance": _ONE_LINE}).decode()


_ONE_LINE = {"whitespace_pattern": " ?"}
"""Free to break lines, a small model may write nothing else to the end of its limit."""
