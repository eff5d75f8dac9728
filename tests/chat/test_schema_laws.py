"""What may be written satisfies the schema, for schemas that nobody thought of."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chogori.chat.schema import Cursor, Grammar, compiled
from chogori.chat.schema.texts import NONE, after, alt, both, chars, literal, other, rep, seq
from chogori.errors import SchemaError
from writing import lines_of, write

NAMES = st.sampled_from(["a", "b", "kind", "é", 'q"', "n_1"])
SMALL = st.integers(-3, 12)
VALUES = st.one_of(st.none(), st.booleans(), SMALL, st.sampled_from(["", "a", "ab", "7", "\n"]))
PATTERNS = st.sampled_from(["^a", "b$", "^[a-c]{1,3}$", "\\d", "^(?!a).*$", "^\\S+$", "x|y"])


def some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these keywords."""
    return st.fixed_dictionaries({}, optional=keywords)


def deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    few = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        some(
            type=st.just("object"),
            properties=st.dictionaries(NAMES, inner, max_size=3),
            required=st.lists(NAMES, unique=True, max_size=2),
            additionalProperties=inner,
            patternProperties=st.dictionaries(PATTERNS, inner, max_size=2),
            propertyNames=some(pattern=PATTERNS, maxLength=st.integers(0, 4)),
            minProperties=st.integers(0, 2),
            maxProperties=st.integers(0, 4),
            dependentRequired=st.dictionaries(NAMES, st.lists(NAMES, max_size=2), max_size=1),
        ),
        some(
            type=st.just("array"),
            items=inner,
            prefixItems=few,
            minItems=st.integers(0, 2),
            maxItems=st.integers(0, 4),
            uniqueItems=st.booleans(),
            contains=inner,
        ),
        st.fixed_dictionaries(
            {}, optional={"anyOf": few, "allOf": few, "oneOf": few, "not": inner}
        ),
        st.fixed_dictionaries({"if": inner, "then": inner, "else": inner}),
        st.just({"$ref": "#/$defs/again"}),
    )


SCHEMAS = st.recursive(
    st.one_of(
        st.booleans(),
        some(
            type=st.just("string"), pattern=PATTERNS, minLength=st.integers(0, 3), maxLength=SMALL
        ),
        some(
            type=st.sampled_from(["integer", "number"]),
            minimum=SMALL,
            exclusiveMaximum=st.one_of(SMALL, st.sampled_from([0.5, 2.25])),
            multipleOf=st.sampled_from([1, 3, 0.5, 0.1]),
        ),
        some(enum=st.lists(VALUES, min_size=1, max_size=4), const=VALUES),
        some(
            type=st.lists(st.sampled_from(["null", "boolean", "string"]), min_size=1, unique=True)
        ),
    ),
    deeper,
    max_leaves=6,
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(SCHEMAS, SCHEMAS, st.integers(0, 2**32))
def test_what_is_written_satisfies_any_schema_that_is_not_refused(
    schema: Any, again: Any, seed: int
) -> None:
    whole = schema if isinstance(schema, bool) else {**schema, "$defs": {"again": again}}
    try:
        jsonschema.Draft202012Validator.check_schema(whole)
        held = compiled(whole)
    except (SchemaError, jsonschema.SchemaError):
        return
    grammar = Grammar((held.start,), held.rules)
    written, _ = write(lines_of(held), random.Random(seed), limit=60)
    cursor = Cursor(grammar)
    cursor.feed(written)
    ending = cursor.ending()
    assert ending is not None, f"the cursor follows {written}"
    value = json.loads(written + ending)
    errors = list(jsonschema.Draft202012Validator(whole).iter_errors(value))
    assert not errors, f"{written}|{ending}: {errors[0].message}"


LETTERS = st.sampled_from([literal("a"), literal("ab"), chars([(97, 99)]), rep(literal("b"), 0, 2)])
TEXTS = st.recursive(
    LETTERS,
    lambda inner: st.one_of(
        st.builds(seq, inner, inner),
        st.builds(alt, inner, inner),
        st.builds(both, inner, inner),
        st.builds(other, inner),
        st.builds(rep, inner, st.integers(0, 2), st.sampled_from([2, 3, None])),
    ),
    max_leaves=5,
)


def holds(text: Any, word: str) -> bool:
    for char in word:
        text = after(text, char)
    return text.nullable


@given(TEXTS, TEXTS, st.text("abc", max_size=5))
def test_intersection_and_complement_mean_what_they_say(one: Any, two: Any, word: str) -> None:
    assert holds(both(one, two), word) == (holds(one, word) and holds(two, word))
    assert holds(alt(one, two), word) == (holds(one, word) or holds(two, word))
    assert holds(other(one), word) != holds(one, word)
    splits = range(len(word) + 1)
    joined = any(holds(one, word[:at]) and holds(two, word[at:]) for at in splits)
    assert holds(seq(one, two), word) == joined
    assert not holds(NONE, word)
