"""From a JSON schema to the ways of satisfying it: sets of plain schemas that hold together.

`$ref`, `allOf`, `anyOf`, `oneOf`, `not`, `if` and the `dependent` keywords say which schemas a
value has to satisfy at once; here they are taken away. What is left are leaves: for each way, the
plain schemas (types, bounds, properties, ...) that all have to hold. A schema is known by its path,
a JSON pointer; those made here, of what is negated, get a path of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from chogori.chat.schema.named import left_of
from chogori.chat.schema.names import Names
from chogori.chat.schema.negation import negated
from chogori.errors import SchemaError

Schema = Mapping[str, Any]
# fmt: off
PLAIN = frozenset((
    "type", "const", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minLength", "maxLength", "pattern", "format", "items", "prefixItems",
    "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains",
    "maxContains", "unevaluatedItems", "properties", "required", "additionalProperties",
    "patternProperties", "propertyNames", "minProperties", "maxProperties",
    "unevaluatedProperties", "excludesPattern", "excludesText",
))
# fmt: on
UNHELD = ("$dynamicRef", "$recursiveRef")
WAYS = 400
"""Ways of satisfying one schema; more are not held."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """Plain schemas that hold together, and which schemas each of them was reached through."""

    paths: tuple[str, ...]
    through: Mapping[str, frozenset[str]]


Choice = list[list[str]]
"""Options; each is the paths that hold if it is taken."""


class Facets:
    """A schema with its parts by path. `are_disjoint` says of two paths that no value satisfies
    both."""

    def __init__(self, root: Any, are_disjoint: Callable[[str, str], bool]) -> None:
        self.root = root
        self._is_probe = False
        self._are_disjoint = are_disjoint
        self._made: dict[str, Any] = {"": root}
        self._names = Names(root)
        self._negations: set[str] = set()

    def shared_with(self, are_disjoint: Callable[[str, str], bool]) -> Facets:
        """The same schema and paths, to find out what excludes what: all that may hold counts."""
        made = object.__new__(Facets)
        made._is_probe = True
        made.root, made._are_disjoint = self.root, are_disjoint
        made._made, made._names, made._negations = self._made, self._names, self._negations
        return made

    def at(self, path: str) -> Any:
        """The schema at `path`."""
        return self._made[path]

    def child(self, path: str, *steps: str | int) -> str:
        """The path of a schema within that at `path`; a mere reference is its target."""
        schema: Any = self._made[path]
        for step in steps:
            schema = schema[step]
            path += "/" + str(step).replace("~", "~0").replace("/", "~1")
        self._made[path] = schema
        seen = {path}
        while isinstance(schema, dict) and "$ref" in schema and not _has_more(cast(Schema, schema)):
            path = self._target(path, cast(Schema, schema)["$ref"])
            if path in seen:
                raise SchemaError("it refers to itself alone", keyword="$ref", path=path)
            seen.add(path)
            schema = self._made[path]
        return path

    def made(self, path: str, schema: Any) -> str:
        """The path under which a schema that was made here is known from now on."""
        self._made[path] = schema
        return path

    def is_of_negation(self, leaf: Leaf, path: str) -> bool:
        """Whether the schema at `path` only says how another is not satisfied."""
        return not self._negations.isdisjoint((path, *leaf.through[path]))

    def leaves(self, paths: Iterable[str]) -> list[Leaf]:
        """Every way of satisfying the schemas at `paths` together."""
        found: list[Leaf] = []
        start = {path: frozenset[str]() for path in paths}
        for leaf in self._walk(start, {}, []):
            found.append(leaf)
            if len(found) > WAYS:
                path = next(iter(start))
                raise SchemaError(
                    f"there are more than {WAYS} ways of satisfying it", keyword="anyOf", path=path
                )
        return found

    def lone_choice(self, paths: frozenset[str]) -> Choice | None:
        """The options, where the one schema at `paths` is nothing but a choice."""
        if len(paths) != 1:
            return None
        (path,) = paths
        schema = self._made[path]
        if not isinstance(schema, dict) or not any(key in schema for key in ("anyOf", "oneOf")):
            return None
        held = {key for key in cast(Schema, schema) if key in PLAIN or key in _APPLICATORS}
        return self._choices(path, cast(Schema, schema))[0] if len(held) == 1 else None

    def _walk(
        self,
        pending: dict[str, frozenset[str]],
        seen: dict[str, frozenset[str]],
        choices: list[tuple[str, Choice]],
    ) -> Iterator[Leaf]:
        pending, seen, choices = dict(pending), dict(seen), list(choices)
        while pending:
            path, through = pending.popitem()
            if path in through:
                raise SchemaError("it refers to itself alone", keyword="$ref", path=path)
            if path in seen:
                seen[path] |= through
                continue
            seen[path] = through
            schema = self._made[path]
            if schema is False:
                return
            if schema is True:
                continue
            self._refuse_unheld(path, schema)
            beneath = through | {path}
            if "$ref" in schema:
                pending[self._target(path, schema["$ref"])] = beneath
            for number in range(len(schema.get("allOf", ()))):
                pending[self.child(path, "allOf", number)] = beneath
            choices += [(path, choice) for choice in self._choices(path, schema)]
        if not choices:
            plain = [path for path in seen if _is_plain(self._made[path])]
            yield Leaf(tuple(plain), seen)
            return
        if self._excludes_itself(seen):
            return
        (path, choice), *rest = choices
        beneath = seen[path] | {path}
        for option in choice:
            yield from self._walk(dict.fromkeys(option, beneath), seen, rest)

    def _excludes_itself(self, paths: Iterable[str]) -> bool:
        """Whether it is plain to see that nothing satisfies the schemas at `paths` together: they
        name values, or those of a key that there must be, and none is left. So a row of conditions
        on one key has as many ways as the key has values, and not twice as many for each."""
        schemas = [cast(Schema, s) for p in paths if isinstance(s := self._made[p], dict)]
        if left_of(schemas) == []:
            return True
        if not any(schema.get("type") == "object" for schema in schemas):
            return False
        for name in {name for schema in schemas for name in schema.get("required", ())}:
            parts = [schema.get("properties", {}).get(name) for schema in schemas]
            if left_of([cast(Schema, part) for part in parts if isinstance(part, dict)]) == []:
                return True
        return False

    def _choices(self, path: str, schema: Schema) -> list[Choice]:
        choices: list[Choice] = []
        if "anyOf" in schema:
            choices.append([[one] for one in self._children(path, "anyOf")])
        if "oneOf" in schema:
            choices.append(self._one_of(path))
        if "not" in schema:
            choices.append(self._not(self.child(path, "not")))
        if "if" in schema:
            condition = self.child(path, "if")
            then = [self.child(path, "then")] if "then" in schema else []
            other = [self.child(path, "else")] if "else" in schema else []
            if then or other:
                unmet = [[*option, *other] for option in self._not(condition)]
                choices.append([[condition, *then], *unmet])
        for keyword, name, needed in _dependents(schema):
            absent = self.made(f"{path}!no {name}", {"properties": {name: False}})
            others = cast(list[str], needed) if isinstance(needed, list) else []
            with_it = f"{path}!{keyword} {name}"
            present = [self.made(with_it, {"required": [name, *others]})]
            if not isinstance(needed, list):
                present.append(self.child(path, keyword, name))
            choices.append([[absent], present])
        return choices

    def _children(self, path: str, keyword: str) -> list[str]:
        return [self.child(path, keyword, n) for n in range(len(self._made[path][keyword]))]

    def _one_of(self, path: str) -> Choice:
        options = self._children(path, "oneOf")
        if self._is_probe:
            return [[option] for option in options]
        overlaps = [
            [two for two in options[:n] + options[n + 1 :] if not self._are_disjoint(one, two)]
            for n, one in enumerate(options)
        ]
        choice: Choice = []
        for option, others in zip(options, overlaps, strict=True):
            ways: Choice = [[option]]
            for other in others:
                try:
                    nots = self._not(other)
                except SchemaError as error:
                    raise SchemaError(
                        f"its options may hold at once, and {error}", keyword="oneOf", path=path
                    ) from None
                ways = [[*way, *one] for way in ways for one in nots]
            choice += ways
        return choice

    def _not(self, path: str) -> Choice:
        """The ways of not satisfying the schema at `path`, or some of them."""
        if self._is_probe:
            raise SchemaError("not all of its negation is known", keyword="not", path=path)
        schema = self._made[path]
        if isinstance(schema, bool):
            return [] if schema else [[]]
        if "$ref" in schema:
            schema = {**schema, "$ref": self._target(path, schema["$ref"])}
        options: Choice = []
        for number, made in enumerate(negated(cast(Schema, schema), path)):
            if "$target" in made:
                options += self._not(made["$target"])
            else:
                options.append([self.made(f"{path}!{number}", made)])
                self._negations.update(options[-1])
        return options

    def _refuse_unheld(self, path: str, schema: Schema) -> None:
        for keyword in UNHELD:
            if keyword in schema:
                raise SchemaError("it is not held", keyword=keyword, path=path)

    def _target(self, path: str, reference: Any) -> str:
        """The path that a `$ref` means."""
        found = self._names.target(path, str(reference))
        if found not in self._made:
            self._made[found] = self._lookup(path, found, reference)
        return found

    def _lookup(self, path: str, pointer: str, reference: Any) -> Any:
        found: Any = self.root
        for step in pointer.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            try:
                key: Any = int(step) if isinstance(found, list) else step
                found = cast(Any, found)[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise SchemaError(
                    f"there is nothing at {reference!r}", keyword="$ref", path=path
                ) from None
        if isinstance(found, dict | bool):
            return cast(Any, found)
        raise SchemaError(f"{reference!r} is no schema", keyword="$ref", path=path)


# fmt: off
_APPLICATORS = frozenset((
    "$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas",
    "dependencies",
))
# fmt: on


def _has_more(schema: Schema) -> bool:
    return any(key in PLAIN or (key in _APPLICATORS and key != "$ref") for key in schema)


def _is_plain(schema: Any) -> bool:
    return isinstance(schema, dict) and any(key in PLAIN for key in cast(Schema, schema))


def _dependents(schema: Schema) -> Iterator[tuple[str, str, Any]]:
    for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
        for name, needed in schema.get(keyword, {}).items():
            yield keyword, name, needed
