"""What a reference within a schema means: `$id`, `$anchor`, and the paths that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote, urljoin

from chogori.errors import SchemaError

_DATA = ("const", "enum", "default", "examples")
"""Keywords whose values are no schemas."""


class Names:
    """The parts of a schema that have an `$id` or an `$anchor`.

    A reference is read from the nearest `$id` above it (JSON Schema 2020-12, 8.2): `#/$defs/a`
    beneath an `$id` is not the `#/$defs/a` of the whole.
    """

    def __init__(self, root: Any) -> None:
        self._uris: dict[str, str] = {"": ""}
        self._anchors: dict[tuple[str, str], str] = {}
        for path, schema in _schemas(root, ""):
            base = self._base(path)
            name: Any = schema.get("$id")
            if isinstance(name, str) and name.startswith("#"):  # drafts 6 and 7
                self._anchors[base, name[1:]] = path
            elif isinstance(name, str) and name:
                self._uris[path] = urljoin(self._uris[base], name).removesuffix("#")
                base = path
            if isinstance(anchor := schema.get("$anchor"), str):
                self._anchors[base, anchor] = path

    def target(self, path: str, reference: str) -> str:
        """The path that a `$ref` in the schema at `path` means. Raises `SchemaError`."""
        uri, _, fragment = reference.partition("#")
        base = self._base(path)
        if uri:
            wanted = urljoin(self._uris[base], uri)
            named = [path for path, uri in self._uris.items() if uri == wanted]
            if not named:
                raise SchemaError(
                    f"{reference!r} is not in this schema; only references to its own parts are "
                    "held",
                    keyword="$ref",
                    path=path,
                )
            base = named[0]
        fragment = unquote(fragment)
        if (base, fragment) in self._anchors:
            return self._anchors[base, fragment]
        if fragment and not fragment.startswith("/"):
            raise SchemaError(f"there is no anchor {reference!r}", keyword="$ref", path=path)
        return base + fragment

    def _base(self, path: str) -> str:
        """The path of the nearest `$id` above `path`; that of the whole where there is none."""
        return max(
            (one for one in self._uris if path == one or path.startswith((f"{one}/", f"{one}!"))),
            key=len,
        )


def _schemas(schema: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping in a schema that could be one, with its path, from the top."""
    if isinstance(schema, dict):
        held = cast(Mapping[str, Any], schema)
        yield path, held
        for key, value in held.items():
            if key not in _DATA:
                yield from _schemas(value, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(schema, list):
        for number, value in enumerate(cast(list[Any], schema)):
            yield from _schemas(value, f"{path}/{number}")
