"""Laws of the budget."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.agent import Budget
from chogori.agent.budget import cost
from chogori.chat import Price, Usage

NAMES = tuple(field.name for field in fields(Budget))
counts = st.none() | st.integers(0, 10**9)
# Quarters are exact in binary, so that what is taken and given back is the same to the bit.
amounts = st.none() | st.integers(0, 10**9).map(lambda quarters: quarters / 4)
budgets = st.builds(
    Budget, steps=counts, tokens=counts, reasoning_tokens=counts, seconds=amounts, dollars=amounts
)
usages = st.builds(Usage, *[st.integers(0, 10**6)] * 4)
spendings = st.fixed_dictionaries(
    {
        "steps": st.integers(0, 100),
        "usage": usages,
        "seconds": st.integers(0, 400).map(lambda quarters: quarters / 4),
        "dollars": st.integers(0, 400).map(lambda quarters: quarters / 4),
    }
)


def limits(budget: Budget) -> dict[str, Any]:
    return {name: getattr(budget, name) for name in NAMES}


@given(budgets, budgets)
def test_what_is_leased_and_what_stays_are_the_whole(whole: Budget, wanted: Budget) -> None:
    leased, rest = whole.lease(wanted)
    assert rest.give_back(leased) == whole


@given(budgets, budgets, spendings)
def test_what_a_branch_leaves_comes_back(whole: Budget, wanted: Budget, spent: Any) -> None:
    leased, rest = whole.lease(wanted)
    assert rest.give_back(leased.spend(**spent)) == whole.spend(**spent)


@given(budgets, budgets)
def test_a_branch_never_gets_more_than_there_is_or_than_it_wants(
    whole: Budget, wanted: Budget
) -> None:
    leased, rest = whole.lease(wanted)
    for name in NAMES:
        mine, theirs, got = (getattr(budget, name) for budget in (whole, wanted, leased))
        known = [limit for limit in (mine, theirs) if limit is not None]
        assert got == (min(known) if known else None)
        left = getattr(rest, name)
        assert (left is None) == (mine is None)
        assert left is None or left >= 0


@given(budgets, st.integers(1, 50))
def test_the_parts_of_a_split_are_at_most_the_whole(whole: Budget, branches: int) -> None:
    parts = whole.split(branches)
    assert len(parts) == branches
    for name in NAMES:
        limit = getattr(whole, name)
        shares = [getattr(part, name) for part in parts]
        if limit is None:
            assert shares == [None] * branches
        elif name == "seconds":
            assert shares == [limit] * branches, "branches run side by side"
        else:
            assert sum(shares) <= limit * (1 + 1e-12)


@pytest.mark.parametrize("branches", [0, -1])
def test_a_split_among_nobody_is_refused(branches: int) -> None:
    with pytest.raises(ValueError, match="at least one branch"):
        Budget().split(branches)


@given(budgets, spendings, spendings)
def test_spending_only_lessens_and_does_not_mind_the_order(
    whole: Budget, one: Any, two: Any
) -> None:
    left = whole.spend(**one)
    for name in NAMES:
        before, after = getattr(whole, name), getattr(left, name)
        assert (after is None) == (before is None)
        assert after is None or after <= before
    assert left.spend(**two) == whole.spend(**two).spend(**one)
    assert whole.spend() == whole


@given(budgets, spendings)
def test_what_has_ended_stays_ended(whole: Budget, spent: Any) -> None:
    assert not whole.ended or whole.spend(**spent).ended


@given(budgets)
def test_a_budget_has_ended_when_some_limit_is_used_up(budget: Budget) -> None:
    used_up = [name for name, limit in limits(budget).items() if limit is not None and limit <= 0]
    assert budget.ended == (used_up[0].replace("_", " ") if used_up else None)


def test_what_has_no_limit_never_ends() -> None:
    endless = Budget(steps=None)
    usage = Usage(10**12, 10**12, 10**12)
    assert endless.spend(steps=10**9, usage=usage, seconds=1e9, dollars=1e9).ended is None


def test_the_first_limit_that_ended_is_named_in_words() -> None:
    assert Budget(steps=1, reasoning_tokens=0, seconds=0).ended == "reasoning tokens"


def test_what_was_cached_costs_less_and_what_has_no_price_costs_nothing_known() -> None:
    price = Price(cached=1.0, prompt=10.0, completion=100.0)
    usage = Usage(prompt=1_000_000, completion=1_000_000, cached=400_000)
    assert cost(usage, price) == pytest.approx(0.4 + 6.0 + 100.0)
    assert cost(usage, None) is None
