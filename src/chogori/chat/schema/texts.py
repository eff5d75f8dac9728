"""Sets of texts as expressions: what a string, a key or a number may look like.

A regular expression with intersection and complement, read one character at a time by its
derivative (Brzozowski 1964, "Derivatives of regular expressions"): what may follow the character.
Equal expressions are one object, so that derivatives can be kept and compared by identity.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from itertools import count, pairwise
from typing import Any
from weakref import WeakValueDictionary

LAST = 0x10FFFF
SEARCH_LIMIT = 20_000
"""Expressions looked at in search of a shortest text."""
_PLEASANT = "a0A-1x"
"""Characters that are chosen first where any will do."""


class TooComplex(Exception):
    """The shortest text of an expression was not found within the limit."""


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True, kw_only=True)
class Text:
    """A set of texts. Made by the functions of this module alone."""

    nullable: bool
    """Whether the empty text is in it."""
    least: int
    """No text in it is shorter."""
    is_plain: bool = True
    """Whether it is without intersections and complements; then `least` is exact."""
    cuts: frozenset[int] = frozenset()
    """Where characters begin to lead elsewhere: between two cuts all lead to the same."""
    kept: dict[str, Text] = field(default_factory=dict[str, "Text"])
    """Derivatives found so far."""
    words: list[str] = field(default_factory=list[str])
    """The shortest text, once found."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Chars(Text):
    """One character of these ranges, ends included."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Seq(Text):
    """One text after another."""

    first: Text
    rest: Text


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Alt(Text):
    """Either of some."""

    options: tuple[Text, ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Rep(Text):
    """`item` so many times; `most` None: without end."""

    item: Text
    fewest: int
    most: int | None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Both(Text):
    """What is in all of `parts`."""

    parts: tuple[Text, ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Not(Text):
    """What is not in `item`."""

    item: Text


NONE = Text(nullable=False, least=1 << 30)
"""No text at all."""
EMPTY = Text(nullable=True, least=0)
"""The empty text alone."""
_MADE: WeakValueDictionary[tuple[Any, ...], Text] = WeakValueDictionary()


def chars(ranges: Iterable[tuple[int, int]]) -> Text:
    """One character within the ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        elif low <= high:
            merged.append((low, high))
    if not merged:
        return NONE
    key = tuple(merged)
    if made := _MADE.get((Chars, key)):
        return made
    cuts = frozenset(cut for low, high in key for cut in (low, high + 1))
    made = Chars(nullable=False, least=1, cuts=cuts, ranges=key)
    _MADE[Chars, key] = made
    return made


def literal(text: str) -> Text:
    """This text alone."""
    return seq(*(chars([(ord(char), ord(char))]) for char in text))


def seq(*parts: Text) -> Text:
    """The parts one after another."""
    return reduce(lambda rest, part: _pair(part, rest), reversed(parts), EMPTY)


def _pair(first: Text, rest: Text) -> Text:
    if first is NONE or rest is NONE:
        return NONE
    if first is EMPTY:
        return rest
    if rest is EMPTY:
        return first
    if isinstance(first, Seq):
        return _pair(first.first, _pair(first.rest, rest))
    if made := _MADE.get((Seq, first, rest)):
        return made
    made = Seq(
        nullable=first.nullable and rest.nullable,
        least=first.least + rest.least,
        is_plain=first.is_plain and rest.is_plain,
        cuts=first.cuts | rest.cuts if first.nullable else first.cuts,
        first=first,
        rest=rest,
    )
    _MADE[Seq, first, rest] = made
    return made


def alt(*options: Text) -> Text:
    """Either of the options."""
    flat: dict[Text, None] = {}
    ranges: list[tuple[int, int]] = []
    for option in options:
        for one in option.options if isinstance(option, Alt) else (option,):
            if isinstance(one, Chars):
                ranges += one.ranges
            elif one is not NONE:
                flat[one] = None
    if ranges:
        flat[chars(ranges)] = None
    if len(flat) <= 1:
        return next(iter(flat), NONE)
    key = frozenset(flat)
    if made := _MADE.get((Alt, key)):
        return made
    made = Alt(
        nullable=any(one.nullable for one in flat),
        least=min(one.least for one in flat),
        is_plain=all(one.is_plain for one in flat),
        cuts=frozenset[int]().union(*(one.cuts for one in flat)),
        options=tuple(flat),
    )
    _MADE[Alt, key] = made
    return made


def rep(item: Text, fewest: int, most: int | None) -> Text:
    """`item` from `fewest` to `most` times."""
    if most == 0 or item is EMPTY:
        return EMPTY
    if item is NONE:
        return NONE if fewest else EMPTY
    fewest = 0 if item.nullable else fewest
    if fewest == most == 1:
        return item
    key = (Rep, item, fewest, most)
    if made := _MADE.get(key):
        return made
    made = Rep(
        nullable=fewest == 0,
        least=fewest * item.least,
        is_plain=item.is_plain,
        cuts=item.cuts,
        item=item,
        fewest=fewest,
        most=most,
    )
    _MADE[key] = made
    return made


