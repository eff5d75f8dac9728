"""Numbers and quotes of an answer, looked up in the task and in what the tools returned.

A number is supported when some number there rounds to it at the precision it was written with:
"12,480" by "12480.0", "3.14" by "3.14159". A quote is supported when its words stand there, in
that order, whatever their case and spacing. Nothing is asked of a model, so nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation

from chogori.chat import Claim, Conversation, Message

_NUMBER = re.compile(
    r"(?<![\w.])[-\u2212]?\d+(?:[,_\u00a0\u202f' ]\d{3}(?!\d))*(?:\.\d+)?(?:[eE][-+]?\d+)?"
)
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}:\d{2}(?::\d{2})?\b")
_QUOTE = re.compile(r'"([^"\n]{2,200})"|“([^”\n]{2,200})”|«([^»\n]{2,200})»')
_LIST_MARK = re.compile(r"^\s*\d{1,3}[.)]\s", re.MULTILINE)
_SEPARATOR = re.compile("[,_\u00a0\u202f' ]")
_DECIMALS = 12
_EXACT = Context(prec=1_000)
"""More digits than a number here can have, so that none of them is lost."""


@dataclass(slots=True)
class Evidence:
    """What may bear a claim out. Grows with the run; a look-up does not walk the run."""

    numbers: dict[Decimal, str] = field(default_factory=dict[Decimal, str])
    """Each number, at every precision it can be rounded to, and where it came from first."""
    texts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    unread: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """What nobody has looked up anything in so far: it is read when somebody does."""
    calls: int = 0

    @classmethod
    def of(cls, conversation: Conversation) -> Evidence:
        """What the messages so far hold, the model's own words excepted."""
        evidence = cls()
        for message in conversation:
            evidence.add_message(message)
        return evidence

    def add_message(self, message: Message) -> None:
        if message.role == "tool":
            self.calls += 1
            self.add(message.text, message.tool_call_id or "tool")
        elif message.role == "user":
            self.add(message.text, "task")

    def add(self, text: str, source: str) -> None:
        """`text` is evidence from `source`."""
        self.unread.append((text, source))

    def _read(self, text: str, source: str) -> None:
        self.texts.append((_plain(text), source))
        text = _DATE.sub(lambda date: re.sub("[-:]", " ; ", f" {date[0]} "), text)
        for written in _NUMBER.findall(text):
            # "101 103" and "[101,103]" may be one number or two: both readings are evidence.
            for reading in {written, *_SEPARATOR.split(written)}:
                self._add_number(reading, source)

    def _add_number(self, written: str, source: str) -> None:
        if (number := _decimal(written)) is None:
            return
        for decimals in range(min(_DECIMALS, _precision(number)) + 1):
            for rounded in _rounded(number, decimals):
                self.numbers.setdefault(rounded, source)
        self.numbers.setdefault(number.normalize(_EXACT), source)

    def check(self, answer: str) -> tuple[Claim, ...]:
        """Every number and quote of `answer`, with what was found for it."""
        stated = claims_of(answer)
        unread, self.unread = (self.unread, []) if stated else ([], self.unread)
        for text, source in unread:
            self._read(text, source)
        return tuple(
            Claim(text, "supported" if source else "unsupported", source)
            for text, source in ((text, self._find(text)) for text in stated)
        )

    def _find(self, claim: str) -> str:
        number = _decimal(claim) if _NUMBER.fullmatch(claim) else None
        if number is not None:
            found = self.numbers.get(number.normalize(_EXACT), "")
            return found or self.numbers.get(number.copy_abs().normalize(_EXACT), "")
        plain = _plain(claim)
        return next((source for text, source in self.texts if plain in text), "")


def claims_of(answer: str) -> list[str]:
    """The numbers, dates and quotes that `answer` states, each once, in order."""
    text = _LIST_MARK.sub(" ", answer)
    quotes = ["".join(match.groups("")) for match in _QUOTE.finditer(text)]
    text = _QUOTE.sub("\n", text)
    dates: list[str] = _DATE.findall(text)
    text = _DATE.sub("\n", text)
    numbers: list[str] = _NUMBER.findall(text)
    return list(dict.fromkeys([*dates, *numbers, *quotes]))


def unsupported(claims: Iterable[Claim]) -> list[str]:
    """The claims that found nothing to bear them out."""
    return [claim.text for claim in claims if claim.status == "unsupported"]


def _decimal(written: str) -> Decimal | None:
    try:
        number = Decimal(_SEPARATOR.sub("", written).replace("\u2212", "-"))
    except InvalidOperation:
        return None
    return number if -400 < number.adjusted() < 400 else None


def _precision(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _rounded(number: Decimal, decimals: int) -> list[Decimal]:
    """`number` at so many decimals; a tie both ways, since programs differ about it."""
    step = Decimal(1).scaleb(-decimals)
    return [
        number.quantize(step, rounding, _EXACT).normalize(_EXACT)
        for rounding in (ROUND_HALF_UP, ROUND_HALF_DOWN)
    ]


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\s\"“”«»`*_]+", " ", text).lower().split())
