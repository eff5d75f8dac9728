"""The door: whose key it is, whether its request may come in, and what it holds meanwhile.

Money first, then limits: a hold can be undone without a trace. Nothing here waits for the
database but queries of usage; only settling does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakSet

from chogori.api.platform import (
    Balance,
    Caller,
    Credentials,
    Demand,
    Pricing,
    UsageQuery,
    UsageRow,
)
from chogori.service import refusals, usage
from chogori.service.admission import Admitted
from chogori.service.allowances import Allowances, Exhausted, MonotonicClock
from chogori.service.meter import Meter
from chogori.service.prices import Price
from chogori.service.purse import Insufficient
from chogori.service.rules import Rules
from chogori.service.strangers import Strangers
from chogori.store import Store


class ServiceGate:
    """A `Gate`, by the rules of the service."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        allowances: Allowances,
        meter: Meter,
        *,
        clock: Callable[[], float] = time.time,
        monotonic_ns: MonotonicClock = time.monotonic_ns,
    ) -> None:
        self._store = store
        self._rules = rules
        self._allowances = allowances
        self._meter = meter
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._strangers = Strangers()
        self._under_way: WeakSet[Admitted] = WeakSet()
        self._closed = ""

    async def identify(self, credentials: Credentials) -> Caller:
        """See `Gate`."""
        held = self._rules.ring.find(credentials.key or "")
        if held is None:
            wait_ns = self._strangers.failed(credentials.address, self._monotonic_ns())
            if wait_ns:
                raise refusals.too_many_wrong_keys(wait_ns)
            raise refusals.unknown_key(credentials.key)
        if (state := held.key.state(self._clock())) != "active":
            raise refusals.ended_key(state)
        if not held.allows(credentials.address):
            raise refusals.wrong_place(credentials.address)
        return held.caller

    async def admit(self, caller: Caller, demand: Demand) -> Admitted:
        """See `Gate`."""
        if self._closed:
            raise refusals.closed(self._closed)
        price = self._price(demand.model, demand.stands_for)
        most = 0
        if price is not None:
            most = price.at_most(demand.prompt_tokens, demand.completion_tokens)
        try:
            hold = self._rules.purse.hold(caller.organisation, most)
        except Insufficient as error:
            raise refusals.insufficient(error, caller.organisation) from error
        try:
            taken = await self._allowances.take(
                self._rules.levels(caller), demand.prompt_tokens + demand.completion_tokens
            )
        except BaseException as error:
            hold.release()
            if isinstance(error, Exhausted):
                raise refusals.exhausted(error) from error
            raise
        admitted = Admitted(
            caller,
            demand,
            taken=taken,
            hold=hold,
            price=price,
            meter=self._meter,
            revoked=self._rules.ring[caller.key_id].revoked,
        )
        self._under_way.add(admitted)
        return admitted

    async def balance(self, caller: Caller) -> Balance | None:
        """See `Gate`."""
        funds = self._rules.purse.funds(caller.organisation)
        return None if funds is None else Balance(funds.cash, funds.voucher)

    def price(self, model: str, stands_for: str = "") -> Pricing | None:
        """See `Gate`."""
        price = self._price(model, stands_for)
        return None if price is None else Pricing(price.input, price.cached, price.output)

    async def usage(self, caller: Caller, query: UsageQuery) -> list[UsageRow]:
        """See `Gate`."""
        return await self._store.read(lambda tx: usage.rows(tx, caller.organisation, query))

    def _price(self, model: str, stands_for: str) -> Price | None:
        prices, now = self._rules.prices, self._clock()
        return prices.at(model, now) or prices.at(stands_for, now)

    def close(self, why: str) -> None:
        """Let nobody in any more: another process has taken over."""
        self._closed = why

    async def renew(self) -> None:
        """Say of every request under way that it is."""
        for admitted in list(self._under_way):
            await admitted.renew()
