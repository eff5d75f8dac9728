"""How strings and numbers are written in JSON, as sets of texts.

Each string is written in one way only: what may stand raw stands raw, and the rest has its short
escape; control characters without one are left out. So what a text says and how it is written can
be taken for each other, and excluding a name excludes every way to write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from math import ceil, floor
from typing import Any

from chogori.chat.schema.texts import EMPTY, NONE, Text, alt, chars, literal, rep, seq, shared

_RAW = [(0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF)]
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\b": "\\b",
    "\f": "\\f",
}
DIGIT = chars([(0x30, 0x39)])
_LEADING = chars([(0x31, 0x39)])
DIGITS = 15
"""Digits of an integer that has no bounds, and of what a bound is compared with: a double keeps
fifteen, and a small model that writes digits may never stop."""
FRACTION = 8
"""Digits after the point, at most."""


def one_of(ranges: Iterable[tuple[int, int]]) -> Text:
    """One character of a string's value, as it is written."""
    wanted = list(ranges)
    escaped = [
        literal(written)
        for char, written in _ESCAPES.items()
        if any(low <= ord(char) <= high for low, high in wanted)
    ]
    return alt(chars(shared(wanted, _RAW)), *escaped)


ANY = one_of([(0, 0x10FFFF)])
"""Any character of a string's value."""
BODY = rep(ANY, 0, None)
"""Whatever may stand between the quotes."""


def quoted(body: Text) -> Text:
    """A whole string."""
    return seq(literal('"'), body, literal('"'))


def written(text: str) -> str:
    """How the characters of `text` stand between quotes."""
    return dumps(text)[1:-1]


