"""What it takes not to satisfy a schema, as schemas.

A value fails a schema by failing one of its keywords, and each keyword fails only values of one
type; so a negation is a list of schemas of which one has to hold. Some are narrower than they could
be ("not an integer" leaves out fractions), and keywords whose negation is not known are passed over
where that of another is: what they allow is right, not all that is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chogori.errors import SchemaError

Schema = Mapping[str, Any]
_TYPES = ("null", "boolean", "number", "string", "array", "object")
_OPPOSITES = {
    "minimum": ("number", "exclusiveMaximum", 0),
    "maximum": ("number", "exclusiveMinimum", 0),
    "exclusiveMinimum": ("number", "maximum", 0),
    "exclusiveMaximum": ("number", "minimum", 0),
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1),
    "maxProperties": ("object", "minProperties", 1),
}
# fmt: off
_SAYS_NOTHING = frozenset((
    "$defs", "definitions", "$schema", "$id", "id", "$comment", "$anchor", "title",
    "description", "default", "readOnly", "writeOnly", "deprecated", "examples",
    "contentMediaType", "contentEncoding", "contentSchema", "format", "then", "else",
    "minContains", "$vocabulary",
))
# fmt: on


def negated(schema: Schema, path: str) -> Iterator[dict[str, Any]]:
    """The schemas of which one has to hold where `schema` must not. `{"$target": PATH}` stands for
    the negation of the schema at another path. Raises `SchemaError` where none is known."""
    unknown: SchemaError | None = None
    is_empty = True
    for keyword, value in schema.items():
        try:
            for made in _negated(keyword, value, schema, path):
                is_empty = False
                yield made
        except SchemaError as error:
            unknown = unknown or error
    if is_empty and unknown is not None:
        raise unknown


def _negated(keyword: str, value: Any, schema: Schema, path: str) -> Iterator[dict[str, Any]]:
    if keyword in _OPPOSITES:
        type_, opposite, step = _OPPOSITES[keyword]
        if not (step < 0 and value + step < 0):
            yield {"type": type_, opposite: value + step}
        return
    match keyword:
        case "type":
            held = [value] if isinstance(value, str) else value
            numbers = {"number", "integer"} & set(held)
            others = [t for t in _TYPES if t not in held and not (t == "number" and numbers)]
            if others:
                yield {"type": others}
        case "const":
            yield from _unlike(value)
        case "enum":
            yield {"allOf": [{"anyOf": list(_unlike(one)) or [False]} for one in value]}
        case "pattern":
            yield {"type": "string", "excludesPattern": value}
        case "required":
            for name in value:
                yield {"type": "object", "properties": {name: False}}
        case "properties":
            for name, part in value.items():
                yield {"type": "object", "required": [name], "properties": {name: {"not": part}}}
        case "items" if "prefixItems" not in schema and isinstance(value, dict | bool):
            yield {"type": "array", "contains": {"not": value}}
        case "contains" if schema.get("minContains", 1) == 1 and "maxContains" not in schema:
            yield {"type": "array", "items": {"not": value}}
        case "anyOf" | "oneOf":
            yield {"allOf": [{"not": part} for part in value]}
        case "allOf":
            yield from ({"not": part} for part in value)
        case "not":
            yield {"allOf": [value]}
        case "$ref":
            yield {"$target": value}
        case _ if keyword not in _SAYS_NOTHING and keyword in _KNOWN:
            raise SchemaError("its negation is not held", keyword=keyword, path=path)
        case _:
            pass


# fmt: off
_KNOWN = frozenset((
    "if", "dependentRequired", "dependentSchemas", "dependencies", "items",
    "prefixItems", "additionalItems", "contains", "maxContains", "uniqueItems",
    "unevaluatedItems", "additionalProperties", "patternProperties", "propertyNames",
    "unevaluatedProperties", "multipleOf", "$dynamicRef", "$recursiveRef",
))
# fmt: on


def _unlike(value: Any) -> Iterator[dict[str, Any]]:
    """Schemas of what is not `value`."""
    match value:
        case None:
            yield {"type": [t for t in _TYPES if t != "null"]}
        case bool():
            yield {"type": [t for t in _TYPES if t != "boolean"]}
            yield {"const": not value}
        case int() | float():
            yield {"type": [t for t in _TYPES if t != "number"]}
            yield {"type": "number", "exclusiveMaximum": value}
            yield {"type": "number", "exclusiveMinimum": value}
        case str():
            yield {"type": [t for t in _TYPES if t != "string"]}
            yield {"type": "string", "excludesText": value}
        case list():
            yield {"type": [t for t in _TYPES if t != "array"]}
        case _:
            yield {"type": [t for t in _TYPES if t != "object"]}
