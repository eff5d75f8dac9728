"""A grammar, and a cursor that follows a text through it and knows its shortest ending.

Rules hold sequences of symbols; their leaves are sets of texts. Whoever writes by the grammar (a
library inside an engine, as a rule) is one thing; the cursor is another, which needs no weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chogori.chat.schema.texts import NONE, Text, after, shortest

FAR = 1 << 30
"""Longer than any text."""
CROWD = 4_000
"""Readings that are followed at once; a text that has more is not followed further."""


@dataclass(frozen=True, slots=True)
class Use:
    """What the rule of this name allows."""

    name: str


@dataclass(frozen=True, slots=True)
class Many:
    """The symbols, so many times over; `most` None: without end."""

    symbols: tuple[Symbol, ...]
    fewest: int
    most: int | None


Symbol = Text | Use | Many
Sequence = tuple[Symbol, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Cell:
    """What is still to come: a symbol, and what follows it."""

    symbol: Symbol
    rest: Cell | None
    least: int
    starts: list[_Starts] = field(default_factory=list["_Starts"])


@dataclass(frozen=True, slots=True)
class _Starts:
    """How what is to come may begin, and whether nothing need come."""

    places: tuple[tuple[Text, Cell | None], ...]
    can_end: bool


class Grammar:
    """Rules by name, those dropped that nothing can satisfy. `start` is what a text begins with."""

    def __init__(self, start: Sequence, rules: Mapping[str, Iterable[Sequence]]) -> None:
        given = _inlined({name: list(options) for name, options in rules.items()})
        self._least = _least_of(given)
        self.start = start
        self.rules = {
            name: [kept for option in options if (kept := self._pruned(option)) is not None]
            for name, options in given.items()
            if self._least[name] < FAR
        }
        self._cells: dict[tuple[Symbol, Cell | None], Cell] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no text satisfies it."""
        return self.length(self.start) >= FAR

    def length(self, sequence: Sequence) -> int:
        """No text of the sequence is shorter."""
        return min(FAR, sum(_length(symbol, self._least) for symbol in sequence))

    def cell(self, symbols: Sequence, rest: Cell | None) -> Cell | None:
        """The symbols, and then `rest`."""
        for symbol in reversed(symbols):
            found = self._cells.get((symbol, rest))
            if found is None:
                least = _length(symbol, self._least) + (rest.least if rest else 0)
                found = self._cells[symbol, rest] = Cell(symbol, rest, min(FAR, least))
            rest = found
        return rest

    def starts(self, cell: Cell | None) -> _Starts:
        """How what is to come may begin."""
        if cell is None:
            return _Starts((), True)
        if not cell.starts:
            cell.starts.append(self._starts(cell))
        return cell.starts[0]

    def word(self, cell: Cell | None) -> str:
        """The shortest text of what is to come."""
        pieces: list[str] = []
        while cell is not None:
            pieces.append(self._word(cell.symbol))
            cell = cell.rest
        return "".join(pieces)

    def _word(self, symbol: Symbol) -> str:
        match symbol:
            case Text():
                return shortest(symbol) or ""
            case Use(name):
                option = min(self.rules[name], key=self.length)
                return "".join(map(self._word, option))
            case Many(symbols, fewest):
                return "".join(map(self._word, symbols)) * fewest if fewest else ""

    def _starts(self, cell: Cell) -> _Starts:
        symbol, rest = cell.symbol, cell.rest
        match symbol:
            case Text():
                more = self.starts(rest) if symbol.nullable else _Starts((), False)
                return _Starts(((symbol, rest), *more.places), more.can_end)
            case Use(name):
                options = [self.cell(option, rest) for option in self.rules.get(name, ())]
            case Many(symbols, fewest, most):
                left = Many(symbols, max(fewest - 1, 0), None if most is None else most - 1)
                again = (left,) if left.most != 0 else ()
                options = [self.cell((*symbols, *again), rest)]
                options += [] if fewest else [rest]
        found = [self.starts(option) for option in options]
        places = dict.fromkeys(place for one in found for place in one.places)
        return _Starts(tuple(places), any(one.can_end for one in found))

    def _pruned(self, option: Sequence) -> Sequence | None:
        """The sequence without repetitions of what cannot be; None where it cannot be itself."""
        if self.length(option) >= FAR:
            return None
        kept: list[Symbol] = []
        for symbol in option:
            if isinstance(symbol, Many):
                if symbol.most == 0 or (inner := self._pruned(symbol.symbols)) is None:
                    continue
                symbol = Many(inner, symbol.fewest, symbol.most)
            kept.append(symbol)
        return tuple(kept)


