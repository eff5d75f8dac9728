"""A Python function as a tool: its schema, its arguments, its errors."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from pydantic import BaseModel, Field

from chogori.chat import TextPart, ToolCall, ToolContext, ToolError, ToolResult, tool
from strategies import texts

CONTEXT = ToolContext("run-1", ToolCall("call-1", "any", "{}"), "key-1", Path("/out"))


@tool
async def add(a: Annotated[int, "The first number."], b: int = 1) -> str:
    """Add two integers."""
    return str(a + b)


async def said(of: Any, arguments: str = "{}") -> str:
    """What the tool says on these arguments."""
    result = await of.call(arguments, CONTEXT)
    return "".join(part.text for part in result.content)


def test_a_tool_describes_itself() -> None:
    assert add.spec.name == "add"
    assert add.spec.description == "Add two integers."
    assert add.spec.parameters == {
        "type": "object",
        "properties": {
            "a": {"description": "The first number.", "type": "integer"},
            "b": {"default": 1, "type": "integer"},
        },
        "required": ["a"],
        "additionalProperties": False,
    }


class Place(BaseModel):
    city: str


def test_the_schema_keeps_what_the_annotations_say() -> None:
    @tool
    def forecast(
        place: Place,
        days: Annotated[int, Field(ge=1, le=7, description="How far ahead.")],
        unit: Literal["C", "F"] = "C",
        code: Annotated[str, Field(json_schema_extra={"contentMediaType": "text/x-python"})] = "",
    ) -> str:
        """Tell the weather."""
        return f"{place.city} {days} {unit}{code}"

    properties = forecast.spec.parameters["properties"]
    assert properties["days"]["minimum"] == 1
    assert properties["days"]["maximum"] == 7
    assert properties["days"]["description"] == "How far ahead."
    assert properties["unit"]["enum"] == ["C", "F"]
    assert properties["code"]["contentMediaType"] == "text/x-python"
    assert forecast.spec.parameters["$defs"]["Place"]["required"] == ["city"]


def test_a_tool_without_a_docstring_is_refused() -> None:
    def mute() -> str:
        return ""

    with pytest.raises(TypeError, match="mute needs a docstring: it is what the model reads"):
        tool(mute)


def test_a_parameter_without_an_annotation_is_refused() -> None:
    def vague(a, b: int) -> str:  # pyright: ignore[reportMissingParameterType]
        """Guess."""
        return ""

    with pytest.raises(TypeError, match="vague: parameter 'a' needs a type annotation"):
        tool(vague)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{}", "a: Field required"),
        ('{"a": "x"}', "a: Input should be a valid integer"),
        ('{"a": 1, "c": 2}', "c: Extra inputs are not permitted"),
        ("", "a: Field required"),
        ("not json", "arguments: Invalid JSON"),
        ("[1]", "arguments: Input should be an object"),
        ("null", "arguments: Input should be an object"),
        ('{"a": 1e400}', "a: "),
        ("[" * 500, "arguments: Invalid JSON"),
        ("\ud800", "arguments: "),
    ],
)
async def test_arguments_that_do_not_fit_are_told_with_what_fits(arguments: str, told: str) -> None:
    with pytest.raises(ToolError) as caught:
        await add.call(arguments, CONTEXT)
    text = str(caught.value)
    assert text.startswith(f"invalid arguments: {told}")
    assert '"description":"The first number."' in text, "what fits is told"


async def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ToolError) as caught:
        await add.call('{"b": "x", "c": 1}', CONTEXT)
    for part in ("a: Field required", "b: Input should be", "c: Extra inputs"):
        assert part in str(caught.value)


@given(texts)
async def test_a_tool_raises_nothing_but_tool_errors_whatever_a_model_writes(text: str) -> None:
    with pytest.raises(ToolError):
        await add.call(text + "!", CONTEXT)
    assert add.touches(text) == frozenset()


async def test_no_arguments_at_all_are_an_empty_object() -> None:
    @tool
    def ping() -> str:
        """Answer."""
        return "pong"

    assert [await said(ping, text) for text in ("", "{}")] == ["pong", "pong"]


async def test_the_context_is_filled_in_and_not_shown_to_the_model() -> None:
    @tool
    def where(context: ToolContext, suffix: str) -> str:
        """Say where."""
        return f"{context.run_id} {context.key} {context.out} {suffix}"

    assert list(where.spec.parameters["properties"]) == ["suffix"]
    assert await said(where, '{"suffix": "!"}') == "run-1 key-1 /out !"
    with pytest.raises(ToolError, match="context: Extra inputs are not permitted"):
        await where.call('{"suffix": "", "context": {}}', CONTEXT)


async def test_a_blocking_function_does_not_hold_up_the_others() -> None:
    released = threading.Event()

    @tool
    def wait() -> str:
        """Wait for the other."""
        return str(released.wait(10))

    @tool
    async def release() -> str:
        """Let the other go."""
        released.set()
        return "released"

    assert await asyncio.gather(said(wait), said(release)) == ["True", "released"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        (None, "done"),
        (5, "5"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Path("/x"), '"/x"'),
        ((TextPart("a"), TextPart("b")), "ab"),
        (ToolResult((TextPart("whole"),), failed=True), "whole"),
    ],
)
async def test_whatever_a_function_returns_becomes_content(value: Any, text: str) -> None:
    @tool
    def give() -> Any:
        """Give it."""
        return value

    assert await said(give) == text


@pytest.mark.parametrize(
    ("options", "effect", "asks"),
    [
        ({}, "once", False),
        ({"effect": "once"}, "once", True),
        ({"effect": "once", "approval": False}, "once", False),
        ({"effect": "pure"}, "pure", False),
        ({"effect": "idempotent", "approval": True}, "idempotent", True),
    ],
)
def test_only_a_tool_declared_once_asks_a_person(
    options: dict[str, Any], effect: str, asks: bool
) -> None:
    def pay() -> str:
        """Pay."""
        return ""

    made = tool(**options)(pay)
    assert (made.effect, made.needs_approval) == (effect, asks)


async def test_touches_and_reconcile_take_the_functions_own_parameters() -> None:
    written: dict[str, str] = {}

    def happened(path: str, text: str) -> str | None:
        return "it was written" if written.get(path) == text else None

    @tool(effect="reconcilable", touches=lambda path, text: [path], reconcile=happened)
    def write(path: str, text: str) -> None:
        """Write a file."""
        written[path] = text

    arguments = '{"path": "a.txt", "text": "x"}'
    assert write.touches(arguments) == {"a.txt"}
    assert write.touches("nonsense") == frozenset()
    assert await write.reconcile(arguments, CONTEXT) is None
    assert await said(write, arguments) == "done"
    assert await write.reconcile(arguments, CONTEXT) == ToolResult((TextPart("it was written"),))


async def test_a_tool_that_cannot_be_asked_knows_nothing() -> None:
    assert await add.reconcile('{"a": 1}', CONTEXT) is None
    assert add.touches('{"a": 1}') == frozenset()


def module_level() -> str:
    """Be found."""
    return ""


def test_another_process_finds_only_what_stands_in_a_module() -> None:
    def local() -> str:
        """Stay."""
        return ""

    assert tool(module_level).path == f"{__name__}:module_level"
    assert tool(local).path == ""


async def test_an_async_function_behind_a_decorator_is_awaited() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    @logged
    async def late() -> str:
        """Come late."""
        return "here"

    assert await said(tool(late)) == "here"