def dumps(value: Any) -> str:
    """`value` in compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def integers(low: int | None, high: int | None) -> Text:
    """Whole numbers from `low` to `high`, without a point."""
    if low is None:
        low = min(1 - 10**DIGITS, 10 * high if high is not None and high < 0 else 0)
    if high is None:
        high = max(10**DIGITS - 1, 10 * low)
    positive = _whole(max(low, 0), high) if high >= 0 else NONE
    negative = seq(literal("-"), _whole(max(-high, 1), -low)) if low < 0 else NONE
    return alt(positive, negative)


def _whole(low: int, high: int) -> Text:
    """Digits from `low` to `high`, both at least 0."""
    if low > high:
        return NONE
    sizes = range(len(str(low)), len(str(high)) + 1)
    full = [n for n in sizes if n > 1 and low <= 10 ** (n - 1) and high >= 10**n - 1]
    options: list[Text] = []
    if full:
        options.append(seq(_LEADING, rep(DIGIT, full[0] - 1, full[-1] - 1)))
    for length in (n for n in sizes if n not in full):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        options.append(_same_length(str(first), str(min(high, 10**length - 1))))
    return alt(*options)


def _same_length(low: str, high: str) -> Text:
    if low == high:
        return literal(low)
    if set(low) == {"0"} and set(high) == {"9"}:
        return rep(DIGIT, len(low), len(low))
    if low[0] == high[0]:
        return seq(literal(low[0]), _same_length(low[1:], high[1:]))
    size = len(low) - 1
    middle = (ord(low[0]) + 1, ord(high[0]) - 1)
    if set(low[1:]) <= {"0"}:
        bottom, middle = NONE, (ord(low[0]), middle[1])
    else:
        bottom = seq(literal(low[0]), _same_length(low[1:], "9" * size))
    if set(high[1:]) <= {"9"}:
        top, middle = NONE, (middle[0], ord(high[0]))
    else:
        top = seq(literal(high[0]), _same_length("0" * size, high[1:]))
    between = seq(chars([middle]), rep(DIGIT, size, size)) if middle[0] <= middle[1] else NONE
    return alt(bottom, between, top)


def numbers(
    low: Decimal | None, high: Decimal | None, *, above: bool = False, below: bool = False
) -> Text:
    """Numbers from `low` to `high`; `above` and `below` exclude the bounds themselves.

    They are compared as they are written, and have so few digits that no two of them, and none and
    a bound, become one double."""
    if low is None and high is None:
        exponent = seq(chars([(0x45, 0x45), (0x65, 0x65)]), rep(chars([(43, 43), (45, 45)]), 0, 1))
        exponent = seq(exponent, rep(DIGIT, 1, 2))
        whole = alt(literal("0"), seq(_LEADING, rep(DIGIT, 0, DIGITS - 1)))
        part = rep(seq(literal("."), rep(DIGIT, 1, FRACTION)), 0, 1)
        return seq(rep(literal("-"), 0, 1), whole, part, rep(exponent, 0, 1))
    far = Decimal(10) ** DIGITS
    if low is None:
        low, above = min(-far, 10 * (high or Decimal(0))), True
    if high is None:
        high, below = max(far, 10 * low), True
    if low > high or (low == high and (above or below)):
        return NONE
    positive, negative = NONE, NONE
    if high > 0 or (high == 0 and not below):
        positive = _decimals(max(low, Decimal(0)), high, above=above and low >= 0, below=below)
    if low < 0:
        floor_, strict = (-high, below) if high < 0 else (Decimal(0), True)
        negative = seq(literal("-"), _decimals(floor_, -low, above=strict, below=above))
    return alt(positive, negative)


def _decimals(low: Decimal, high: Decimal, *, above: bool, below: bool) -> Text:
    """Numbers of the range, both bounds at least 0."""
    if low > high or (low == high and (above or below)):
        return NONE
    low_whole, high_whole = floor(low), floor(high)
    places = max(0, min(FRACTION, (DIGITS - len(str(low_whole))) // 2))
    top_places = max(0, min(FRACTION, (DIGITS - len(str(high_whole))) // 2))
    low_part, high_part = _part(low), _part(high)
    if low_whole == high_whole:
        size = max(min(places, top_places), len(low_part), len(high_part))
        return seq(literal(str(low_whole)), _point(low_part, high_part, size, above, below))
    size = max(places, len(low_part))
    bottom = seq(literal(str(low_whole)), _point(low_part, None, size, above, False))
    size = max(top_places, len(high_part))
    top = seq(literal(str(high_whole)), _point("", high_part, size, False, below))
    return alt(bottom, _between(low_whole + 1, high_whole - 1), top)


def _between(low: int, high: int) -> Text:
    """Numbers whose whole part lies within, with as many places as their length leaves."""
    options: list[Text] = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (length - 1) if length > 1 else 0), min(high, 10**length - 1)
        size = max(0, min(FRACTION, DIGITS - length))
        options.append(seq(_whole(first, last), _point("", None, size, False, False)))
    return alt(*options)


def _part(number: Decimal) -> str:
    """The digits after the point, without zeros at the end."""
    return f"{number:f}".partition(".")[2].rstrip("0")


def _point(low: str, high: str | None, size: int, above: bool, below: bool) -> Text:
    """What follows the whole part: nothing, or a point and at most `size` digits that are no less
    than `low` and no more than `high` (None: as large as they like)."""
    bare = (not low and not above) and not (high == "" and below)
    digits = _digits(low, high, size, above, below)
    point = seq(literal("."), digits) if digits not in (NONE, EMPTY) else NONE
    return alt(EMPTY if bare else NONE, point)


def _digits(low: str, high: str | None, size: int, above: bool, below: bool) -> Text:
    """One to `size` digits between two digit strings, as parts after the point."""
    options: list[Text] = []
    if size < 1:
        return NONE
    if not low and high is None and not above:
        return rep(DIGIT, 1, size)
    for digit in range(10):
        low_digit = int(low[0]) if low else 0
        high_digit = 9 if high is None else int(high[0]) if high else 0
        if not low_digit <= digit <= high_digit:
            continue
        rest_low = low[1:] if low and digit == low_digit else ""
        tied_low = digit == low_digit and (bool(low) or above)
        rest_high = (high[1:] if high else "") if high is not None and digit == high_digit else None
        still_above, still_below = above and digit == low_digit, below and rest_high is not None
        if not tied_low:
            rest_low, still_above = "", False
        ends = (not rest_low and not still_above) and not (rest_high == "" and still_below)
        more = _digits(rest_low, rest_high, size - 1, still_above, still_below)
        options.append(seq(literal(str(digit)), alt(EMPTY if ends else NONE, more)))
    return alt(*options)


def multiples(step: Decimal, low: Decimal | None, high: Decimal | None, limit: int) -> list[str]:
    """The multiples of `step` that lie between the bounds and nearest to 0, as they are written,
    at most `limit` of them; only those that stay multiples when they are read as doubles."""
    first = ceil(low / step) if low is not None else None
    last = floor(high / step) if high is not None else None
    if first is None and last is None:
        first, last = -limit // 4, limit // 2
    elif first is None and last is not None:
        first = min(last, 0) - limit // 2
        last = min(last, first + limit)
    elif first is not None and last is None:
        last = max(first, 0) + limit // 2
    assert first is not None, "one bound gives the other"
    assert last is not None, "one bound gives the other"
    if last - first > limit:
        first = max(first, -limit // 2)
        last = min(last, first + limit)
    found = ((number * step).normalize() for number in range(first, last + 1))
    return [f"{number:f}" for number in found if _is_multiple(number, step)]


def _is_multiple(number: Decimal, step: Decimal) -> bool:
    if step == step.to_integral_value():
        return True
    quotient = float(number) / float(step)
    return quotient == int(quotient)
