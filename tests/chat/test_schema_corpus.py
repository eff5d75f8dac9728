"""What may be written by the grammar of a schema satisfies the schema: one schema a line, of every
kind that is held, in the manner of Moonshot's own list."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema.validators import validator_for

from chogori.chat.schema import COMPACT, SPACED, Cursor, Grammar, Style, compiled
from chogori.errors import SchemaError
from writing import lines_of, write

LINES = Path(__file__).with_name("schemas.jsonl").read_text(encoding="utf-8").splitlines()


def check(schema: Any, text: str) -> None:
    """That the text is JSON which satisfies the schema, formats included."""
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    errors = list(kind(schema, format_checker=checker).iter_errors(json.loads(text)))
    assert not errors, f"{text} does not satisfy {json.dumps(schema)}: {errors[0].message}"


@pytest.mark.parametrize("line", LINES)
def test_whatever_is_written_satisfies_the_schema_wherever_it_is_ended(line: str) -> None:
    schema: Any = json.loads(line)
    held = compiled(schema)
    grammar = Grammar((held.start,), held.rules)
    ending = Cursor(grammar).ending()
    assert ending is not None, "a whole can be written"
    check(schema, ending)
    text = lines_of(held)
    for seed in range(4):
        written, is_whole = write(text, random.Random(seed), limit=20 + 60 * seed)
        cursor = Cursor(grammar)
        cursor.feed(written)
        ending = cursor.ending()
        assert ending is not None, f"the cursor follows {written}"
        assert cursor.is_complete or not is_whole, f"both agree that {written} is whole"
        check(schema, written + ending)


@pytest.mark.parametrize("line", LINES[::7])
def test_spaces_are_one_at_most_and_change_nothing(line: str) -> None:
    schema: Any = json.loads(line)
    held = compiled(schema, style=SPACED)
    for seed in range(3):
        written, _ = write(lines_of(held), random.Random(seed))
        cursor = Cursor(Grammar((held.start,), held.rules))
        cursor.feed(written)
        check(schema, written + (cursor.ending() or ""))


@pytest.mark.parametrize("style", [COMPACT, SPACED])
def test_the_arguments_of_a_tool_are_an_object_where_they_may_be_one(style: Style) -> None:
    for schema in ({}, {"type": ["string", "object"]}, {"properties": {"a": {"type": "null"}}}):
        held = compiled(schema, style=style, is_object=True)
        assert Cursor(Grammar((held.start,), held.rules)).ending() == "{}"
    held = compiled({"type": "string"}, style=style, is_object=True)
    assert Cursor(Grammar((held.start,), held.rules)).ending() == '""'


@pytest.mark.parametrize(
    ("schema", "keyword", "path"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems", ""),
        ({"properties": {"a": {"$ref": "https://example.com/x"}}}, "$ref", "/properties/a"),
        ({"$ref": "#/$defs/none"}, "$ref", ""),
        ({"$ref": "#"}, "$ref", ""),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "$ref", ""),
        ({"allOf": [{"type": "null"}, {"$ref": "#"}]}, "$ref", ""),
        ({"items": {"$dynamicRef": "#x"}}, "$dynamicRef", "/items"),
        ({"type": "string", "pattern": r"^(a)\1$"}, "pattern", ""),
        ({"type": "string", "pattern": r"\bword\b"}, "pattern", ""),
        ({"type": "string", "pattern": "(?<=a)b"}, "pattern", ""),
        ({"type": "string", "pattern": "("}, "pattern", "/pattern"),
        ({"type": "object", "minProperties": 3}, "minProperties", ""),
        ({"type": "array", "contains": {"const": 1}, "maxContains": 2}, "maxContains", ""),
        ({"oneOf": [{"type": "integer"}, {"multipleOf": 3}]}, "oneOf", ""),
        ({"not": {"patternProperties": {"a": False}}}, "patternProperties", "/not"),
        ({"type": "string", "minLength": 10**12}, "minLength", ""),
        ({"type": "array", "minItems": 10**9}, "minItems", ""),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "type", ""),
        ({"type": "nonsense"}, "type", "/type"),
        ({"properties": []}, "properties", "/properties"),
        (False, "type", ""),
    ],
)
def test_what_cannot_be_promised_is_refused_with_keyword_and_place(
    schema: Any, keyword: str, path: str
) -> None:
    with pytest.raises(SchemaError) as refused:
        compiled(schema, param="tools.0.function.parameters")
    assert (refused.value.keyword, refused.value.path) == (keyword, path)
    assert refused.value.param == "tools.0.function.parameters"
    assert str(refused.value).startswith(f"the schema cannot be held to: {keyword} at #{path}: ")
