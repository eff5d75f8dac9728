"""A conversation as a model reads it that was not trained on our tools.

Calls become the fenced blocks in which they were written, results become what the user says next,
and the tools are described after the instructions, shortly: a small model on two cores reads some
sixty tokens a second, so every line here costs a tenth of a second at the start of a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import orjson

from chogori.chat import Message, ToolCall, ToolSpec
from chogori.engine.gguf.grammar import ANSWER, NO, YES, CodeForm, code_form, is_judged

_NEXT = (
    f"If this answers the question, write `{ANSWER}` and the answer in a few words. Otherwise say "
    "what is wrong and write another block."
)


_HOW = (
    "To use a tool, say in one or two sentences what is asked and how to find it, then write one "
    "fenced block; its output is shown to you."
)
_HOW_TO_CALL = "To use a tool, write one fenced block; its output is shown to you."
_JUDGE = (
    f"Does this output already answer the question? Say yes or no; then `{ANSWER}` and the answer, "
    "or the next block."
)
"""Where there is no code to be put right (docs/decisions/0011)."""


class Turn(TypedDict):
    """One message as llama.cpp takes it."""

    role: str
    content: str


def turns(messages: Iterable[Message], tools: Sequence[ToolSpec]) -> list[Turn]:
    """The conversation in turns; neighbours of one role are joined, as most templates ask."""
    forms = {form.tool: form for spec in tools if (form := code_form(spec))}
    made: list[Turn] = []
    judges, before = is_judged(tools), ""
    for message in messages:
        judged = judges and (message.role == "tool" or before == "tool")
        turn = _turn(message, forms, has_tools=bool(tools), judged=judged)
        before = message.role
        if made and made[-1]["role"] == turn["role"] and turn["role"] != "assistant":
            made[-1]["content"] += "\n\n" + turn["content"]
        else:
            made.append(turn)
    if tools:
        described = describe_tools(tools)
        if made and made[0]["role"] == "system":
            made[0]["content"] += "\n\n" + described
        else:
            made.insert(0, Turn(role="system", content=described))
    return made


def describe_tools(tools: Sequence[ToolSpec]) -> str:
    """What the model is told about calling."""
    plain = [spec for spec in tools if code_form(spec) is None]
    lines = [_HOW_TO_CALL if len(plain) == len(tools) else _HOW]
    for spec in tools:
        if form := code_form(spec):
            lines.append(f"{_first_sentence(spec.description)}\n```{form.fence}\n...\n```")
    if plain and len(plain) < len(tools):
        lines.append('```json\n{"name": ..., "arguments": {...}}\n```\ncalls one of these:')
    elif plain:
        lines.append(f"{_example(plain[0])}\ncalls {plain[0].name}. There are:")
    lines += [f"- {_signature(spec)}: {_first_sentence(spec.description)}" for spec in plain]
    return "\n".join(lines)


def _turn(message: Message, forms: dict[str, CodeForm], *, has_tools: bool, judged: bool) -> Turn:
    match message.role:
        case "tool":
            cue = _JUDGE if judged else _NEXT
            return Turn(role="user", content=f"Output:\n{message.text or '(nothing)'}\n\n{cue}")
        case "assistant":
            said = _said(message, forms, has_tools=has_tools)
            verdict = (NO if message.tool_calls else YES) if judged and said else ""
            return Turn(role="assistant", content=verdict + said)
        case role:
            return Turn(role=role, content=message.text)


def _said(message: Message, forms: dict[str, CodeForm], *, has_tools: bool) -> str:
    if not message.tool_calls:
        return f"{ANSWER} {message.text}" if has_tools and message.text else message.text
    blocks = "\n".join(_block(call, forms) for call in message.tool_calls)
    reasoning = (message.reasoning or message.text).rstrip()
    return f"{reasoning}\n{blocks}" if reasoning else blocks


def _block(call: ToolCall, forms: dict[str, CodeForm]) -> str:
    try:
        arguments: Any = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        arguments = call.arguments
    form = forms.get(call.name)
    if form and isinstance(arguments, dict) and form.parameter in arguments:
        return f"```{form.fence}\n{arguments[form.parameter]}\n```"
    return _written({"name": call.name, "arguments": arguments})


def _example(spec: ToolSpec) -> str:
    """A call with what must be given: shown none, a small model gives all that may be."""
    arguments = dict.fromkeys(spec.parameters.get("required", []), "...")
    return _written({"name": spec.name, "arguments": arguments})


def _written(call: dict[str, Any]) -> str:
    """A call as the model writes it."""
    return f"```json\n{json.dumps(call, ensure_ascii=False)}\n```"


def _signature(spec: ToolSpec) -> str:
    required = spec.parameters.get("required", [])
    properties: dict[str, Any] = spec.parameters.get("properties", {})
    names = [name if name in required else f"{name}?" for name in properties]
    return f"{spec.name}({', '.join(names)})"


def _first_sentence(text: str) -> str:
    flat = " ".join(text.split())
    end = flat.find(". ")
    return flat if end < 0 else flat[: end + 1]
