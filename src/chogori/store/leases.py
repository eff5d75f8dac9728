"""Leases: at most one drives a log, or whatever else a name stands for.

Each acquisition raises the fence of its name, and what is written under an older fence is refused.
So a driver that slept through the end of its lease harms nothing when it wakes. A lease is free
once it was released, its time is over, or its owner is a process of this host that has ended: then
nobody waits for the clock, whichever way that was set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NoReturn

from chogori.errors import LeaseHeld, LeaseLost
from chogori.store.owners import Owner, may_live, this_process
from chogori.store.store import Transaction


@dataclass(frozen=True, slots=True)
class Lease:
    """Held from `acquire` until `until`, unless renewed."""

    name: str
    owner: Owner
    fence: int
    until: float
    """Seconds since the epoch, by the clock of the store."""


def acquire(
    tx: Transaction,
    name: str,
    seconds: float,
    owner: Owner | None = None,
    may_live: Callable[[Owner], bool] = may_live,
) -> Lease:
    """Take the lease of `name` for `seconds`; `owner` is this process unless given.

    Raises `LeaseHeld`. `may_live` says of an owner whether it may still be running.
    """
    found = tx.execute("select owner, fence, until from leases where name = ?", (name,))
    held, fence, until = found[0] if found else (None, 0, 0.0)
    if held is not None and until > tx.now and may_live(Owner.from_text(held)):
        _refuse(name, Owner.from_text(held), until)
    lease = Lease(name, owner or this_process(), fence + 1, tx.now + seconds)
    tx.execute(
        "insert into leases (name, owner, fence, until) values (?, ?, ?, ?) on conflict (name) "
        "do update set owner = excluded.owner, fence = excluded.fence, until = excluded.until",
        (name, lease.owner.to_text(), lease.fence, lease.until),
    )
    return lease


def check(tx: Transaction, lease: Lease) -> None:
    """Raise `LeaseLost` unless `lease` is held. A time that is over does no harm by itself."""
    found = tx.execute("select owner, fence from leases where name = ?", (lease.name,))
    if found and found[0][0] is not None and found[0][1] == lease.fence:
        return
    owner = found[0][0] if found else None
    taker = f"taken over by {_process(Owner.from_text(owner))}" if owner else "given back"
    raise LeaseLost(f"the lease of {lease.name} was {taker}; nothing was written")


def renew(tx: Transaction, lease: Lease, seconds: float) -> Lease:
    """Hold `lease` for `seconds` from now. Raises `LeaseLost`."""
    check(tx, lease)
    tx.execute("update leases set until = ? where name = ?", (tx.now + seconds, lease.name))
    return replace(lease, until=tx.now + seconds)


def release(tx: Transaction, lease: Lease) -> None:
    """Give `lease` back; does nothing if it is no longer held."""
    tx.execute(
        "update leases set owner = null where name = ? and fence = ?", (lease.name, lease.fence)
    )


def holder(tx: Transaction, name: str) -> Lease | None:
    """The lease of `name` as it was last taken, unless it was given back."""
    found = tx.execute("select owner, fence, until from leases where name = ?", (name,))
    if not found or found[0][0] is None:
        return None
    return Lease(name, Owner.from_text(found[0][0]), found[0][1], found[0][2])


def _refuse(name: str, owner: Owner, until: float) -> NoReturn:
    when = datetime.fromtimestamp(until).strftime("%H:%M:%S")
    raise LeaseHeld(
        f"{name} is driven by {_process(owner)}, until {when} at least; end that process, or wait",
        owner=_process(owner),
        until=until,
    )


def _process(owner: Owner) -> str:
    return f"process {owner.pid} on {owner.host}"
