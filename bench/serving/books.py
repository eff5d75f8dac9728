"""What stands in the books of a data folder, read beside the server by other means than its own."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from chogori.chat import Usage

from .asking import Seen

PRICE = (600_000, 150_000, 2_500_000)
"""Of a million tokens of `MODEL`, for which all names here stand: prompt, cached, completion;
microdollars."""


class Books:
    """The ledger and the bills."""

    def __init__(self, data: Path) -> None:
        self.path = data / "chogori.db"

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def problems(self) -> list[str]:
        """What does not balance, to the microdollar."""
        credits: Counter[str] = Counter()
        debits: Counter[str] = Counter()
        paid: Counter[str] = Counter()
        for kind, reference, debit, credit, amount in self.ask(
            "select kind, reference, debit, credit, microdollars from transfers"
        ):
            assert isinstance(amount, int), "money is whole microdollars"
            debits[str(debit)] += amount
            credits[str(credit)] += amount
            if kind == "usage":
                paid[str(reference)] += amount
        problems = [] if debits.total() == credits.total() else ["debits are not credits"]
        for account, balance in self.ask("select id, microdollars from accounts"):
            if balance != credits[str(account)] - debits[str(account)]:
                problems.append(f"{account} has {balance}")
        for request, *tokens, told in self.ask(
            "select request, prompt, cached, completion, microdollars from usage"
        ):
            prompt, cached, completion = (int(str(one)) for one in tokens)
            owed = cost(Usage(prompt, completion, 0, cached))
            if not owed == (told or 0) == paid.pop(str(request), 0):
                problems.append(f"{request} cost {owed}, was told {told}")
        return problems + [f"{request} was paid, not asked" for request in paid]

    def not_billed_once(self, seen: Iterable[Seen]) -> int:
        """How many of these requests have no bill, or more than one."""
        bills = Counter(str(request) for (request,) in self.ask("select request from usage"))
        return sum(bills[one.request_id] != 1 for one in seen)

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        names = self.ask("select name from sqlite_master where type = 'table'")
        counts = [(str(name), self.ask(f"select count(*) from {name}")) for (name,) in names]
        return {name: int(str(count)) for name, [(count,)] in counts}


def cost(usage: Usage) -> int:
    """By the published prices, in whole microdollars, rounded up once."""
    fresh, cached, completion = PRICE
    millionths = (usage.prompt - usage.cached) * fresh
    millionths += usage.cached * cached + usage.completion * completion
    return -(-millionths // 1_000_000)
