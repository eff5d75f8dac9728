"""A grammar in the words of llguidance, which llama.cpp writes by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from chogori.chat.schema import Many, Symbol, Use
from chogori.chat.schema.texts import (
    EMPTY,
    LAST,
    Alt,
    Both,
    Chars,
    Not,
    Rep,
    Seq,
    Text,
    without,
)

_SPELLED = {0x0A: "\\n", 0x09: "\\t", 0x0D: "\\r"}
_PLAIN = frozenset(map(ord, " !\"%',:;<=>@_`"))
"""Characters besides letters and digits that mean themselves wherever they stand."""


def rules(named: Mapping[str, Iterable[tuple[Symbol, ...]]], terminals: str = "T") -> list[str]:
    """The lines of the rules, and those of the texts they are made of, named `terminals` and a
    number."""
    names: dict[Text, str] = {}
    lines: list[str] = []

    def name(text: Text) -> str:
        if (quoted := _literal(text)) is not None and len(quoted) <= 60:
            return json.dumps(quoted, ensure_ascii=True) if quoted else '""'
        return names.setdefault(text, f"{terminals}{len(names)}")

    def one(symbol: Symbol) -> str:
        match symbol:
            case Text():
                return name(symbol)
            case Use(rule):
                return rule
            case Many(symbols, fewest, most):
                if (fewest, most) == (0, None):
                    return f"({row(symbols)})*"
                return f"({row(symbols)}){{{fewest},{'' if most is None else most}}}"

    def row(symbols: tuple[Symbol, ...]) -> str:
        return " ".join(map(one, symbols)) or '""'

    for rule, options in named.items():
        lines.append(f"{rule}: {' | '.join(map(row, options))}")
    return lines + [f"{name}: {_expression(text)}" for text, name in names.items()]


def _literal(text: Text) -> str | None:
    """The one text that `text` stands for, if it is one."""
    pieces: list[str] = []
    while text is not EMPTY:
        head = text.first if isinstance(text, Seq) else text
        cuts = sorted(head.cuts)
        if not isinstance(head, Chars) or len(cuts) != 2 or cuts[1] != cuts[0] + 1:
            return None
        pieces.append(chr(cuts[0]))
        text = text.rest if isinstance(text, Seq) else EMPTY
    return "".join(pieces)


def _expression(text: Text) -> str:
    """As what stands right of a terminal's name: a regular expression as far as it is one."""
    if text.is_plain:
        return f"/{_regex(text)}/" if text is not EMPTY else '""'
    match text:
        case Seq(first=first, rest=rest):
            return f"{_expression(first)} {_expression(rest)}"
        case Alt(options=options):
            return "(" + " | ".join(map(_expression, options)) + ")"
        case Both(parts=parts):
            return "(" + " & ".join(map(_expression, parts)) + ")"
        case Not(item=item):
            # A complement takes in what is no text at all.
            return f"((~({_expression(item)})) & /(?s:.*)/)"
        case Rep(item=item, fewest=fewest, most=most):
            return f"({_expression(item)}){{{fewest},{'' if most is None else most}}}"
        case _:
            raise AssertionError(f"{type(text).__name__} is plain")


def _regex(text: Text) -> str:
    match text:
        case Chars(ranges=ranges):
            return _class(ranges)
        case Seq(first=first, rest=rest):
            return _regex(first) + _regex(rest)
        case Alt(options=options):
            some = [option for option in options if option is not EMPTY]
            inside = "|".join(map(_regex, some))
            return f"(?:{inside})" + ("?" if len(some) < len(options) else "")
        case Rep(item=item, fewest=fewest, most=most):
            inner = _regex(item)
            inside = inner if isinstance(item, Chars | Alt) and inner[-1] != "?" else f"(?:{inner})"
            return inside + _times(fewest, most)
        case _:
            return ""


def _times(fewest: int, most: int | None) -> str:
    match fewest, most:
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case 0, 1:
            return "?"
        case _:
            return f"{{{fewest},{'' if most is None else most}}}"


def _class(ranges: tuple[tuple[int, int], ...]) -> str:
    if ranges == ((0, LAST),):
        return "(?s:.)"
    if [low for low, _ in ranges] == [high for _, high in ranges] and len(ranges) == 1:
        return _range(*ranges)
    inverse = without(ranges)
    if len(inverse) < len(ranges):
        return "[^" + "".join(map(_range, inverse)) + "]"
    return "[" + "".join(map(_range, ranges)) + "]"


def _range(ends: tuple[int, int]) -> str:
    low, high = ends
    return _char(low) if low == high else f"{_char(low)}-{_char(high)}"


def _char(code: int) -> str:
    if code in _SPELLED:
        return _SPELLED[code]
    plain = code < 0x80 and (chr(code).isalnum() or code in _PLAIN)
    return chr(code) if plain else f"\\x{{{code:X}}}"
