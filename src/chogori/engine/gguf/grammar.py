"""What a model may write, as an llguidance grammar, and the same for a cursor.

A reply is `Answer:` and an answer, or some reasoning and one fenced block that is a call. Text that
ends without a block was an answer after all: asked to greet, a model greets back. Code goes into a
block of its own language, not into a JSON string: small models write it better there
(docs/decisions/0003). Every other call is a JSON object held to the schema of its tool, so a call
that was written to its end always validates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from chogori.chat import AllowedTools, JsonFormat, NamedTool, Options, ToolSpec
from chogori.chat.schema import COMPACT, SPACED, Compiled, Grammar, Symbol, Use, compiled
from chogori.chat.schema.json_text import dumps
from chogori.chat.schema.texts import LAST, chars, literal, rep, seq, without
from chogori.engine.gguf import lark
from chogori.errors import RequestError

ANSWER = "Answer:"
FENCES = {"text/x-python": "python", "text/x-shellscript": "bash"}
"""The fence of each language that a string argument may hold (its `contentMediaType`)."""
YES, NO = "Yes.\n", "No.\n"
"""Whether the output that came last answers the question: said before anything else (0011)."""
REASONING_LIMIT = 350
"""Characters of reasoning before the block; past it a small model only repeats itself."""
_ANSWERED = rf"{ANSWER}\s{{0,4}}\S(?s:.)*"
"""An answer says something: a small model likes to end it before it has."""
_CHOICE = "tool_choice"
_NO_BACKTICK = chars(without([(ord("`"), ord("`"))]))


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


def is_judged(tools: Sequence[ToolSpec]) -> bool:
    """Whether the model says of each output, before it goes on, if that answers the question. What
    code printed is an answer or shows what to mend; other outputs may be one step of many."""
    return bool(tools) and all(code_form(spec) is None for spec in tools)


def permitted(tools: Sequence[ToolSpec], options: Options) -> list[ToolSpec]:
    """The tools that `options.tool_choice` leaves. Raises `RequestError` for an unknown one, and
    where a call is asked for and there are no tools."""
    match options.tool_choice:
        case "none":
            return []
        case NamedTool(name):
            wanted = (name,)
        case AllowedTools(names):
            wanted = names
        case "required" if not tools:
            raise RequestError("tool_choice asks for a call; there are no tools", param=_CHOICE)
        case _:
            return list(tools)
    known = {spec.name: spec for spec in tools}
    if missing := [name for name in wanted if name not in known]:
        there = ", ".join(known) or "none"
        raise RequestError(f"tool_choice names {missing[0]!r}; there are: {there}", param=_CHOICE)
    return [known[name] for name in wanted]


def must_call(options: Options) -> bool:
    """Whether the reply has to be a call."""
    choice = options.tool_choice
    return (
        choice == "required"
        or isinstance(choice, NamedTool)
        or (isinstance(choice, AllowedTools) and choice.required)
    )


@dataclass(frozen=True, slots=True)
class Form:
    """The form that a reply is held to."""

    text: str | None
    """As llama.cpp takes it; None where any text will do."""
    grammar: Grammar | None = None
    """The same, for a cursor; without the blocks of code, whose ending is not ours to choose."""
    answers_json: bool = False
    """Whether an answer is JSON."""
    is_judged: bool = False
    """Whether the reply begins with `YES` or `NO`."""


def form_for(tools: Sequence[ToolSpec], options: Options, *, after_output: bool = False) -> Form:
    """The form of the next reply. Raises `RequestError`, and `SchemaError` among them."""
    allowed = permitted(tools, options)
    if options.prefill:
        if must_call(options) or options.response_format is not None:
            raise RequestError("a reply that is begun cannot be held to a form", param="messages")
        return Form(None)
    if options.stop and options.response_format is not None:
        raise RequestError(
            "a stop string could cut a reply in JSON, which is to be whole; leave out stop or "
            "response_format",
            param="stop",
        )
    judges = after_output and is_judged(tools)
    wanted = _Wanted(tools, allowed, options.response_format, must_call(options), judges)
    try:
        return _kept_form(wanted)
    except TypeError:  # a schema that is no JSON, which is refused with a reason
        return _form(wanted)


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """What decides a form; two that would be written the same are one."""

    tools: Sequence[ToolSpec]
    allowed: Sequence[ToolSpec]
    format: JsonFormat | None
    must_call: bool
    judges: bool

    @property
    def key(self) -> bytes:
        tools = [(spec.name, spec.parameters) for spec in self.tools]
        allowed = [spec.name for spec in self.allowed]
        held = None if self.format is None else (self.format.schema, self.format.strict)
        return orjson.dumps((tools, allowed, held, self.must_call, self.judges))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wanted) and self.key == other.key


@lru_cache(maxsize=64)
def _kept_form(wanted: _Wanted) -> Form:
    return _form(wanted)


def _form(wanted: _Wanted) -> Form:
    tools, allowed = wanted.tools, wanted.allowed
    answer = None if wanted.format is None else _answer(wanted.format)
    if not allowed and answer is not None:
        lines = [
            "%llguidance {}",
            f"start: {answer.start.name}",
            *lark.rules(answer.rules, "T"),
            "",
        ]
        return Form("\n".join(lines), Grammar((answer.start,), answer.rules), answers_json=True)
    if not allowed:
        return Form(f"%llguidance {{}}\nstart: /{_ANSWERED}/\n" if tools else None)
    return _with_calls(tools, allowed, answer, wanted.must_call, wanted.judges)


def grammar_for(
    tools: Sequence[ToolSpec], options: Options, *, after_output: bool = False
) -> str | None:
    """The grammar of the next reply; None where any text will do."""
    return form_for(tools, options, after_output=after_output).text


def _answer(format: JsonFormat) -> Compiled:
    """The rules of an answer in JSON."""
    style = COMPACT if format.strict else SPACED
    schema = {"type": "object"} if format.schema is None else format.schema
    return compiled(schema, style=style, param="response_format.json_schema.schema")


def _with_calls(
    tools: Sequence[ToolSpec],
    allowed: Sequence[ToolSpec],
    answer: Compiled | None,
    must: bool,
    judges: bool,
) -> Form:
    calls = [_call(spec, number, tools) for number, spec in enumerate(_plain(allowed))]
    # Code is better for having been thought about; a call of any other tool may do without.
    has_code = len(calls) < len(allowed)
    call = "REASONING fence" if has_code else "REASONING? fence"
    free = f"ANSWER | SAID | {call}" if answer is None else f"said | {call}"
    if judges:
        call = f"NO {call}"
        free = f"YES {'ANSWER' if answer is None else 'said'} | {call}"
    lines = [
        "%llguidance {}",
        f"start: {call if must else free}",
        f"ANSWER: /{_ANSWERED}/",
        f"SAID: /[^`]{{1,{REASONING_LIMIT}}}/ & ~/{ANSWER}\\s*/",
        f"REASONING: /[^`]{{1,{REASONING_LIMIT}}}\\n/",
        f"fence: {' | '.join(_fences(allowed))}",
        *([_CODE] if has_code else []),
        *([_JUDGED] if judges else []),
        *([f"json: {' | '.join(f'call_{n}' for n in range(len(calls)))}"] if calls else []),
    ]
    rules: dict[str, list[tuple[Symbol, ...]]] = {}
    for number, made in enumerate(calls):
        lines += lark.rules(made.rules, f"C{number}_")
        rules.update(made.rules)
    yes, no = ((literal(YES),), (literal(NO),)) if judges else ((), ())
    reasons = seq(rep(_NO_BACKTICK, 1, REASONING_LIMIT), literal("\n"))
    blocks = [(literal("```json\n"), made.start, literal("\n```")) for made in calls]
    starts: list[tuple[Symbol, ...]] = [(*no, reasons, *block) for block in blocks]
    starts += [] if has_code else [(*no, *block) for block in blocks]
    if not must and answer is None:
        anything = rep(chars([(0, LAST)]), 1, None)
        starts.append((*yes, seq(literal(ANSWER), anything)))
        starts += [] if judges else [(rep(_NO_BACKTICK, 1, REASONING_LIMIT),)]
    if not must and answer is not None:
        said = (*yes, seq(literal(ANSWER), rep(literal(" "), 0, 1)), answer.start)
        lines += [f'said: "{ANSWER}" /[ ]?/ {answer.start.name}', *lark.rules(answer.rules, "T")]
        starts.append(said)
        rules.update(answer.rules)
    rules["reply"] = starts
    return Form(
        "\n".join([*lines, ""]), Grammar((Use("reply"),), rules), answer is not None, judges
    )


def code_grammar() -> str:
    """The grammar of one block of code whose fence has been written already."""
    return f"%llguidance {{}}\nstart: code\n{_CODE}\n"


_JUDGED = f"YES: {json.dumps(YES)}\nNO: {json.dumps(NO)}"
_CODE = 'code: CODE "```"\nCODE: /[^`]+/'
"""A backtick ends the code: a block that could hold some might never end (0003)."""


def _fences(tools: Sequence[ToolSpec]) -> list[str]:
    forms = [code_form(spec) for spec in tools]
    fences = [f'"```{form.fence}\\n" code' for form in forms if form is not None]
    return fences + (['"```json\\n" json "\\n```"'] if any(form is None for form in forms) else [])


def _plain(tools: Sequence[ToolSpec]) -> list[ToolSpec]:
    return [spec for spec in tools if code_form(spec) is None]


def _call(spec: ToolSpec, number: int, tools: Sequence[ToolSpec]) -> Compiled:
    """The rules of a call, its name first."""
    place = next(n for n, tool in enumerate(tools) if tool.name == spec.name)
    arguments = compiled(
        spec.parameters,
        style=SPACED,
        prefix=f"call_{number}_",
        is_object=True,
        param=f"tools.{place}.function.parameters",
    )
    called: tuple[Symbol, ...] = (
        SPACED.opens,
        literal('"name"'),
        SPACED.colon,
        literal(dumps(spec.name)),
        SPACED.comma,
        literal('"arguments"'),
        SPACED.colon,
        arguments.start,
        SPACED.closes,
    )
    name = f"call_{number}"
    return Compiled(Use(name), {name: [called], **arguments.rules})