def _length(symbol: Symbol, least: Mapping[str, int]) -> int:
    match symbol:
        case Text():
            return FAR if symbol is NONE else symbol.least
        case Use(name):
            return least.get(name, FAR)
        case Many(symbols, fewest):
            return fewest * sum(_length(one, least) for one in symbols) if fewest else 0


def _least_of(rules: Mapping[str, list[Sequence]]) -> dict[str, int]:
    """The length of each rule's shortest text; `FAR` for those that have none."""
    least = dict.fromkeys(rules, FAR)
    users: dict[str, list[str]] = {}
    for name, options in rules.items():
        for used in {used for option in options for used in _used(option)}:
            users.setdefault(used, []).append(name)
    waiting = deque(rules)
    is_waiting = set(rules)
    while waiting:
        name = waiting.popleft()
        is_waiting.discard(name)
        found = min(
            (sum(_length(symbol, least) for symbol in option) for option in rules[name]),
            default=FAR,
        )
        if found < least[name]:
            least[name] = found
            again = [user for user in users.get(name, ()) if user not in is_waiting]
            waiting.extend(again)
            is_waiting.update(again)
    return least


def _used(sequence: Sequence) -> Iterator[str]:
    for symbol in sequence:
        if isinstance(symbol, Use):
            yield symbol.name
        elif isinstance(symbol, Many):
            yield from _used(symbol.symbols)


def _inlined(rules: dict[str, list[Sequence]]) -> dict[str, list[Sequence]]:
    """The rules, an option that is but another rule replaced by what that allows: so no rule leads
    to itself without a character between."""

    def options(name: str, seen: set[str]) -> Iterable[Sequence]:
        for option in rules.get(name, ()):
            if len(option) == 1 and isinstance(option[0], Use):
                if option[0].name not in seen:
                    seen.add(option[0].name)
                    yield from options(option[0].name, seen)
            else:
                yield option

    return {name: list(dict.fromkeys(options(name, {name}))) for name in rules}


class Cursor:
    """Where a text stands that is being written by a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        start = grammar.starts(grammar.cell(grammar.start, None))
        self._places: set[tuple[Text, Cell | None]] = set(start.places)
        self._is_complete = start.can_end
        self._is_crowded = False

    @property
    def is_lost(self) -> bool:
        """Whether the text is not one of the grammar, or could be read in too many ways."""
        return not self._places and not self._is_complete

    @property
    def has_strayed(self) -> bool:
        """Whether the text is not one of the grammar."""
        return self.is_lost and not self._is_crowded

    @property
    def is_complete(self) -> bool:
        """Whether the text may end here."""
        return self._is_complete

    def feed(self, text: str) -> None:
        """More of the text."""
        for char in text:
            self._step(char)

    def copy(self) -> Cursor:
        """Another that stands in the same place."""
        made = object.__new__(Cursor)
        made._grammar, made._is_complete = self._grammar, self._is_complete
        made._places, made._is_crowded = self._places, self._is_crowded
        return made

    def ending(self) -> str | None:
        """A shortest text that makes the whole complete; None if it is lost."""
        if self._is_complete:
            return ""
        best: tuple[int, str, Cell | None] | None = None
        for text, cell in sorted(self._places, key=lambda place: self._least(*place)):
            if best is not None and self._least(text, cell) >= best[0]:
                break
            word = shortest(text)
            if word is not None:
                size = len(word) + (cell.least if cell else 0)
                best = (
                    min(best, (size, word, cell), key=lambda one: one[0])
                    if best
                    else (size, word, cell)
                )
        return None if best is None else best[1] + self._grammar.word(best[2])

    @staticmethod
    def _least(text: Text, cell: Cell | None) -> int:
        return text.least + (cell.least if cell else 0)

    def _step(self, char: str) -> None:
        reached: set[tuple[Text, Cell | None]] = set()
        for text, cell in self._places:
            then = after(text, char)
            if then is not NONE:
                reached.add((then, cell))
        opened: set[tuple[Text, Cell | None]] = set()
        self._is_complete = False
        for text, cell in reached:
            if text.nullable:
                starts = self._grammar.starts(cell)
                opened.update(starts.places)
                self._is_complete = self._is_complete or starts.can_end
        self._places = reached | opened
        if len(self._places) > CROWD:
            self._places, self._is_complete, self._is_crowded = set(), False, True
