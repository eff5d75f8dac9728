"""The values of `const` and `enum` that satisfy all else that is asked of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from chogori.chat.schema.facets import PLAIN, Schema

_OURS = ("excludesPattern", "excludesText")


class Literals:
    """Tries values on the parts of one schema, with `jsonschema`."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._validator: Any = None

    def of(self, paths: Sequence[str], schemas: Sequence[Schema]) -> list[Any] | None:
        """The values that the schemas leave; None where none of them enumerates any."""
        lists = [
            cast(list[Any], [schema["const"]] if "const" in schema else schema["enum"])
            for schema in schemas
            if "const" in schema or "enum" in schema
        ]
        if not lists:
            return None
        return [value for value in lists[0] if all(self._fits(value, one) for one in schemas)]

    def fits(self, value: Any, schema: Any) -> bool:
        """Whether `value` satisfies a part of the schema."""
        return bool(self._checker().evolve(schema=schema).is_valid(value))

    def _fits(self, value: Any, schema: Schema) -> bool:
        if isinstance(value, str):
            if value == schema.get("excludesText"):
                return False
            if "excludesPattern" in schema and re.search(schema["excludesPattern"], value):
                return False
        plain = {key: part for key, part in schema.items() if key in PLAIN and key not in _OURS}
        return self.fits(value, plain)

    def _checker(self) -> Any:
        if self._validator is None:
            from jsonschema import Draft202012Validator
            from jsonschema.validators import validator_for

            kind: Any = validator_for(self._root, default=Draft202012Validator)
            self._validator = kind(self._root)
        return self._validator
