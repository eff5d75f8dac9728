"""Tool declarations as TypeScript, the form in which K2.5 and later are told of their tools.

    # Tools

    ## functions
    namespace functions {
    // Get the weather.
    type get_weather = (_: {
      // City name
      // maxLength: 64
      city: string,
      days?: number
    }) => any;
    }

The rules are those of `tool_declaration_ts.py`, published with the models, exactly: which keywords
of JSON Schema are told and which are not, the order of fields, Python's `True` in a default. What
they do not cover (`allOf`, a `$ref` elsewhere, an enum that contradicts its type) raises
`Inexpressible`, and the tools are then declared as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

_STEP = "  "
_SELF = "parameters"
"""What a tool's own parameters are called where they refer to themselves."""

_CONSTRAINTS = {
    "string": ("maxLength", "minLength", "pattern"),
    "number": ("maximum", "minimum"),
    "integer": ("maximum", "minimum"),
    "array": ("maxItems", "minItems"),
}
_IN_A_UNION = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "{}",
    "array": "Array<any>",
}
_PYTHON: dict[Any, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
}


class Inexpressible(Exception):
    """A tool has no declaration as TypeScript."""


@dataclass(frozen=True, slots=True)
class _Type:
    """A type, and the comment that stands above whatever has it."""

    written: Callable[[str], str]
    """Given the indentation of the line on which it begins."""
    comment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: _Type
    is_optional: bool
    default: Any

    def written(self, indent: str) -> str:
        comment = self.type.comment
        if self.default is not None:
            comment += (f"// Default: {_default(self.default)}",)
        mark = "?" if self.is_optional else ""
        return f"{_lines(comment, indent)}{indent}{self.name}{mark}: {self.type.written(indent)}"


def declare(tools: Sequence[Any]) -> str:
    """The declaration of `tools`, entries of a request's `tools`; "" if none is a function.

    Raises `Inexpressible`.
    """
    functions = [
        _function(_record(tool["function"], "a function"))
        for tool in (_record(tool, "a tool") for tool in tools)
        if tool.get("type") == "function" and tool.get("function")
    ]
    if not functions:
        return ""
    body = "\n".join(functions)
    return f"# Tools\n\n## functions\nnamespace functions {{\n{body}\n}}\n"


def _function(function: Mapping[str, Any]) -> str:
    types = _Types()
    fields, rest = types.members(_record(function.get("parameters") or {}, "parameters"))
    blocks: list[str] = []
    parameters = _object(fields, rest).written("")
    if types.refers_to_itself:
        body = ",\n".join(field.written(_STEP) for field in fields)
        blocks.append(f"interface {_SELF} {{{_on_lines(body)}}}")
        parameters = _SELF
    # A copy: definitions that are found within these are not told.
    for name, schema in list(types.definitions.items()):
        written = types.read(schema).written("")
        described = _lines(_description(_record(schema, name)), "")
        blocks.append(f"{described}interface {name} {written}")
    blocks += [_lines(_description(function), "").removesuffix("\n")]
    blocks.append(f"type {function.get('name', 'function')} = (_: {parameters}) => any;")
    return "\n".join(block for block in blocks if block)


