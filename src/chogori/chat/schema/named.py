"""Values that schemas name, and those that are plain to see to be none of theirs.

A glance, which finds out early that a way of satisfying a schema is none; `Literals` asks of each
value everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

from chogori.chat.schema.json_text import dumps

Schema = Mapping[str, Any]


def left_of(schemas: Sequence[Schema]) -> list[Any] | None:
    """Of the values that one of the schemas names (`const`, `enum`), those which nothing that is
    plain to see speaks against; None where none of them names any."""
    named = next((held for schema in schemas if (held := _values(schema)) is not None), None)
    if named is None:
        return None
    return [value for value in named if all(_may_be(value, schema) for schema in schemas)]


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return cast(list[Any] | None, schema.get("enum"))


def _may_be(value: Any, schema: Schema) -> bool:
    held, others = _values(schema), _values(_unlike(schema))
    if held is not None and not _is_among(value, held):
        return False
    if others is not None and _is_among(value, others):
        return False
    types: Any = schema.get("type")
    if types is not None and not _types_of(value) & {
        *([types] if isinstance(types, str) else types)
    }:
        return False
    return "excludesText" not in schema or value != schema["excludesText"]


def _unlike(schema: Schema) -> Schema:
    """What it must not be, where that is named and nothing else is said of it."""
    unlike: Any = schema.get("not")
    return (
        cast(Schema, unlike) if isinstance(unlike, dict) and len(cast(Schema, unlike)) == 1 else {}
    )


def _is_among(value: Any, values: Sequence[Any]) -> bool:
    told = _told_apart(value)
    return any(_told_apart(each) == told for each in values)


def _told_apart(value: Any) -> str:
    """The same for values that are the same in JSON, where 1.0 is 1 and true is not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"number {Fraction(value)}"
    return dumps(value)


def _types_of(value: Any) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int() | float():
            return {"number", "integer"} if value == int(value) else {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
        case _:
            return {"object"}
