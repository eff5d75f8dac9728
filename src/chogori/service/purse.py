"""What organisations can still spend: their funds as last recorded, less what is held.

A hold is what a request may cost at most, from its admission to its settlement. Holds are kept in
memory alone: they protect a balance against requests under way, and there are none of those once
the process has ended. So nothing has to be cleaned up after a crash, and the ledger knows only of
what was really spent (`docs/decisions` says what this means for a crash).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chogori.service.ledger import Funds


class Insufficient(Exception):
    """The balance does not cover it; nothing is held."""

    def __init__(self, available: int, asked: int) -> None:
        super().__init__(f"{asked} microdollars asked, {available} available")
        self.available = available
        self.asked = asked


@dataclass(slots=True)
class _Account:
    funds: Funds
    is_prepaid: bool
    held: int = 0


class Hold:
    """Microdollars that are set aside, until they are released."""

    __slots__ = ("_account", "microdollars")

    def __init__(self, account: _Account, microdollars: int) -> None:
        self._account: _Account | None = account
        self.microdollars = microdollars

    def release(self) -> None:
        """Set them free. Again, it does nothing."""
        if self._account is not None:
            self._account.held -= self.microdollars
            self._account = None


class Purse:
    """The funds and holds of every organisation."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def told(self, funds: Mapping[str, Funds]) -> None:
        """What organisations have, by the last transaction of the ledger."""
        for organisation, has in funds.items():
            self._of(organisation).funds = has

    def set_prepaid(self, prepaid: Mapping[str, bool]) -> None:
        """Which organisations pay before they ask. The others may owe."""
        for organisation, is_prepaid in prepaid.items():
            self._of(organisation).is_prepaid = is_prepaid

    def hold(self, organisation: str, microdollars: int) -> Hold:
        """Set aside what a request may cost. Raises `Insufficient`, of a prepaid organisation."""
        account = self._of(organisation)
        available = account.funds.cash + account.funds.voucher - account.held
        if account.is_prepaid and microdollars > max(0, available):
            raise Insufficient(available, microdollars)
        account.held += microdollars
        return Hold(account, microdollars)

    def funds(self, organisation: str) -> Funds | None:
        """What it has, holds included; None where nothing is prepaid."""
        account = self._of(organisation)
        return account.funds if account.is_prepaid else None

    @property
    def held(self) -> int:
        """Microdollars that are set aside, in all."""
        return sum(account.held for account in self._accounts.values())

    def _of(self, organisation: str) -> _Account:
        account = self._accounts.get(organisation)
        if account is None:
            account = self._accounts[organisation] = _Account(Funds(), is_prepaid=False)
        return account