class _Types:
    """Reads the schemas of one function."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self.refers_to_itself = False

    def read(self, schema: Any) -> _Type:
        """The type of a schema. What it refers to must have been defined before."""
        if isinstance(schema, bool):
            return _plain("any" if schema else "null")
        schema = _record(schema, "a schema")
        if "$ref" in schema:
            return _plain(self._name(schema["$ref"]), _description(schema))
        if "anyOf" in schema:
            return self._any_of(schema)
        if "enum" in schema:
            return _enum(schema)
        if "type" not in schema:
            if schema:
                raise Inexpressible(f"a schema without a type: {schema}")
            return _plain("any")
        match schema["type"]:
            case "object":
                fields, rest = self.members(schema)
                return _Type(_object(fields, rest).written, _description(schema))
            case "array":
                return self._array(schema)
            case str(name):
                return _plain("number" if name == "integer" else name, _comment(schema, name))
            case list():
                names = [_in_a_union(name) for name in _sequence(schema["type"], "type")]
                return _plain(" | ".join(names), _description(schema))
            case other:
                raise Inexpressible(f"a type that is no name: {other!r}")

    def members(self, schema: Mapping[str, Any]) -> tuple[list[_Field], _Type | None]:
        """The fields of an object as they stand in it, and what any further field may be."""
        self.definitions |= _record(schema.get("$defs") or {}, "$defs")
        rest = self._rest(schema.get("additionalProperties"))
        if "properties" not in schema:
            return [], rest
        required = _sequence(schema.get("required", []), "required")
        properties = _record(schema["properties"], "properties")
        fields = [
            _Field(name, self.read(inner), name not in required, _get_default(inner))
            for name, inner in properties.items()
        ]
        return fields, rest

    def _rest(self, allowed: Any) -> _Type | None:
        match allowed:
            case None:
                return None
            case bool():
                return _plain("any" if allowed else "never")
            case _:
                return self.read(allowed)

    def _any_of(self, schema: Mapping[str, Any]) -> _Type:
        types = [self.read(inner) for inner in _sequence(schema["anyOf"], "anyOf")]
        return _Type(
            lambda indent: " | ".join(type.written(indent) for type in types),
            _description(schema),
        )

    def _array(self, schema: Mapping[str, Any]) -> _Type:
        item = self.read(schema.get("items") or {})

        def written(indent: str) -> str:
            if not item.comment:
                return f"Array<{item.written(indent)}>"
            inner = indent + _STEP
            comment = _lines(item.comment, inner)
            return f"Array<\n{comment}{inner}{item.written(inner)}\n{indent}>"

        return _Type(written, _comment(schema, "array"))

    def _name(self, reference: Any) -> str:
        if reference == "#":
            self.refers_to_itself = True
            return _SELF
        name = str(reference).rpartition("/")[2]
        if not str(reference).startswith("#/$defs/") or name not in self.definitions:
            raise Inexpressible(f"a reference to something not defined: {reference}")
        _record(self.definitions[name], name)
        return name


def _object(fields: Sequence[_Field], rest: _Type | None) -> _Type:
    ordered = sorted(fields, key=lambda field: (field.is_optional, field.name))

    def written(indent: str) -> str:
        inner = indent + _STEP
        lines = [field.written(inner) for field in ordered]
        if rest:
            lines.append(f"{inner}[k: string]: {rest.written(inner)}")
        body = _on_lines(",\n".join(lines))
        return f"{{{body}{indent}}}" if lines else "{}"

    return _Type(written)


def _enum(schema: Mapping[str, Any]) -> _Type:
    values = _sequence(schema["enum"], "enum")
    if "type" in schema:
        kind = schema["type"]
        if isinstance(kind, list):
            kinds = cast(list[Any], kind)
            named = [name for name in kinds if name != "null"] or kinds
            if len(kinds) > 2 or (len(kinds) == 2 and "null" not in kinds) or not kinds:
                raise Inexpressible(f"an enum of several types: {kinds}")
            kind = named[0]
        python = _PYTHON.get(kind) if isinstance(kind, str) else None
        if python and not all(value is None or isinstance(value, python) for value in values):
            raise Inexpressible(f"an enum of type {kind} with other values: {values}")
    written = " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in values)
    return _plain(written, _description(schema))


def _plain(written: str, comment: tuple[str, ...] = ()) -> _Type:
    return _Type(lambda _: written, comment)


def _comment(schema: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    told = [f"{key}: {schema[key]}" for key in _CONSTRAINTS.get(kind, ()) if key in schema]
    return _description(schema) + ((f"// {', '.join(told)}",) if told else ())


def _description(schema: Mapping[str, Any]) -> tuple[str, ...]:
    text = schema.get("description")
    if not text:
        return ()
    if not isinstance(text, str):
        raise Inexpressible(f"a description that is no text: {text!r}")
    return tuple(f"// {line}" if line else "" for line in text.split("\n"))


def _get_default(schema: Any) -> Any:
    return cast(Mapping[str, Any], schema).get("default") if isinstance(schema, Mapping) else None


def _default(value: Any) -> str:
    if isinstance(value, int | float):  # booleans are integers: Python's True
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def _lines(comment: Sequence[str], indent: str) -> str:
    return "".join(f"{indent}{line}\n" if line else "\n" for line in comment)


def _on_lines(body: str) -> str:
    return f"\n{body}\n" if body else ""


def _record(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Inexpressible(f"{what} that is no object: {value!r}")
    return cast(Mapping[str, Any], value)


def _sequence(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise Inexpressible(f"{what} that is no list: {value!r}")
    return cast(Sequence[Any], value)


def _in_a_union(name: Any) -> str:
    if not isinstance(name, str) or name not in _IN_A_UNION:
        raise Inexpressible(f"a type that is not known: {name!r}")
    return _IN_A_UNION[name]