def both(*parts: Text) -> Text:
    """What is in all of the parts."""
    flat: dict[Text, None] = {}
    for part in parts:
        for one in part.parts if isinstance(part, Both) else (part,):
            if one is NONE:
                return NONE
            if one is not ALL:
                flat[one] = None
    if EMPTY in flat:
        return EMPTY if all(one.nullable for one in flat) else NONE
    if len(flat) <= 1:
        return next(iter(flat), ALL)
    if all(isinstance(one, Chars) for one in flat):
        return reduce(_shared, flat)
    key = frozenset(flat)
    if made := _MADE.get((Both, key)):
        return made
    made = Both(
        nullable=all(one.nullable for one in flat),
        least=max(one.least for one in flat),
        is_plain=False,
        cuts=frozenset[int]().union(*(one.cuts for one in flat)),
        parts=tuple(flat),
    )
    _MADE[Both, key] = made
    return made


def other(item: Text) -> Text:
    """What is not in `item`."""
    if isinstance(item, Not):
        return item.item
    if made := _MADE.get((Not, item)):
        return made
    least = 1 if item.nullable else 0
    made = Not(nullable=not item.nullable, least=least, is_plain=False, cuts=item.cuts, item=item)
    _MADE[Not, item] = made
    return made


ALL = other(NONE)
"""Every text."""


def without(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges of all other characters."""
    left: list[tuple[int, int]] = []
    start = 0
    for low, high in sorted(ranges):
        if start < low:
            left.append((start, low - 1))
        start = max(start, high + 1)
    return [*left, (start, LAST)] if start <= LAST else left


def shared(one: Iterable[tuple[int, int]], two: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges of the characters that are in both."""
    return without([*without(one), *without(two)])


def _shared(one: Text, two: Text) -> Text:
    assert isinstance(one, Chars), "only sets of characters are merged"
    assert isinstance(two, Chars), "only sets of characters are merged"
    return chars(shared(one.ranges, two.ranges))


def after(text: Text, char: str) -> Text:
    """What may follow `char`; NONE where `char` cannot come first."""
    found = text.kept.get(char)
    if found is None:
        found = text.kept[char] = _derive(text, char)
    return found


def _derive(text: Text, char: str) -> Text:
    match text:
        case Chars(ranges=ranges):
            code = ord(char)
            return EMPTY if any(low <= code <= high for low, high in ranges) else NONE
        case Seq(first=first, rest=rest):
            follows = _pair(after(first, char), rest)
            return alt(follows, after(rest, char)) if first.nullable else follows
        case Alt(options=options):
            return alt(*(after(option, char) for option in options))
        case Rep(item=item, fewest=fewest, most=most):
            left = rep(item, max(fewest - 1, 0), None if most is None else most - 1)
            return _pair(after(item, char), left)
        case Both(parts=parts):
            return both(*(after(part, char) for part in parts))
        case Not(item=item):
            return other(after(item, char))
        case _:
            return NONE


def shortest(text: Text) -> str | None:
    """A shortest text of the set; None if it has none. Raises `TooComplex`."""
    if text is NONE:
        return None
    if not text.words:
        word = _plain_word(text) if text.is_plain else _search(text)
        if word is None:
            return None
        text.words.append(word)
    return text.words[0]


def _plain_word(text: Text) -> str:
    match text:
        case Chars(ranges=ranges):
            return _pick(ranges)
        case Seq(first=first, rest=rest):
            return (shortest(first) or "") + (shortest(rest) or "")
        case Alt(options=options):
            return shortest(min(options, key=lambda option: option.least)) or ""
        case Rep(item=item, fewest=fewest):
            return (shortest(item) or "") * fewest if fewest else ""
        case _:
            return ""


def _pick(ranges: Iterable[tuple[int, int]]) -> str:
    held = list(ranges)
    for char in _PLEASANT:
        if any(low <= ord(char) <= high for low, high in held):
            return char
    return chr(held[0][0])


def _search(text: Text) -> str | None:
    """A* over derivatives; `least` never says too much, so the first text found is a shortest."""
    order = count()
    seen = {text}
    heap = [(text.least, next(order), "", text)]
    while heap:
        _, _, word, here = heapq.heappop(heap)
        if here.nullable:
            return word
        if len(seen) > SEARCH_LIMIT:
            raise TooComplex
        for low, high in pairwise(sorted({0, LAST + 1, *here.cuts})):
            char = _pick([(low, high - 1)])
            then = after(here, char)
            if then is not NONE and then not in seen:
                seen.add(then)
                longer = word + char
                heapq.heappush(heap, (len(longer) + then.least, next(order), longer, then))
    return None
