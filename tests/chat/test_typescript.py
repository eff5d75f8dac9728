"""Tools declared as TypeScript."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat.typescript import Inexpressible, declare
from published import published_cases


def tool(parameters: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters, **fields}}


def written(parameters: Any, **fields: Any) -> str:
    """The declaration without what stands round every one."""
    text = declare([tool(parameters, **fields)])
    start, end = "# Tools\n\n## functions\nnamespace functions {\n", "\n}\n"
    assert text.startswith(start)
    assert text.endswith(end)
    return text.removeprefix(start).removesuffix(end)


def type_of(schema: Any) -> str:
    """How the type of one required field is written, with what stands above it."""
    text = written({"type": "object", "properties": {"x": schema}, "required": ["x"]})
    return text.removeprefix("type f = (_: {\n").removesuffix("\n}) => any;")


def test_the_published_tools_are_declared_as_published() -> None:
    for case in published_cases("tool_declaration_k25.json"):
        assert declare(case["tools"]) == case["text"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 1}, "  // minimum: 1\n  x: number"),
        ({"type": "string", "pattern": "^a", "minLength": 2, "maxLength": 3},
         "  // maxLength: 3, minLength: 2, pattern: ^a\n  x: string"),
        ({"type": "string", "minimum": 1, "format": "uri"}, "  x: string"),
        ({"type": "boolean", "default": True}, "  // Default: True\n  x: boolean"),
        ({"type": "array", "default": ["é"]}, '  // Default: ["é"]\n  x: Array<any>'),
        ({"type": "string", "default": None}, "  x: string"),
        ({"enum": ["a", 1, True, None]}, '  x: "a" | 1 | True | None'),
        ({"type": ["string", "null"], "enum": ["a", None]}, '  x: "a" | None'),
        ({"type": ["array", "object", "integer"]}, "  x: Array<any> | {} | number"),
        ({"type": "null"}, "  x: null"),
        (True, "  x: any"),
        (False, "  x: null"),
        ({}, "  x: any"),
        ({"type": "object"}, "  x: {}"),
        ({"type": "object", "additionalProperties": True}, "  x: {\n    [k: string]: any\n  }"),
        ({"type": "object", "additionalProperties": False}, "  x: {\n    [k: string]: never\n  }"),
        ({"type": "array", "maxItems": 2, "items": {"type": "array", "minItems": 1}},
         "  // maxItems: 2\n  x: Array<\n    // minItems: 1\n    Array<any>\n  >"),
        ({"description": "a\n\nb", "type": "string"}, "  // a\n\n  // b\n  x: string"),
        ({"anyOf": [{"type": "object", "properties": {"y": {"type": "null"}}}, {"type": "number"}]},
         "  x: {\n    y?: null\n  } | number"),
    ],
)  # fmt: skip
def test_a_schema_is_written_by_the_published_rules(schema: Any, text: str) -> None:
    assert type_of(schema) == text


def test_fields_stand_by_name_the_required_ones_first() -> None:
    properties = {name: {"type": "string"} for name in ("z", "b", "a", "c")}
    text = written({"properties": properties, "required": ["z", "c", "missing"]})
    assert [line.strip(" ,") for line in text.splitlines()[1:-1]] == [
        "c: string",
        "z: string",
        "a?: string",
        "b?: string",
    ]


def test_what_refers_to_itself_becomes_an_interface() -> None:
    text = written({"properties": {"z": {"$ref": "#"}, "a": {"type": "null"}}}, description="d")
    assert text == (
        "interface parameters {\n  z?: parameters,\n  a?: null\n}\n// d\n"
        "type f = (_: parameters) => any;"
    )


def test_definitions_come_before_the_function() -> None:
    definitions = {
        "B": {"type": "object", "description": "A b.", "properties": {"a": {"$ref": "#/$defs/A"}}},
        "A": {"enum": ["x"]},
    }
    text = written({"$defs": definitions, "properties": {"b": {"$ref": "#/$defs/B"}}})
    assert text == (
        '// A b.\ninterface B {\n  a?: A\n}\ninterface A "x"\ntype f = (_: {\n  b?: B\n}) => any;'
    )


def test_only_functions_are_declared() -> None:
    assert declare([{"type": "builtin_function", "function": {"name": "$web_search"}}]) == ""
    assert declare([{"type": "function", "function": {}}]) == ""
    assert declare([]) == ""


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "string"}]},
        {"$ref": "#/definitions/A"},
        {"$ref": "#/$defs/Missing"},
        {"type": "integer", "enum": ["a"]},
        {"type": ["string", "integer"], "enum": ["a"]},
        {"type": ["string", "date"]},
        {"type": "object", "required": None, "properties": {}},
        {"type": "object", "additionalProperties": "x"},
        {"type": "string", "description": 5},
        {"type": 5},
        {"anyOf": None},
        None,
        "string",
    ],
)
def test_what_the_rules_do_not_cover_has_no_declaration(schema: Any) -> None:
    with pytest.raises(Inexpressible):
        type_of(schema)


keywords = st.sampled_from(
    ["type", "properties", "items", "anyOf", "enum", "$ref", "$defs", "required", "description",
     "additionalProperties", "default", "string", "object", "array", "#", "#/$defs/type"]
)  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1) | keywords,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keywords, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(junk, max_size=2), junk)
def test_whatever_a_schema_holds_it_is_declared_or_refused(tools: list[Any], schema: Any) -> None:
    for attempt in (tools, [tool(schema)], [tool({"properties": {"x": schema}})]):
        with suppress(Inexpressible):
            assert isinstance(declare(attempt), str)
