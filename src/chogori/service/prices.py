"""What tokens cost: rows with a date, of which the last that has begun counts.

Prices are microdollars for a million tokens, amounts are whole microdollars. A cost is rounded up
once, at its end, so that what is held for the most a request may take always covers what it took.
A request is billed at the price of the moment it was admitted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from chogori.chat import Usage
from chogori.errors import ConfigError
from chogori.store import Transaction

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Of a model, from an instant on. Zero is a price too: free, and known to be."""

    model: str
    since: float
    """Seconds since the epoch."""
    input: int
    cached: int
    """Of prompt tokens that were read from a cache."""
    output: int
    """Of all that was written, reasoning included."""

    def cost(self, usage: Usage) -> int:
        """Microdollars."""
        cached = min(usage.cached, usage.prompt)
        millionths = (
            (usage.prompt - cached) * self.input
            + cached * self.cached
            + usage.completion * self.output
        )
        return -(-millionths // MILLION)

    def at_most(self, prompt: int, completion: int) -> int:
        """What so many tokens cost at most, however many are cached."""
        return -(-(prompt * max(self.input, self.cached) + completion * self.output) // MILLION)


class PriceTable:
    """All prices, for looking up the one that counts."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by_model: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.since):
            self._by_model.setdefault(price.model, []).append(price)

    def at(self, model: str, time: float) -> Price | None:
        """The price of `model` at that time; None where none is known."""
        prices = self._by_model.get(model, ())
        found = bisect_right(prices, time, key=lambda price: price.since)
        return prices[found - 1] if found else None


def write(tx: Transaction, price: Price) -> None:
    """Add a row, or put another in the place of one of the same instant."""
    tx.execute(
        "insert into prices (model, since, input, cached, output) values (?, ?, ?, ?, ?) "
        "on conflict (model, since) do update "
        "set input = excluded.input, cached = excluded.cached, output = excluded.output",
        (price.model, price.since, price.input, price.cached, price.output),
    )


def read(tx: Transaction) -> list[Price]:
    """Every row, by model and time."""
    rows = tx.execute(
        "select model, since, input, cached, output from prices order by model, since"
    )
    return [Price(*row) for row in rows]


def microdollars(dollars: str) -> int:
    """An amount that a person wrote, exactly. Raises `ConfigError`."""
    try:
        amount = Decimal(dollars.strip().removeprefix("$")) * MILLION
        if amount.is_finite() and amount == int(amount) and abs(amount) < 10**15:
            return int(amount)
    except (InvalidOperation, OverflowError):
        pass
    raise ConfigError(f"{dollars!r} is no amount: expected dollars, with six decimals at most")


def dollars(microdollars: int) -> str:
    """An amount for a person: $12.34, with as many decimals as it takes."""
    sign = "-" if microdollars < 0 else ""
    whole, rest = divmod(abs(microdollars), MILLION)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole}.{decimals}"
