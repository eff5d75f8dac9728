"""Regular expressions of JSON Schema, as sets of texts.

ECMAScript and Python (which `jsonschema` asks) do not agree on every character: whether é is a word
character, whether `$` may stand before a line end. So a pattern is read twice: narrowly, as what
both take for a match, which is what may be written; and widely, as what either may take for one,
which is what must not be written. Lookaheads are held; word boundaries, lookbehinds and references
back are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from chogori.chat.schema.json_text import ANY, BODY, one_of
from chogori.chat.schema.texts import (
    EMPTY,
    NONE,
    Text,
    alt,
    both,
    other,
    rep,
    seq,
    without,
)

Ranges = list[tuple[int, int]]
MOST = 5_000
"""The largest number of repetitions that is held."""


class Unheld(Exception):
    """A pattern that cannot be held; the message says what of it."""


@dataclass(frozen=True, slots=True)
class _Set:
    narrow: tuple[tuple[int, int], ...]
    wide: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Seq:
    items: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Alt:
    options: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Rep:
    item: _Node
    fewest: int
    most: int | None


@dataclass(frozen=True, slots=True)
class _Look:
    item: _Node
    negative: bool


@dataclass(frozen=True, slots=True)
class _Edge:
    is_start: bool


_Node = _Set | _Seq | _Alt | _Rep | _Look | _Edge

_FOREIGN: Ranges = [(0x80, 0x10FFFF)]
_KINDS: dict[str, tuple[Ranges, Ranges]] = {
    "d": ([(0x30, 0x39)], [(0x30, 0x39), *_FOREIGN]),
    "w": (
        [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
        [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A), *_FOREIGN],
    ),
    "s": ([(0x09, 0x0D), (0x20, 0x20)], [(0x09, 0x0D), (0x1C, 0x20), *_FOREIGN]),
}
"""The narrow and the wide reading of a class."""
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_LINE_ENDS: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]


@lru_cache(maxsize=256)
def matching(pattern: str, *, wide: bool = False) -> Text:
    """The texts in which `pattern` is found, as they stand between quotes. Raises `Unheld`."""
    node = _Parser(pattern).whole()
    found = _follow(node, BODY, wide, True)
    later = _follow(node, BODY, wide, False) if _has_start(node) else found
    return alt(found, seq(rep(ANY, 1, None), later)) if later is not NONE else found


def _follow(node: _Node, rest: Text, wide: bool, at_start: bool) -> Text:
    """What `node` matches, followed by `rest`."""
    match node:
        case _Set():
            return seq(one_of(node.wide if wide else node.narrow), rest)
        case _Alt(options):
            return alt(*(_follow(option, rest, wide, at_start) for option in options))
        case _Seq(items):
            return _follow_all(items, rest, wide, at_start)
        case _Rep(item, fewest, most):
            if _has_edge(item):
                raise Unheld("an anchor or a lookahead that is repeated")
            return seq(rep(_follow(item, EMPTY, wide, False), fewest, most), rest)
        case _Look(item, negative):
            if negative:
                return both(other(_follow(item, BODY, not wide, at_start)), rest)
            return both(_follow(item, BODY, wide, at_start), rest)
        case _Edge(is_start):
            if is_start:
                return rest if at_start else NONE
            end = alt(EMPTY, one_of([(0x0A, 0x0A)])) if wide else EMPTY
            return both(end, rest)


def _follow_all(items: tuple[_Node, ...], rest: Text, wide: bool, at_start: bool) -> Text:
    starts: list[bool] = []
    for number, item in enumerate(items):
        starts.append(at_start)
        if not isinstance(item, _Edge | _Look):
            may_be_empty = not isinstance(item, _Set)
            if at_start and may_be_empty and any(map(_has_start, items[number + 1 :])):
                raise Unheld("a ^ that is not at the start")
            at_start = False
    for item, is_first in zip(reversed(items), reversed(starts), strict=True):
        rest = _follow(item, rest, wide, is_first)
    return rest


def _has_edge(node: _Node) -> bool:
    match node:
        case _Edge() | _Look():
            return True
        case _Seq(items) | _Alt(items):
            return any(map(_has_edge, items))
        case _Rep(item):
            return _has_edge(item)
        case _:
            return False


def _has_start(node: _Node) -> bool:
    match node:
        case _Edge(is_start):
            return is_start
        case _Seq(items) | _Alt(items):
            return any(map(_has_start, items))
        case _Rep(item) | _Look(item):
            return _has_start(item)
        case _:
            return False


def _set(narrow: Ranges, wide: Ranges | None = None) -> _Set:
    return _Set(tuple(narrow), tuple(narrow if wide is None else wide))


class _Parser:
    """Reads what ECMAScript and Python both know of regular expressions."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def whole(self) -> _Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise Unheld(f"a {self._text[self._at]!r} too many")
        return node

    def _peek(self, size: int = 1) -> str:
        return self._text[self._at : self._at + size]

    def _take(self, wanted: str) -> bool:
        if self._text.startswith(wanted, self._at):
            self._at += len(wanted)
            return True
        return False

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise Unheld("an end in the middle")
        self._at += 1
        return self._text[self._at - 1]

    def _alternatives(self) -> _Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else _Alt(tuple(options))

    def _sequence(self) -> _Node:
        items: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            items.append(self._repeated(self._atom()))
        return items[0] if len(items) == 1 else _Seq(tuple(items))

    def _repeated(self, item: _Node) -> _Node:
        bounds = self._bounds()
        if bounds is None:
            return item
        self._take("?")  # lazy: the same texts
        if self._peek() in ("*", "+") or self._bounds() is not None:
            raise Unheld("a repetition of a repetition")
        fewest, most = bounds
        if max(fewest, most or 0) > MOST or (most is not None and fewest > most):
            raise Unheld(f"a repetition of {{{fewest},{'' if most is None else most}}}")
        return _Rep(item, fewest, most)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if self._peek() != "{":
            return None
        inside, closed, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not low.isdecimal() or not (high == "" or high.isdecimal()):
            return None
        self._at += len(inside) + 2
        return int(low), (int(high) if high else None) if comma else int(low)

    def _atom(self) -> _Node:
        match char := self._next():
            case "(":
                return self._group()
            case "[":
                return self._class()
            case "^":
                return _Edge(True)
            case "$":
                return _Edge(False)
            case ".":
                return _set(without(_LINE_ENDS), [(0, 0x10FFFF)])
            case "\\":
                return self._escape()
            case "*" | "+" | "?":
                raise Unheld(f"a {char!r} with nothing before it")
            case _:
                return _set([(ord(char), ord(char))])

    def _group(self) -> _Node:
        look: Callable[[_Node], _Node] | None = None
        if self._take("?"):
            if self._take("=") or self._take("!"):
                is_negative = self._text[self._at - 1] == "!"
                look = lambda inner: _Look(inner, is_negative)  # noqa: E731
            elif self._peek() == "<" and self._peek(2) in ("<=", "<!"):
                raise Unheld("a lookbehind")
            elif self._take("P<") or self._take("<"):
                while self._next() != ">":
                    pass
            elif not self._take(":"):
                raise Unheld(f"a group that begins with (?{self._peek()}")
        inner = self._alternatives()
        if not self._take(")"):
            raise Unheld("a ( without its )")
        return look(inner) if look else inner

    def _escape(self) -> _Node:
        char = self._next()
        if char.lower() in _KINDS:
            narrow, wide = _KINDS[char.lower()]
            return _set(narrow, wide) if char.islower() else _set(without(wide), without(narrow))
        code = self._code(char)
        return _set([(code, code)])

    def _code(self, char: str) -> int:
        if char in _CONTROLS:
            if char == "0" and self._peek().isdecimal():
                raise Unheld("an octal number")
            return _CONTROLS[char]
        if char == "x":
            return self._hexadecimal(2)
        if char == "u":
            if self._take("{"):
                digits, _, _ = self._text[self._at :].partition("}")
                self._at += len(digits) + 1
                return int(digits, 16)
            return self._surrogates(self._hexadecimal(4))
        if char.isalnum():
            told = "a reference back" if char.isdecimal() or char == "k" else "an escape"
            raise Unheld(f"{told}, \\{char}")
        return ord(char)

    def _surrogates(self, code: int) -> int:
        if 0xD800 <= code < 0xDC00 and self._take("\\u"):
            return 0x10000 + ((code - 0xD800) << 10) + (self._hexadecimal(4) - 0xDC00)
        return code

    def _hexadecimal(self, size: int) -> int:
        digits = self._peek(size)
        self._at += size
        try:
            return int(digits, 16)
        except ValueError:
            raise Unheld(f"an escape that is no number, {digits!r}") from None

    def _class(self) -> _Node:
        negative = self._take("^")
        sets: list[_Set] = []
        first = True
        while first or self._peek() != "]":
            if first and self._peek() == "]":
                raise Unheld("a class that begins with ]")
            first = False
            one = self._member()
            if self._peek() == "-" and self._peek(2) not in ("-]", "-"):
                self._at += 1
                one = self._span(one, self._member())
            sets.append(one)
        self._at += 1
        narrow = [pair for one in sets for pair in one.narrow]
        wide = [pair for one in sets for pair in one.wide]
        return _set(without(wide), without(narrow)) if negative else _set(narrow, wide)

    def _member(self) -> _Set:
        char = self._next()
        if char != "\\":
            return _set([(ord(char), ord(char))])
        if self._peek() == "b":
            self._at += 1
            return _set([(8, 8)])
        node = self._escape()
        assert isinstance(node, _Set), "an escape in a class is a set"
        return node

    @staticmethod
    def _span(low: _Set, high: _Set) -> _Set:
        (first, start), *more = low.narrow
        (_, last), *others = high.narrow
        if more or others or first != start or high.narrow[0][0] != last or first > last:
            raise Unheld("a range of a class that has no ends")
        return _set([(first, last)])
