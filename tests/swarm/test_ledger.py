"""The one budget of a swarm: whatever is leased, spent and given back, nothing of it is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.agent import Budget
from chogori.chat import (
    Price,
    ReplyFinished,
    ToolCall,
    ToolFinished,
    Usage,
    assistant,
)
from chogori.swarm.ledger import POOLED, RESERVE, Lease, Ledger, Purse

PRICE = Price(cached=0.1, prompt=1.0, completion=3.0)


def reply(tokens: int = 0, calls: int = 0) -> ReplyFinished:
    made = [ToolCall(str(number), "look", "{}") for number in range(calls)]
    usage = Usage(prompt=tokens, completion=tokens // 3, reasoning=tokens // 5)
    return ReplyFinished(assistant(calls=made), usage, 0.1, 0.1, 1.0)


BEYOND = ToolFinished(ToolCall("1", "look", "{}"), (), True, 0.0, "pure", {"beyond": True})
amounts = st.none() | st.integers(1, 5_000)
budgets = st.builds(
    lambda calls, tokens, reasoning, dollars: Budget(
        calls=calls, tokens=tokens, reasoning_tokens=reasoning, dollars=dollars
    ),
    amounts,
    amounts,
    amounts,
    st.none() | st.floats(0.001, 5),
)
deeds = st.lists(
    st.tuples(
        st.sampled_from(["open", "reply", "limits", "beyond", "close", "orchestrator"]),
        st.integers(0, 9),
        st.integers(0, 800),
        st.integers(0, 4),
    ),
    max_size=60,
)


def whole(total: Budget, ledger: Ledger, leases: list[Lease], purse: Purse) -> dict[str, Any]:
    """What is left, what leases hold (of closed ones what they spent), what the lead has spent."""
    return {
        name: ledger.left[name] + sum(it.held[name] for it in leases) + purse.spent[name]
        for name in POOLED
        if getattr(total, name) is not None
    }


@given(budgets, st.integers(1, 8), deeds)
def test_left_and_held_and_spent_are_always_the_whole(
    total: Budget, shares: int, deeds: list[tuple[str, int, int, int]]
) -> None:
    ledger = Ledger(total, shares=shares)
    purse = Purse(ledger, total, PRICE)
    leases: list[Lease] = []
    live: list[Lease] = []
    for deed, which, tokens, calls in deeds:
        lease = live[which % len(live)] if live else None
        if deed == "open":
            live.append(Lease(ledger, Budget(steps=9), PRICE))
            leases.append(live[-1])
        elif deed == "orchestrator":
            purse.note(reply(tokens, calls))
        elif lease is None:
            continue
        elif deed == "reply":
            lease.note(reply(tokens, calls))
        elif deed == "limits":
            lease.limits()
        elif deed == "beyond" and lease.calls:
            lease.note(BEYOND)
        elif deed == "close":
            lease.close()
            live.remove(lease)
        for name, amount in whole(total, ledger, leases, purse).items():
            assert amount == pytest.approx(getattr(total, name)), name
    for lease in live:
        lease.close()
    for name, amount in ledger.left.items():
        spent = sum(it.spent[name] for it in leases) + purse.spent[name]
        assert amount == pytest.approx(getattr(total, name) - spent), "what is unused came back"


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=40))
def test_no_more_calls_are_allowed_than_there_are(
    total: int, replies: list[tuple[int, int]]
) -> None:
    ledger = Ledger(Budget(calls=total), shares=4)
    leases = [Lease(ledger, Budget()) for _ in range(6)]
    made = [0] * 6
    for which, calls in replies:
        lease = leases[which]
        lease.note(reply(calls=calls))
        allowed = lease.limits().calls
        assert allowed is not None
        fit = max(0, min(calls, allowed - made[which]))
        made[which] += fit
        for _ in range(calls - fit):
            lease.note(BEYOND)
    assert sum(made) == min(total, sum(calls for _, calls in replies)) or sum(made) <= total
    wanted = sum(calls for _, calls in replies)
    assert sum(made) == wanted or sum(made) == total, "none is refused while there are calls"


def test_a_subagent_takes_nothing_of_what_is_kept_for_the_orchestrator() -> None:
    ledger = Ledger(Budget(tokens=1_000), shares=1)
    lease = Lease(ledger, Budget())
    while not (left := lease.limits()).tokens or left.tokens > lease.spent["tokens"]:
        lease.note(reply(tokens=30))
    assert ledger.left["tokens"] == pytest.approx(RESERVE * 1_000)
    assert ledger.ended == "tokens"


def test_what_a_lease_settled_is_not_spent_again_when_the_run_is_driven_again() -> None:
    ledger = Ledger(Budget(tokens=1_000), shares=1)
    first = Lease(ledger, Budget())
    first.note(reply(tokens=90))
    first.close()
    again = Lease(ledger, Budget(), credit=first)
    again.note(reply(tokens=90))
    assert again.since_credit()["usage"] == Usage()
    again.note(reply(tokens=30))
    again.close()
    assert ledger.left["tokens"] == 1_000 - 120 - 40
