"""What people decided, as a running server knows it: keys, limits, prices, who pays beforehand.

`read` is one look into the database, `Rules.take` what becomes of it in memory. The version tells
whether another process has changed anything since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chogori.api.platform import Caller
from chogori.service import keys, ledger, limits, prices
from chogori.service.allowances import DAY, MINUTE, Levels
from chogori.service.key_ring import KeyRing
from chogori.service.keys import Key
from chogori.service.ledger import Funds
from chogori.service.limits import Limits, Subject
from chogori.service.prices import Price, PriceTable
from chogori.service.purse import Purse
from chogori.store import Transaction


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided by some version; of the keys those that were changed after the last."""

    version: int
    keys: list[Key]
    limits: dict[str, Limits]
    prices: list[Price]
    prepaid: dict[str, bool]
    funds: dict[str, Funds]


def read(tx: Transaction, after: int) -> Decided | None:
    """What was decided, with the keys that were changed after a version; None where that is the
    newest."""
    [(version,)] = tx.execute("select version from service")
    if version == after:
        return None
    rows = tx.execute("select id, prepaid from organisations")
    prepaid = {organisation: bool(is_prepaid) for organisation, is_prepaid in rows}
    return Decided(
        version=version,
        keys=keys.every(tx, after),
        limits=limits.read(tx),
        prices=prices.read(tx),
        prepaid=prepaid,
        funds=ledger.funds(tx, prepaid),
    )


class Rules:
    """What holds now."""

    def __init__(self, ring: KeyRing, purse: Purse) -> None:
        self.ring = ring
        self.purse = purse
        self.prices = PriceTable(())
        self.version = -1
        self._limits: Mapping[str, Limits] = {}
        self._levels: dict[str, Levels] = {}

    def take(self, decided: Decided) -> None:
        """Have all of it hold from here on."""
        self.ring.update(decided.keys)
        self.prices = PriceTable(decided.prices)
        self.purse.set_prepaid(decided.prepaid)
        self.purse.told(decided.funds)
        self._limits = decided.limits
        self._levels = {}
        self.version = decided.version

    def memories(self) -> dict[str, int]:
        """How many seconds of each organisation's past count for its limits, if any do."""
        spans: dict[str, int] = {}
        for key in self.ring.keys:
            for _, given in self.levels(self.ring[key].caller):
                organisation = self.ring[key].caller.organisation
                span = DAY if given.tokens_per_day else MINUTE
                spans[organisation] = max(span, spans.get(organisation, 0))
        return spans

    def levels(self, caller: Caller) -> Levels:
        """The limits that a caller is under: its key's, its project's, its organisation's."""
        levels = self._levels.get(caller.key_id)
        if levels is None:
            subjects = (
                Subject("key", caller.key_id),
                Subject("project", f"{caller.organisation}/{caller.project}"),
                Subject("organisation", caller.organisation),
            )
            levels = self._levels[caller.key_id] = [
                (subject, self._limits[str(subject)])
                for subject in subjects
                if str(subject) in self._limits
            ]
        return levels
