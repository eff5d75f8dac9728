"""The gate: a JSON schema becomes rules, or is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from chogori.chat.schema.building import Builder
from chogori.chat.schema.grammar import Grammar, Symbol, Use
from chogori.chat.schema.style import COMPACT, Style
from chogori.errors import SchemaError

BYTES = 256 * 1024
"""A schema is no longer than this, as JSON."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """The rules of one schema, none of which leads nowhere, and the one to begin with."""

    start: Use
    rules: Mapping[str, list[tuple[Symbol, ...]]]


def compiled(
    schema: Mapping[str, Any] | bool,
    *,
    style: Style = COMPACT,
    prefix: str = "",
    is_object: bool = False,
    param: str | None = None,
) -> Compiled:
    """The rules of `schema`, their names begun with `prefix`. With `is_object`, values that are no
    objects are left out where objects satisfy it, as is meant with the arguments of a tool.

    Raises `SchemaError` where it cannot be promised that whatever the rules allow satisfies the
    schema, or where nothing does. `param` names the schema in the request.
    """
    try:
        text = orjson.dumps(schema)
        if len(text) > BYTES:
            raise SchemaError(
                f"it is {len(text):,} bytes long, and {BYTES:,} are read",
                keyword="$schema",
                path="",
            )
        return _compiled(text, style, prefix, is_object)
    except SchemaError as error:
        place = f"#{error.path}"
        raise SchemaError(
            f"the schema cannot be held to: {error.keyword} at {place}: {error}",
            keyword=error.keyword,
            path=error.path,
            param=param,
        ) from None
    except (TypeError, RecursionError) as error:
        raise SchemaError(
            f"the schema cannot be read: {error}", keyword="$schema", path="", param=param
        ) from None


@lru_cache(maxsize=128)
def _compiled(text: bytes, style: Style, prefix: str, is_object: bool) -> Compiled:
    root: Any = orjson.loads(text)
    _check(root)
    if is_object:
        narrowed: Any = {"$ref": "#", "type": "object"} if root is not False else False
        try:
            return _built(root, narrowed, style, prefix)
        except SchemaError as error:
            if error.keyword != "type":
                raise
    return _built(root, None, style, prefix)


def _built(root: Any, narrowed: Any, style: Style, prefix: str) -> Compiled:
    builder = Builder(root, style=style, prefix=prefix)
    path = "" if narrowed is None else builder.facets.made("!object", narrowed)
    start = builder.build(path)
    grammar = Grammar((start,), builder.rules)
    if grammar.is_empty:
        raise SchemaError("nothing satisfies it that can be written", keyword="type", path="")
    return Compiled(start, grammar.rules)


def _check(root: Any) -> None:
    """That the schema is one. Raises `SchemaError`."""
    from jsonschema import Draft202012Validator
    from jsonschema import exceptions as told
    from jsonschema.validators import validator_for

    kind: Any = validator_for(root, default=Draft202012Validator)
    try:
        kind.check_schema(root)
    except told.SchemaError as error:
        path = "".join(f"/{step}" for step in error.path)
        keyword = next((str(s) for s in reversed(error.path) if isinstance(s, str)), "$schema")
        message = error.message
        raise SchemaError(f"it is no schema: {message[:200]}", keyword=keyword, path=path) from None
