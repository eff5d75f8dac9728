"""A request that was let in: what it holds, until it is settled or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from chogori.api.platform import Caller, Demand, Metered
from chogori.chat import Usage
from chogori.service.allowances import Taken
from chogori.service.bills import Bill
from chogori.service.meter import Meter
from chogori.service.prices import Price
from chogori.service.purse import Hold
from chogori.service.rate_headers import headers_of

_MOST_TOKENS = 10**9


class Admitted:
    """An `Admission`. Whoever loses it without settling frees its hold; its slot frees itself."""

    def __init__(
        self,
        caller: Caller,
        demand: Demand,
        *,
        taken: Taken,
        hold: Hold,
        price: Price | None,
        meter: Meter,
        revoked: asyncio.Event,
    ) -> None:
        self._caller = caller
        self._demand = demand
        self._taken = taken
        self._hold = hold
        self._price = price
        self._meter = meter
        self._revoked = revoked
        self._recorded: asyncio.Future[None] | None = None
        self._tokens = 0
        self._cost: int | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return headers_of(self._taken.standing)

    @property
    def revoked(self) -> asyncio.Event:
        return self._revoked

    async def settle(self, metered: Metered) -> int | None:
        """See `Admission`. It is recorded though whoever waits for it is cancelled; every further
        call waits for the first. Raises `StoreError` where it cannot be recorded."""
        if self._recorded is None:
            self._recorded = self._record(metered)
        try:
            await asyncio.shield(self._recorded)
        finally:
            await self._taken.settle(self._tokens)
        return self._cost

    def _record(self, metered: Metered) -> asyncio.Future[None]:
        metered = replace(metered, usage=_possible(metered.usage))
        self._tokens = metered.usage.prompt + metered.usage.completion
        self._cost = None if self._price is None else self._price.cost(metered.usage)
        caller, demand = self._caller, self._demand
        recorded = self._meter.record(
            Bill(
                request_id=demand.request_id,
                organisation=caller.organisation,
                project=caller.project,
                key_id=caller.key_id,
                model=demand.model,
                metered=metered,
                microdollars=self._cost,
            )
        )
        recorded.add_done_callback(self._release)
        return recorded

    def _release(self, recorded: asyncio.Future[None]) -> None:
        self._hold.release()
        recorded.exception()  # somebody has looked at it, though all who waited were cancelled

    async def renew(self) -> None:
        """The request is still under way."""
        await self._taken.renew()

    def __del__(self) -> None:
        self._hold.release()


def _possible(usage: Usage) -> Usage:
    """What endpoints report, within what can be: no count is below nothing or beyond measure."""
    prompt, completion, reasoning, cached = (
        min(max(0, count), _MOST_TOKENS)
        for count in (usage.prompt, usage.completion, usage.reasoning, usage.cached)
    )
    return Usage(prompt, completion, min(reasoning, completion), min(cached, prompt))
