"""Laws of money: the ledger balances whatever happens, and a request is paid once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_harness import MODEL, Clocks, World, metered, problems, scratch, world

from chogori.api.platform import Admission, Metered, Refused, UsageQuery, UsageRow
from chogori.chat import Usage
from chogori.errors import ConfigError, StoreError
from chogori.service import Grant, Price, dollars, microdollars
from chogori.service.ledger import balanced, unbilled
from chogori.store import Transaction

PRICE = Price(MODEL, 0, 600_000, 150_000, 2_500_000)
counts = st.integers(0, 3_000)
usages = st.builds(Usage, counts, counts, st.just(0), st.integers(0, 4_000))


@given(usages, counts, counts)
def test_what_is_held_covers_what_is_taken_and_a_cost_is_rounded_up_once(
    usage: Usage, more_prompt: int, more_completion: int
) -> None:
    cost = PRICE.cost(usage)
    assert cost <= PRICE.at_most(usage.prompt + more_prompt, usage.completion + more_completion)
    cached = min(usage.cached, usage.prompt)
    exact = (usage.prompt - cached) * 600 + cached * 150 + usage.completion * 2_500
    assert 0 <= cost * 1_000 - exact < 1_000


@given(st.integers(-(10**14), 10**14))
def test_an_amount_is_read_as_it_is_written(amount: int) -> None:
    assert microdollars(dollars(amount).replace("$", "")) == amount


@pytest.mark.parametrize("text", ["", "x", "1e99", "nan", "inf", "0.0000001", "1,5"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no amount"):
        microdollars(text)


Doing: TypeAlias = tuple[str, int, Usage]
KINDS = (
    *("admit", "admit", "admit", "settle", "settle", "settle", "again", "cancel", "lose"),
    *("top up", "give", "take back", "end", "price", "wait"),
)
doings: st.SearchStrategy[list[Doing]] = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3_000), usages), min_size=5, max_size=40
)


class Book:
    """The obvious ledger: a balance, and what each open request may cost."""

    def __init__(self) -> None:
        self.cash = self.voucher = 0
        self.is_prepaid = False
        self.price = PRICE
        self.open: list[tuple[Admission, int, Price]] = []
        self.billed: list[str] = []

    def pay(self, cost: int) -> None:
        given = min(self.voucher, cost)
        self.voucher -= given
        self.cash -= cost - given

    def allows(self, most: int) -> bool:
        held = sum(held for _, held, _ in self.open)
        free = self.cash + self.voucher - held
        return not self.is_prepaid or most <= max(0, free)


class Play:
    """Does what it is told to a service, and the same to the book."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.requests = 0

    async def admit(self, here: World, number: int, usage: Usage) -> None:
        here.requests = self.requests = self.requests + 1
        demand = here.demand(number, usage.completion)
        most = self.book.price.at_most(number, usage.completion)
        caller = await here.identified(await here.key()) if self.requests == 1 else self.caller
        self.caller = caller
        if self.book.allows(most):
            admission = await here.service.gate.admit(caller, demand)
            self.book.open.append((admission, most, self.book.price))
        else:
            with pytest.raises(Refused, match="the balance of organisation default"):
                await here.service.gate.admit(caller, demand)

    async def settle(self, number: int, usage: Usage, how: str) -> None:
        if not self.book.open:
            return
        admission, _, price = self.book.open.pop(number % len(self.book.open))
        taken = Metered(usage, "finished", 1.0)
        if how == "cancel":
            settling = asyncio.create_task(admission.settle(taken))
            await asyncio.sleep(0)
            settling.cancel()
            await asyncio.wait([settling])
        else:
            cost = await admission.settle(taken)
            assert cost == price.cost(usage)
        if how != "settle":
            assert await admission.settle(metered(7, 7)) == price.cost(usage), "the first counts"
        self.book.pay(price.cost(usage))

    async def decide(self, here: World, what: str, number: int) -> None:
        administration, book = here.administration, self.book
        if what == "price":
            book.price = Price(MODEL, here.clocks.wall(), number * 1_000, number * 10, number * 100)
            await administration.set_price(book.price)
        else:
            sign = -1 if what == "take back" else 1
            await administration.top_up("default", sign * number, voucher=what == "give")
            book.is_prepaid = True
            book.cash += 0 if what == "give" else sign * number
            book.voucher += number if what == "give" else 0
        await here.service.refresh()


@settings(max_examples=40)
@given(st.integers(0, 9_000), st.integers(0, 9_000), doings)
async def test_the_ledger_balances_whatever_happens(
    cash: int, voucher: int, doings: list[Doing]
) -> None:
    clocks, book = Clocks(), Book()
    begin: list[Doing] = [("top up", cash, Usage()), ("give", voucher, Usage())]
    play, left = Play(book), [*begin, *doings] if cash % 2 else list(doings)
    with scratch() as folder:
        while True:
            async with world(folder, clocks) as here:
                await _play(play, here, left)
                assert await problems(here.store) == []
                assert here.service.purse.held == sum(held for _, held, _ in book.open)
                [organisation] = await here.administration.organisations() or [None]
                if organisation is not None:
                    funds = organisation.funds
                    assert (funds.cash, funds.voucher) == (book.cash, book.voucher)
            book.open.clear()  # the process has ended: none of them was delivered
            if not left:
                break


