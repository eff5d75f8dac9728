"""A service at work: what a server is handed, and the task that keeps it fresh.

One process serves a data folder at a time, since what is left of limits and balances is in its
memory; a lease of the store sees to that. What was taken before it began is counted from the bills,
so that nobody gains by its restart. What others change there (`chogori keys revoke`) raises
the version of the service, which is looked at four times a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from chogori.errors import LeaseLost, StoreError
from chogori.service import rules, usage
from chogori.service.allowances import MemoryAllowances, MonotonicClock
from chogori.service.gate import ServiceGate
from chogori.service.key_ring import KeyRing
from chogori.service.meter import Meter
from chogori.service.peppers import Peppers
from chogori.service.purse import Purse
from chogori.service.reasoning import KeptReasoning
from chogori.service.rules import Rules
from chogori.store import Lease, Store, leases

LEASE = "service"
LOOK_SECONDS = 0.25
_RENEW_SECONDS, _LEASE_SECONDS = 5.0, 20.0
_FORGET_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Service:
    """What a server needs of a platform."""

    gate: ServiceGate
    reasoning: KeptReasoning
    purse: Purse
    refresh: Callable[[], Awaitable[None]]
    """Take in at once what was changed, rather than within `LOOK_SECONDS`."""


@asynccontextmanager
async def serving(
    store: Store,
    peppers: Peppers,
    *,
    clock: Callable[[], float] = time.time,
    monotonic_ns: MonotonicClock = time.monotonic_ns,
) -> AsyncGenerator[Service]:
    """The service of a store that was opened with `SCHEMA`. `clock` is for expiry and prices, the
    other for limits. Raises `LeaseHeld` while another process serves it, and `StoreError`."""
    lease = await store.write(lambda tx: leases.acquire(tx, LEASE, _LEASE_SECONDS))
    purse = Purse()
    known = Rules(KeyRing(peppers), purse)
    meter = Meter(store, purse.told)
    allowances = MemoryAllowances(monotonic_ns)
    gate = ServiceGate(
        store,
        known,
        allowances,
        meter,
        clock=clock,
        monotonic_ns=monotonic_ns,
    )
    reasoning = KeptReasoning(store)
    watch = _Watch(store, known, gate, reasoning, lease)
    await watch.look()
    await _restore(store, known, allowances)
    task = asyncio.create_task(watch.run())
    try:
        yield Service(gate, reasoning, purse, watch.look)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.write(lambda tx: leases.release(tx, lease))


async def _restore(store: Store, known: Rules, allowances: MemoryAllowances) -> None:
    for organisation, seconds in known.memories().items():
        read = partial(usage.recent, organisation=organisation, seconds=seconds)
        for taken in await store.read(read):
            levels = known.levels(known.ring[taken.key_id].caller)
            allowances.restore(levels, taken.seconds_ago, taken.requests, taken.tokens)


class _Watch:
    def __init__(
        self,
        store: Store,
        known: Rules,
        gate: ServiceGate,
        reasoning: KeptReasoning,
        lease: Lease,
    ) -> None:
        self._store = store
        self._rules = known
        self._gate = gate
        self._reasoning = reasoning
        self._lease = lease

    async def look(self) -> None:
        """Take in what was changed since the last look."""
        # In its turn among the writes: so no balance is older than a bill that is told already, and
        # nobody who reads for long is waited for.
        read = partial(rules.read, after=self._rules.version)
        decided = await self._store.write(read, synced=False)
        if decided is not None:
            self._rules.take(decided)

    async def run(self) -> None:
        """Look, renew and forget, until it is cancelled."""
        loop = asyncio.get_running_loop()
        renew_at = forget_at = loop.time()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                if loop.time() >= renew_at:
                    renew_at = loop.time() + _RENEW_SECONDS
                    await self._renew()
                if loop.time() >= forget_at:
                    forget_at = loop.time() + _FORGET_SECONDS
                    await self._reasoning.forget()
            except LeaseLost as error:
                self._gate.close(str(error))
                return
            except StoreError:
                continue  # it is told to whoever settles; here another look may go well

    async def _renew(self) -> None:
        await self._gate.renew()
        lease = self._lease
        self._lease = await self._store.write(
            lambda tx: leases.renew(tx, lease, _LEASE_SECONDS), synced=False
        )
