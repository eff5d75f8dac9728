"""The schema that a probe asks for, and a check of what came back.

The check knows the words of JSON Schema that the schema uses, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chogori.api.fields import record

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
        "colour": {"type": "string", "enum": ["teal", "ochre"]},
        "count": {"type": "integer", "minimum": 40},
    },
    "required": ["code", "colour", "count"],
    "additionalProperties": False,
}

_TYPES: dict[str, Any] = {"object": Mapping, "string": str, "integer": int}


def violation(value: object, schema: Mapping[str, Any], name: str = "the reply") -> str | None:
    """What of `schema` the value breaks first; None where it fits."""
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
        return f"{name} is no {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{name} is none of {', '.join(schema['enum'])}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return f"{name} does not match {schema['pattern']}"
    if isinstance(value, int) and value < schema.get("minimum", value):
        return f"{name} is below {schema['minimum']}"
    return _violation_inside(record(value), schema) if kind == "object" else None


def _violation_inside(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    properties = record(schema.get("properties"))
    for name in schema.get("required", ()):
        if name not in value:
            return f"{name} is missing"
    for name, inner in value.items():
        if name in properties:
            if broken := violation(inner, properties[name], name):
                return broken
        elif schema.get("additionalProperties") is False:
            return f"{name} is not in the schema"
    return None
