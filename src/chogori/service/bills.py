"""What each request took and cost, as it is recorded: in one transaction with what pays for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from chogori.api.platform import Metered
from chogori.service import ledger
from chogori.service.ledger import Funds
from chogori.store import Transaction
from chogori.store.store import Value, rows_of

_COLUMNS = (
    "request, at, organisation, project, key, model, prompt, cached, completion, reasoning, "
    "outcome, seconds, first_token_seconds, upstream_seconds, microdollars"
)
_COUNT = _COLUMNS.count(",") + 1


@dataclass(frozen=True, slots=True)
class Bill:
    """One request."""

    request_id: str
    organisation: str
    project: str
    key_id: str
    model: str
    metered: Metered
    microdollars: int | None
    """None where no price is known."""


def write(tx: Transaction, bills: Sequence[Bill]) -> dict[str, Funds]:
    """Record bills and take what they cost from those who owe it; returns what these have left.

    A request that is billed already is passed over: the first bill counts."""
    values: list[Value] = []
    for bill in bills:
        values += _row(bill, tx.now)
    fresh = tx.execute(
        f"insert into usage ({_COLUMNS}) values {rows_of(len(bills), _COUNT)} "
        "on conflict (request) do nothing returning request",
        values,
    )
    new = {request for (request,) in fresh}
    owed: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for bill in bills:
        if bill.request_id in new and bill.microdollars:
            new.discard(bill.request_id)  # two of one id may come together
            owed[bill.organisation].append((bill.request_id, bill.microdollars))
    return ledger.pay(tx, owed)


def _row(bill: Bill, now: float) -> tuple[Value, ...]:
    metered, usage = bill.metered, bill.metered.usage
    return (
        bill.request_id,
        now,
        bill.organisation,
        bill.project,
        bill.key_id,
        bill.model,
        usage.prompt,
        usage.cached,
        usage.completion,
        usage.reasoning,
        metered.outcome,
        metered.seconds,
        metered.first_token_seconds,
        metered.upstream_seconds,
        bill.microdollars,
    )
