"""The rules of an object.

Its keys stand in the order of the schema, those that it does not name after them. Of two keys that
are not named nobody can tell here whether they are the same, so at most one of them counts towards
`minProperties`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chogori.chat.schema.grammar import Many, Symbol, Use
from chogori.chat.schema.json_text import BODY, quoted, written
from chogori.chat.schema.texts import NONE, Text, alt, both, literal, other
from chogori.errors import SchemaError

if TYPE_CHECKING:
    from chogori.chat.schema.building import Builder
    from chogori.chat.schema.facets import Leaf

Option = tuple[Symbol, ...]


def object_options(builder: Builder, leaf: Leaf) -> list[Option]:
    """The ways of writing an object that satisfies the plain schemas of `leaf`."""
    return _Object(builder, leaf).options()


@dataclass(frozen=True, slots=True)
class _Pair:
    key: str
    value: Use
    is_required: bool


class _Object:
    def __init__(self, builder: Builder, leaf: Leaf) -> None:
        self._builder = builder
        self._leaf = leaf
        self._schemas: dict[str, Any] = {path: builder.facets.at(path) for path in leaf.paths}
        held = self._schemas.values()
        self._low = max(int(schema.get("minProperties", 0)) for schema in held)
        highs = [int(schema["maxProperties"]) for schema in held if "maxProperties" in schema]
        self._high = min(highs) if highs else None
        required = {name for schema in held for name in schema.get("required", ())}
        named = dict.fromkeys(name for schema in held for name in schema.get("properties", ()))
        for schema in held:
            named.update(dict.fromkeys(schema.get("required", ())))
        self._named = list(named)
        self._pairs = [
            _Pair(name, builder.use(self._of_name(name)), name in required) for name in named
        ]
        self._extra = self._extras()
        self._known: dict[tuple[int, int], Use] = {}

    def options(self) -> list[Option]:
        if self._high is not None and self._low > self._high:
            return []
        if self._low - len(self._pairs) > 1 and not self._builder.wide:
            path = next(
                path for path, s in self._schemas.items() if s.get("minProperties") == self._low
            )
            raise SchemaError(
                "it is held only as far as the keys are named",
                keyword="minProperties",
                path=path,
            )
        return [(self._builder.style.opens, *self._onwards(0, 0))]

    def _onwards(self, number: int, done: int) -> Option:
        """What follows once `done` pairs are written, and the pairs up to `number` are decided."""
        if number == len(self._pairs):
            return self._ending(done)
        pair = self._pairs[number]
        full = self._high is not None and done >= self._high
        if pair.is_required:
            return (NONE,) if full else self._written(pair, done, number)
        if (number, done) not in self._known:
            use = self._builder.define("object", [])
            self._known[number, done] = use
            options = [self._onwards(number + 1, done)]
            if not full:
                options.insert(0, self._written(pair, done, number))
            self._builder.rules[use.name] = options
        return (self._known[number, done],)

    def _written(self, pair: _Pair, done: int, number: int) -> Option:
        signs = self._builder.style
        comma = (signs.comma,) if done else ()
        key = quoted(literal(written(pair.key)))
        more = self._onwards(number + 1, self._counted(done + 1))
        return (*comma, key, signs.colon, pair.value, *more)

    def _counted(self, done: int) -> int:
        """The count as far as it matters."""
        return done if self._high is not None else min(done, max(self._low, 1))

    def _ending(self, done: int) -> Option:
        signs, builder = self._builder.style, self._builder
        lacking = max(self._low - done, 0)
        room = None if self._high is None else self._high - done
        never: Option = (NONE,)
        if room is not None and room < 0:
            return never
        if lacking > 1 and not builder.wide:
            return never
        if self._extra is None or room == 0:
            return never if lacking else (signs.closes,)
        if done:
            return (Many((signs.comma, self._extra), lacking, room), signs.closes)
        left = None if room is None else room - 1
        first = (self._extra, Many((signs.comma, self._extra), max(lacking - 1, 0), left))
        some = (*first, signs.closes)
        return some if lacking else (builder.define("extras", [some, (signs.closes,)]),)

    def _of_name(self, name: str) -> list[str]:
        """The paths of what the value under `name` has to satisfy."""
        found: list[str] = []
        for path, schema in self._schemas.items():
            if not self._may_be_called(path, schema, name):
                return [self._builder.facets.made(f"{path}!never", False)]
            held = self._directly(path, schema, name)
            found += held
            if not held:
                found += self._otherwise(path, schema, name)
        return list(dict.fromkeys(found))

    def _may_be_called(self, path: str, schema: Any, name: str) -> bool:
        if "propertyNames" not in schema:
            return True
        names = self._builder.strings([self._builder.facets.child(path, "propertyNames")])
        return self._builder.holds(names, name)

    def _directly(self, path: str, schema: Any, name: str) -> list[str]:
        facets = self._builder.facets
        found: list[str] = []
        if name in schema.get("properties", {}):
            found.append(facets.child(path, "properties", name))
        for pattern in schema.get("patternProperties", {}):
            self._builder.pattern(pattern, path)
            if re.search(pattern, name):
                found.append(facets.child(path, "patternProperties", pattern))
        return found

    def _otherwise(self, path: str, schema: Any, name: str | None) -> list[str]:
        """What holds for a key that the schema at `path` does not know itself."""
        if "additionalProperties" in schema:
            return [self._builder.facets.child(path, "additionalProperties")]
        if "unevaluatedProperties" in schema and not self._builder.wide:
            family = [
                schema
                for part, schema in self._schemas.items()
                if path in self._leaf.through[part]
                and not self._builder.facets.is_of_negation(self._leaf, part)
            ]
            open_ = ("additionalProperties", "unevaluatedProperties", "patternProperties")
            if any(key in one for one in family for key in open_):
                raise SchemaError(
                    "it is not held beside patterns or additionalProperties in another part",
                    keyword="unevaluatedProperties",
                    path=path,
                )
            if name is None or not any(name in one.get("properties", {}) for one in family):
                return [self._builder.facets.child(path, "unevaluatedProperties")]
        return []

    def _extras(self) -> Use | None:
        """A pair under a key that is not named; each such key matches one pattern or none."""
        patterns = {
            pattern: path
            for path, schema in self._schemas.items()
            for pattern in schema.get("patternProperties", {})
        }
        if self._builder.wide:
            value = self._builder.anything(1) if patterns else self._value(None)
            return self._pair(BODY, value)
        names = both(BODY, *self._allowed_names())
        taken = alt(*(literal(written(name)) for name in self._named))
        free = both(names, other(taken)) if self._named else names
        pairs: list[Use] = []
        for pattern in (*patterns, None):
            others = [
                other(self._builder.pattern(one, path, excludes=True))
                for one, path in patterns.items()
                if one != pattern
            ]
            held = [] if pattern is None else [self._builder.pattern(pattern, patterns[pattern])]
            keys = self._builder.checked(both(free, *held, *others), list(self._schemas))
            if keys is not NONE:
                pairs.append(self._pair(keys, self._value(pattern)))
        if not pairs:
            return None
        return pairs[0] if len(pairs) == 1 else self._builder.define("pair", [(p,) for p in pairs])

    def _pair(self, keys: Text, value: Use) -> Use:
        return self._builder.define("pair", [(quoted(keys), self._builder.style.colon, value)])

    def _allowed_names(self) -> list[Text]:
        return [
            self._builder.strings([self._builder.facets.child(path, "propertyNames")])
            for path, schema in self._schemas.items()
            if "propertyNames" in schema
        ]

    def _value(self, pattern: str | None) -> Use:
        """What stands under a key that matches `pattern` and no other, or none at all."""
        found: list[str] = []
        for path, schema in self._schemas.items():
            if pattern is not None and pattern in schema.get("patternProperties", {}):
                found.append(self._builder.facets.child(path, "patternProperties", pattern))
            else:
                found += self._otherwise(path, schema, None)
        return self._builder.use(found)
