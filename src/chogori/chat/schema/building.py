"""From a JSON schema to a grammar that allows nothing but what satisfies it.

Not all that does: keys stand in the order of the schema, numbers have fifteen digits, values of no
stated shape nest a few levels deep, a list of unique items keeps the order of its enumeration. What
cannot be held even so is refused with the keyword and its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, cast

from chogori.chat.schema.facets import Facets, Leaf, Schema
from chogori.chat.schema.formats import FORMATS
from chogori.chat.schema.grammar import Grammar, Many, Symbol, Use
from chogori.chat.schema.json_text import (
    ANY,
    BODY,
    dumps,
    integers,
    multiples,
    numbers,
    quoted,
    written,
)
from chogori.chat.schema.lists import list_options
from chogori.chat.schema.literals import Literals
from chogori.chat.schema.objects import object_options
from chogori.chat.schema.patterns import Unheld, matching
from chogori.chat.schema.style import COMPACT, Style
from chogori.chat.schema.texts import (
    NONE,
    Text,
    TooComplex,
    after,
    alt,
    both,
    literal,
    other,
    rep,
    shortest,
)
from chogori.errors import SchemaError

RULES = 6_000
DEPTH = 4
"""How deep a value nests that may be anything."""
LENGTH = 3_000
"""Characters of a string of which a schema may speak: from 5,000 on llguidance gives up."""
STEPS = 2_000
"""Multiples of a step that are written out."""
TYPES = ("object", "array", "string", "number", "boolean", "null")
_IMPLIED = {
    "object": ("properties", "required", "patternProperties", "minProperties", "maxProperties"),
    "array": ("prefixItems", "items", "minItems", "maxItems", "contains", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""What a schema means that names no type, where one of these keywords shows it."""
Option = tuple[Symbol, ...]