async def _play(play: Play, here: World, left: list[Doing]) -> None:
    """Until the process ends, or nothing is left to do."""
    if play.requests == 0:
        await play.admit(here, 0, Usage())
    while left:
        what, number, usage = left.pop(0)
        match what:
            case "admit":
                await play.admit(here, number, usage)
            case "settle" | "again" | "cancel":
                await play.settle(number, usage, what)
            case "lose" if play.book.open:
                del play.book.open[number % len(play.book.open)]
            case "top up" | "give" | "take back" | "price":
                await play.decide(here, what, number)
            case "wait":
                here.clocks.turn(number)
                await here.service.gate.renew()
            case _:
                return


async def test_a_request_is_billed_once_however_many_say_it_was_theirs(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller()
        demand = here.demand()
        twins = [await here.service.gate.admit(caller, demand) for _ in range(5)]
        other = await here.service.gate.admit(caller, here.demand(0, 0))
        settling = [other.settle(metered(0, 0))]  # while it is written, the twins gather
        await asyncio.gather(*settling, *(twin.settle(metered(0, 100)) for twin in twins))
        again = await here.service.gate.admit(caller, demand)
        await again.settle(metered(0, 3_000))
        assert await problems(here.store) == []
        [organisation] = await here.administration.organisations()
        assert organisation.funds.cash == -250
        assert here.service.purse.held == 0
        found = await here.store.read(lambda tx: unbilled(tx, [demand.request_id, "other"]))
        assert found == ["other"]


async def test_a_ledger_that_was_changed_is_found_out(tmp_path: Path) -> None:
    statements = [
        "update accounts set microdollars = microdollars + 1 where id = 'cash:default'",
        "update transfers set microdollars = microdollars + 1 where kind = 'usage'",
        "delete from transfers where kind = 'usage'",
        "delete from accounts where id = 'revenue'",
        "update usage set microdollars = 0",
        "delete from usage",
    ]

    class Undone(Exception):
        pass

    async with world(tmp_path) as here:
        caller = await here.caller()
        await here.administration.top_up("default", 1_000)
        admission = await here.service.gate.admit(caller, here.demand())
        await admission.settle(metered())
        assert await problems(here.store) == []
        for statement in statements:

            def tamper(tx: Transaction, statement: str = statement) -> None:
                tx.execute(statement)
                raise Undone(balanced(tx))

            with pytest.raises(Undone) as found:
                await here.store.write(tamper)
            assert found.value.args[0] != [], statement


async def test_what_cannot_be_recorded_is_told_and_holds_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller()
        admission = await here.service.gate.admit(caller, here.demand())
        await here.store.write(lambda tx: tx.execute("alter table usage rename to gone"))
        with pytest.raises(StoreError, match="no such table"):
            await admission.settle(metered())
        assert here.service.purse.held == 0


async def test_a_bill_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller()
        good = [await here.service.gate.admit(caller, here.demand()) for _ in range(5)]
        bad = await here.service.gate.admit(caller, here.demand(model="\ud800"))
        first, *rest = [admission.settle(metered(0, 100)) for admission in (*good, bad)]
        told = await asyncio.gather(first, *rest, return_exceptions=True)
        assert told[:5] == [250] * 5
        assert isinstance(told[5], UnicodeEncodeError)
        assert await problems(here.store) == []
        [organisation] = await here.administration.organisations()
        assert organisation.funds.cash == -5 * 250
        assert here.service.purse.held == 0


async def test_a_count_that_cannot_be_is_not_billed(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        caller = await here.caller()
        admission = await here.service.gate.admit(caller, here.demand())
        lie = Metered(Usage(-5, 10**30, -1, 7), "finished", 1.0)
        assert await admission.settle(lie) == 10**9 * 2_500_000 // 10**6
        assert await problems(here.store) == []


async def test_usage_is_told_in_buckets_and_groups_of_ones_own_organisation(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        first = await here.caller()
        second = await here.caller(Grant(project="web"))
        other = await here.caller(Grant(organisation="other"))
        start = int(here.clocks.wall())
        for caller, model in (
            (first, MODEL),
            (second, MODEL),
            (second, "kimi-k2.5"),
            (other, MODEL),
        ):
            for _ in range(2):
                admission = await here.service.gate.admit(caller, here.demand(model=model))
                await admission.settle(metered(100, 10, cached=40))
                here.clocks.turn(1_800)
        query = UsageQuery(start=start, bucket_seconds=3_600)
        hourly = await here.service.gate.usage(first, query)
        assert [row.start for row in hourly] == [start, start + 3_600, start + 7_200]
        assert hourly[0] == UsageRow(
            start, start + 3_600, Usage(200, 20, 0, 80), 2, 2 * (36 + 6 + 25)
        )
        daily = UsageQuery(start=start, group_by=("project_id", "model"), limit=1)
        grouped = await here.service.gate.usage(first, daily)
        assert [(row.project, row.model, row.requests) for row in grouped] == [
            ("default", MODEL, 2),
            ("web", MODEL, 2),
            ("web", "kimi-k2.5", 2),
        ]
        of = UsageQuery(start=start + 1, projects=("web",), models=(MODEL,), keys=(second.key_id,))
        [row] = await here.service.gate.usage(first, of)
        assert (row.requests, row.key_id) == (2, None)
        assert await here.service.gate.usage(first, UsageQuery(start=start - 99_999, limit=1)) == []
        until = UsageQuery(start=start, end=start + 1)
        assert [row.requests for row in await here.service.gate.usage(first, until)] == [1]
