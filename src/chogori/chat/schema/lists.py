"""The rules of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chogori.chat.schema.grammar import Many, Symbol, Use
from chogori.errors import SchemaError

if TYPE_CHECKING:
    from chogori.chat.schema.building import Builder
    from chogori.chat.schema.facets import Leaf

ITEMS = 1_000
"""Items of a list of which a schema may speak."""
Option = tuple[Symbol, ...]


def list_options(builder: Builder, leaf: Leaf) -> list[Option]:
    """The ways of writing a list that satisfies the plain schemas of `leaf`."""
    schemas = {path: builder.facets.at(path) for path in leaf.paths}
    low = max(int(schema.get("minItems", 0)) for schema in schemas.values())
    highs = [int(schema["maxItems"]) for schema in schemas.values() if "maxItems" in schema]
    high = min(highs) if highs else None
    if low > ITEMS:
        path = next(path for path, schema in schemas.items() if schema.get("minItems") == low)
        raise SchemaError(
            f"{low:,} items are more than are ever written", keyword="minItems", path=path
        )
    if high is not None and low > high:
        return []
    high = None if high is None else min(high, ITEMS)
    places = [_at_place(builder, schemas, number) for number in range(_places(schemas))]
    rest = _at_place(builder, schemas, len(places))
    if not builder.wide:
        wanted = _contained(builder, schemas)
        if wanted and places:
            path = next(path for path, schema in schemas.items() if "contains" in schema)
            raise SchemaError("it is not held beside prefixItems", keyword="contains", path=path)
        places += [[*rest, *more] for more in wanted]
        low = max(low, len(wanted))
        unique = [path for path, schema in schemas.items() if schema.get("uniqueItems")]
        if unique and (high is None or high > 1):
            return _unique(builder, places, rest, low, high, unique[0])
    return _in_a_row(
        builder, [builder.use(place) for place in places], builder.use(rest), low, high
    )


def _in_a_row(
    builder: Builder, places: list[Use], rest: Use, low: int, high: int | None
) -> list[Option]:
    signs = builder.style

    def onwards(done: int) -> Option:
        """What follows when `done` items, at least one, are written."""
        if done >= len(places):
            most = None if high is None else max(high - done, 0)
            return (Many((signs.comma, rest), max(low - done, 0), most), signs.closes_list)
        if high is not None and done >= high:
            return (signs.closes_list,)
        more = (signs.comma, places[done], *onwards(done + 1))
        if done < low:
            return more
        return (builder.define("list", [more, (signs.closes_list,)]),)

    options: list[Option] = []
    if low == 0:
        options.append((signs.opens_list, signs.closes_list))
    if high != 0:
        first = places[0] if places else rest
        options.append((signs.opens_list, first, *onwards(1)))
    return options


def _places(schemas: dict[str, Any]) -> int:
    return max(len(_prefix(schema)[1]) for schema in schemas.values())


def _prefix(schema: Any) -> tuple[str, list[Any], str]:
    """The keyword of the first items, they themselves, and the keyword of the others."""
    if isinstance(schema.get("items"), list):  # drafts before 2020-12
        return "items", schema["items"], "additionalItems"
    return "prefixItems", schema.get("prefixItems", []), "items"


def _at_place(builder: Builder, schemas: dict[str, Any], number: int) -> list[str]:
    """The paths of what the item at a place has to satisfy."""
    found: list[str] = []
    for path, schema in schemas.items():
        first, items, others = _prefix(schema)
        if number < len(items):
            found.append(builder.facets.child(path, first, number))
        elif others in schema:
            found.append(builder.facets.child(path, others))
        elif "unevaluatedItems" in schema:
            found.append(builder.facets.child(path, "unevaluatedItems"))
    return found


def _contained(builder: Builder, schemas: dict[str, Any]) -> list[list[str]]:
    """What a list has to contain, which is written first."""
    wanted: list[list[str]] = []
    for path, schema in schemas.items():
        if "contains" in schema:
            if "maxContains" in schema:
                raise SchemaError("it is not held", keyword="maxContains", path=path)
            times = int(schema.get("minContains", 1))
            if times > ITEMS:
                raise SchemaError("it is not held", keyword="minContains", path=path)
            wanted += [[builder.facets.child(path, "contains")]] * times
    return wanted


def _unique(
    builder: Builder,
    places: list[list[str]],
    rest: list[str],
    low: int,
    high: int | None,
    path: str,
) -> list[Option]:
    """Items that are enumerated, each at most once and in the order of the enumeration."""
    values = None if places else builder.enumerated(rest)
    if values is None:
        raise SchemaError(
            "it is held only where the items are enumerated", keyword="uniqueItems", path=path
        )
    signs, top = builder.style, min(len(values), len(values) if high is None else high)
    known: dict[tuple[int, int], Use] = {}

    def onwards(number: int, done: int) -> Use:
        if (number, done) not in known:
            options: list[Option] = [(signs.closes_list,)] if done >= low else []
            known[number, done] = use = builder.define("set", options)
            if done < top:
                for index in range(number, len(values)):
                    comma = (signs.comma,) if done else ()
                    options.append((*comma, values[index], onwards(index + 1, done + 1)))
            builder.rules[use.name] = options
        return known[number, done]

    return [(signs.opens_list, onwards(0, 0))]