class Builder:
    """Makes the rules of one schema. `wide`: too much rather than too little, to find out whether
    two schemas exclude each other."""

    def __init__(self, root: Any, *, style: Style = COMPACT, prefix: str = "", wide: bool = False):
        self.style = style
        self.wide = wide
        self.facets = Facets(root, self._are_disjoint)
        self.rules: dict[str, list[Option]] = {}
        self._prefix = prefix
        self._names: dict[frozenset[str], str] = {}
        self._waiting: list[frozenset[str]] = []
        self._literals = Literals(root)
        self._apart: dict[frozenset[str], bool] = {}

    def build(self, *paths: str) -> Use:
        """The rule of what satisfies the schemas at `paths`; all others come with it."""
        start = self.use(paths)
        while self._waiting:
            together = self._waiting.pop()
            self.rules[self._names[together]] = self._options(together)
        for together, name in self._names.items():
            if self._comes_round(name):
                raise SchemaError("it refers to itself alone", keyword="$ref", path=min(together))
        return start

    def use(self, paths: Iterable[str]) -> Use:
        """The rule of what satisfies all the schemas at `paths`."""
        together = frozenset(path for path in paths if self.facets.at(path) not in (True, {}))
        if not together:
            return self.anything(DEPTH)
        if together not in self._names:
            self._names[together] = self.name("value")
            self._waiting.append(together)
        return Use(self._names[together])

    def name(self, what: str) -> str:
        """A name for a new rule."""
        name = f"{self._prefix}{what}_{len(self.rules)}"
        if len(self.rules) > RULES:
            raise SchemaError(f"it takes more than {RULES} rules", keyword="$defs", path="")
        self.rules[name] = []
        return name

    def define(self, what: str, options: Sequence[Option]) -> Use:
        """A rule of these options."""
        name = self.name(what)
        self.rules[name] = list(options)
        return Use(name)

    def anything(self, depth: int) -> Use:
        """Any JSON, nested `depth` levels deep at most."""
        name = f"{self._prefix}any_{depth}"
        if name not in self.rules:
            signs = self.style
            scalars = alt(*map(literal, ("null", "true", "false")), numbers(None, None))
            options: list[Option] = [(alt(scalars, quoted(BODY)),)]
            self.rules[name] = options
            if depth:
                item = self.anything(depth - 1)
                pair = (quoted(BODY), signs.colon, item)
                options += [
                    (signs.opens, signs.closes),
                    (signs.opens, *pair, Many((signs.comma, *pair), 0, None), signs.closes),
                    (signs.opens_list, signs.closes_list),
                    (
                        signs.opens_list,
                        item,
                        Many((signs.comma, item), 0, None),
                        signs.closes_list,
                    ),
                ]
        return Use(name)

    def strings(self, paths: Iterable[str]) -> Text:
        """The strings that satisfy the schemas at `paths`, as they stand between quotes."""
        found: list[Text] = []
        for leaf in self.facets.leaves(paths):
            schemas = [self.facets.at(path) for path in leaf.paths]
            if (values := self._literals.of(leaf.paths, schemas)) is not None:
                found += [literal(written(v)) for v in values if isinstance(v, str)]
            elif "string" in self._types(schemas):
                found.append(self._string(leaf.paths, schemas))
        return alt(*found)

    def holds(self, text: Text, name: str) -> bool:
        """Whether a string is among those that `text` allows between quotes."""
        for char in written(name):
            text = after(text, char)
        return text.nullable

    def enumerated(self, paths: Sequence[str]) -> list[Text] | None:
        """The values that satisfy the schemas at `paths`, as they are written, where all of them
        are named there."""
        found: dict[str, None] = {}
        for leaf in self.facets.leaves(paths):
            schemas = [self.facets.at(path) for path in leaf.paths]
            values = self._literals.of(leaf.paths, schemas)
            if values is None:
                types = self._types(schemas) if schemas else ["object"]
                if not set(types) <= {"boolean", "null"}:
                    return None
                values = [v for t in types for v in ((None,) if t == "null" else (False, True))]
            found.update(dict.fromkeys(map(dumps, values)))
        return [literal(value) for value in found]

    def _comes_round(self, name: str) -> bool:
        """Whether a rule leads to itself with nothing between; no validator comes to an end."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for option in self.rules[waiting.pop()]:
                if len(option) == 1 and isinstance(option[0], Use):
                    if option[0].name == name:
                        return True
                    if option[0].name not in seen:
                        seen.add(option[0].name)
                        waiting.append(option[0].name)
        return False

    def _options(self, together: frozenset[str]) -> list[Option]:
        if (choice := self.facets.lone_choice(together)) is not None:
            return [(self.use(option),) for option in choice]
        options: list[Option] = []
        for leaf in self.facets.leaves(together):
            options += self._leaf(leaf)
        return options

    def _leaf(self, leaf: Leaf) -> list[Option]:
        schemas = [self.facets.at(path) for path in leaf.paths]
        if not schemas:
            return [(self.anything(DEPTH),)]
        if (values := self._literals.of(leaf.paths, schemas)) is not None:
            return [(literal(dumps(value)),) for value in values]
        options: list[Option] = []
        for type_ in self._types(schemas):
            match type_:
                case "object":
                    options += object_options(self, leaf)
                case "array":
                    options += list_options(self, leaf)
                case "string":
                    options.append((quoted(self._string(leaf.paths, schemas)),))
                case "number" | "integer":
                    options.append((self._number(leaf.paths, schemas, type_),))
                case "boolean":
                    options.append((alt(literal("true"), literal("false")),))
                case _:
                    options.append((literal("null"),))
        return options

    def _types(self, schemas: Sequence[Schema]) -> list[str]:
        """The types that all the schemas allow; `integer` instead of `number` where one says so."""
        allowed = set(TYPES)
        whole = False
        for schema in schemas:
            named: Any = schema.get("type", TYPES)
            held = {named} if isinstance(named, str) else set[str](named)
            if "integer" in held and "number" not in held:
                whole = True
                held.add("number")
            allowed &= held
        if not self.wide and not any("type" in schema for schema in schemas):
            keys = {key for schema in schemas for key in schema}
            implied = [type_ for type_, named in _IMPLIED.items() if keys & set(named)]
            allowed = set(implied[:1]) or allowed
        found = [type_ for type_ in TYPES if type_ in allowed]
        return ["integer" if type_ == "number" and whole else type_ for type_ in found]

    def _string(self, paths: Sequence[str], schemas: Sequence[Schema]) -> Text:
        low = max((int(schema.get("minLength", 0)) for schema in schemas), default=0)
        highs = [int(schema["maxLength"]) for schema in schemas if "maxLength" in schema]
        if low > LENGTH:
            path = next(p for p, s in zip(paths, schemas, strict=True) if s.get("minLength") == low)
            raise SchemaError(
                f"{low:,} characters are more than are ever written", keyword="minLength", path=path
            )
        if highs and low > min(highs):
            return NONE
        parts = [rep(ANY, low, min(*highs, LENGTH)) if highs else rep(ANY, low, None)]
        for path, schema in zip(paths, schemas, strict=True):
            if "pattern" in schema:
                parts.append(self.pattern(schema["pattern"], path))
            if isinstance(name := schema.get("format"), str) and name in FORMATS and not self.wide:
                parts.append(matching(FORMATS[name]))
            if "excludesPattern" in schema:
                parts.append(other(self.pattern(schema["excludesPattern"], path, excludes=True)))
            if "excludesText" in schema:
                parts.append(other(literal(written(schema["excludesText"]))))
        return self.checked(both(BODY, *parts), paths)

    def pattern(self, pattern: str, path: str, *, excludes: bool = False) -> Text:
        """The strings that match; with `excludes`, all that anybody could take for a match."""
        try:
            re.compile(pattern)
            return matching(pattern, wide=excludes != self.wide)
        except (Unheld, re.error) as error:
            raise SchemaError(
                f"{pattern!r} is not held: it has {error}", keyword="pattern", path=path
            ) from None

    def checked(self, text: Text, paths: Sequence[str]) -> Text:
        """The text, or NONE where nothing is in it."""
        try:
            return text if shortest(text) is not None else NONE
        except TooComplex:
            raise SchemaError(
                "together these are too much to hold", keyword="pattern", path=paths[0]
            ) from None

    def _number(self, paths: Sequence[str], schemas: Sequence[Schema], type_: str) -> Text:
        low, above = _bound(schemas, "minimum", "exclusiveMinimum", lower=True)
        high, below = _bound(schemas, "maximum", "exclusiveMaximum", lower=False)
        steps = {Decimal(str(s["multipleOf"])): p for p, s in _with(paths, schemas, "multipleOf")}
        if type_ == "integer":
            steps.setdefault(Decimal(1), "")
        steps = {} if self.wide else {abs(step): path for step, path in steps.items()}
        if steps == {Decimal(1): ""} or (self.wide and type_ == "integer"):
            return integers(_ceil(low, above), _floor(high, below))
        if not steps:
            return numbers(low, high, above=above, below=below)
        step = max(steps)
        found = [
            number
            for number in multiples(step, low, high, STEPS)
            if not (above and Decimal(number) == low)
            and not (below and Decimal(number) == high)
            and all(_is_multiple(number, one) for one in steps)
        ]
        if not found:
            raise SchemaError(
                "no multiple within the bounds was found", keyword="multipleOf", path=steps[step]
            )
        return alt(*map(literal, found))

    def _are_disjoint(self, one: str, two: str) -> bool:
        """Whether nothing satisfies both; False where that is not plain to see."""
        key = frozenset((one, two))
        if key not in self._apart:
            self._apart[key] = False  # for a schema that comes round to itself
            probe = Builder(self.facets.root, wide=True)
            probe.facets = self.facets.shared_with(probe._are_disjoint)
            probe._apart = self._apart
            try:
                start = probe.build(one, two)
                self._apart[key] = Grammar((start,), probe.rules).is_empty
            except SchemaError:
                pass
        return self._apart[key]


def _with(
    paths: Sequence[str], schemas: Sequence[Schema], keyword: str
) -> Iterable[tuple[str, Schema]]:
    return ((p, s) for p, s in zip(paths, schemas, strict=True) if keyword in s)


def _bound(
    schemas: Sequence[Schema], inclusive: str, exclusive: str, *, lower: bool
) -> tuple[Decimal | None, bool]:
    """The tightest bound, and whether it is excluded itself."""
    found: list[tuple[Decimal, bool]] = []
    for schema in schemas:
        strict: Any = schema.get(exclusive)
        if inclusive in schema:
            found.append((Decimal(str(schema[inclusive])), strict is True))
        if strict is not None and not isinstance(strict, bool):
            found.append((Decimal(str(cast(float, strict))), True))
    if not found:
        return None, False
    tightest = (max if lower else min)(bound for bound, _ in found)
    return tightest, any(is_strict for bound, is_strict in found if bound == tightest)


def _ceil(low: Decimal | None, above: bool) -> int | None:
    if low is None:
        return None
    whole = int(low.to_integral_value("ROUND_CEILING"))
    return whole + 1 if above and whole == low else whole


def _floor(high: Decimal | None, below: bool) -> int | None:
    if high is None:
        return None
    whole = int(high.to_integral_value("ROUND_FLOOR"))
    return whole - 1 if below and whole == high else whole


def _is_multiple(number: str, step: Decimal) -> bool:
    if Decimal(number) % step:
        return False
    return (
        step == step.to_integral_value()
        or float(number) % float(step) == 0
        or (float(number) / float(step) == int(float(number) / float(step)))
    )
