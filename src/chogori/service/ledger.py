"""The ledger: every movement of money has an account that it is taken from and one it goes to.

    funding, promotion  ->  cash:ORG, voucher:ORG     a top-up
    cash:ORG, voucher:ORG  ->  revenue                a request

The balance of an account is what came in less what went out, kept beside the transfers in the same
transactions; so the balances of all accounts are nothing together, always. `balanced` checks both,
and that each priced request was paid once. All are functions of a transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chogori.store import Transaction
from chogori.store.store import Value, rows_of

Kind = Literal["top-up", "usage"]
REVENUE, FUNDING, PROMOTION = "revenue", "funding", "promotion"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Microdollars, more than none, from `debit` to `credit`."""

    kind: Kind
    reference: str
    """Of usage the id of the request; of a top-up what was said about it."""
    debit: str
    credit: str
    microdollars: int


@dataclass(frozen=True, slots=True)
class Funds:
    """What an organisation has."""

    cash: int = 0
    voucher: int = 0


def cash_of(organisation: str) -> str:
    """The account of what was paid in."""
    return f"cash:{organisation}"


def voucher_of(organisation: str) -> str:
    """The account of what was given; it is spent first."""
    return f"voucher:{organisation}"


def post(tx: Transaction, transfers: Sequence[Transfer]) -> None:
    """Write transfers, and what they make of the balances."""
    moved: defaultdict[str, int] = defaultdict(int)
    values: list[Value] = []
    for each in transfers:
        assert each.microdollars > 0, "what goes the other way changes its sides"
        moved[each.debit] -= each.microdollars
        moved[each.credit] += each.microdollars
        values += (tx.now, each.kind, each.reference, each.debit, each.credit, each.microdollars)
    if not transfers:
        return
    columns = "at, kind, reference, debit, credit, microdollars"
    tx.execute(f"insert into transfers ({columns}) values " + rows_of(len(transfers), 6), values)
    tx.execute(
        f"insert into accounts (id, microdollars) values {rows_of(len(moved), 2)} on conflict (id) "
        "do update set microdollars = accounts.microdollars + excluded.microdollars",
        [value for item in sorted(moved.items()) for value in item],
    )


def top_up(
    tx: Transaction, organisation: str, microdollars: int, reference: str, *, voucher: bool = False
) -> None:
    """Give an organisation money, or take some back (below zero)."""
    source = PROMOTION if voucher else FUNDING
    account = voucher_of(organisation) if voucher else cash_of(organisation)
    if microdollars > 0:
        post(tx, [Transfer("top-up", reference, source, account, microdollars)])
    elif microdollars < 0:
        post(tx, [Transfer("top-up", reference, account, source, -microdollars)])


def funds(tx: Transaction, organisations: Iterable[str]) -> dict[str, Funds]:
    """What each of these has."""
    wanted = sorted(set(organisations))
    accounts = [account for each in wanted for account in (cash_of(each), voucher_of(each))]
    if not accounts:
        return {}
    marks = ", ".join("?" * len(accounts))
    rows = tx.execute(f"select id, microdollars from accounts where id in ({marks})", accounts)
    has: dict[str, int] = dict(rows)
    return {each: Funds(has.get(cash_of(each), 0), has.get(voucher_of(each), 0)) for each in wanted}


def pay(tx: Transaction, owed: Mapping[str, Sequence[tuple[str, int]]]) -> dict[str, Funds]:
    """Pay for the requests (id, microdollars) of each organisation, from its voucher while that
    lasts; returns what they have left."""
    transfers: list[Transfer] = []
    left: dict[str, Funds] = {}
    for organisation, has in funds(tx, owed).items():
        cash, voucher = has.cash, has.voucher
        for request, microdollars in owed[organisation]:
            given = min(max(0, voucher), microdollars)
            voucher -= given
            cash -= microdollars - given
            parts = (voucher_of(organisation), given), (cash_of(organisation), microdollars - given)
            transfers += [
                Transfer("usage", request, account, REVENUE, part)
                for account, part in parts
                if part
            ]
        left[organisation] = Funds(cash, voucher)
    post(tx, transfers)
    return left


def balanced(tx: Transaction) -> list[str]:
    """What does not fit, in words; nothing is how it must be."""
    problems: list[str] = []
    [(total,)] = tx.execute("select coalesce(sum(microdollars), 0) from accounts")
    if total:
        problems.append(f"all accounts together have {total} microdollars, and not nothing")
    problems += [
        f"the account {account} says {said} microdollars, its transfers {moved}"
        for account, said, moved in tx.execute(_DIFFERING)
    ]
    problems += [
        f"the request {request} cost {cost} microdollars and was paid {paid}"
        for request, cost, paid in tx.execute(_UNPAID)
    ]
    problems += [
        f"{reference} was paid, and there is no such request" for (reference,) in tx.execute(_STRAY)
    ]
    return problems


def unbilled(tx: Transaction, requests: Iterable[str]) -> list[str]:
    """Which of these requests are on no bill. None is on two: the table of bills forbids it."""
    return [
        request
        for request in requests
        if not tx.execute("select 1 from usage where request = ?", (request,))
    ]


_DIFFERING = """
    with moved as (
        select credit as id, microdollars from transfers
        union all
        select debit, -microdollars from transfers
    ), sums as (
        select id, sum(microdollars) as total from moved group by id
    )
    select accounts.id, accounts.microdollars, coalesce(sums.total, 0)
        from accounts left join sums on sums.id = accounts.id
        where accounts.microdollars <> coalesce(sums.total, 0)
    union all
    select sums.id, 0, sums.total
        from sums left join accounts on accounts.id = sums.id where accounts.id is null
"""
_UNPAID = """
    with paid as (
        select reference, sum(microdollars) as total from transfers
        where kind = 'usage' group by reference
    )
    select usage.request, coalesce(usage.microdollars, 0), coalesce(paid.total, 0)
        from usage left join paid on paid.reference = usage.request
        where coalesce(usage.microdollars, 0) <> coalesce(paid.total, 0)
"""
_STRAY = """
    select distinct transfers.reference
        from transfers left join usage on usage.request = transfers.reference
        where transfers.kind = 'usage' and usage.request is null
"""
