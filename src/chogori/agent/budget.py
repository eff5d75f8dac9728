"""A budget is a value: it can be spent from, leased to a branch, and given back what is left."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from chogori.chat import Price, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use up. None is no limit. Spending below zero is possible and ends it."""

    steps: int | None = 300
    tokens: int | None = None
    """Prompt and completion together; what the endpoint had cached counts too."""
    reasoning_tokens: int | None = None
    seconds: float | None = None
    dollars: float | None = None
    calls: int | None = None
    """Of tools. Those beyond it are not made, which the model is told; no call is needed to
    answer, so a run does not end with them."""

    @property
    def ended(self) -> str | None:
        """The first limit that is used up, in words, or None."""
        for name in ENDING:
            left = getattr(self, name)
            if left is not None and left <= 0:
                return name.replace("_", " ")
        return None

    @property
    def left(self) -> dict[str, float]:
        """Each limit that there is, and what is left of it."""
        amounts = ((name, getattr(self, name)) for name in LIMITS)
        return {name: left for name, left in amounts if left is not None}

    def spend(
        self,
        *,
        steps: int = 0,
        usage: Usage = Usage(),
        seconds: float = 0.0,
        dollars: float = 0.0,
        calls: int = 0,
    ) -> Budget:
        """What is left after this."""
        spent = amounts(steps, usage, seconds, dollars, calls)
        return Budget(**{name: _less(getattr(self, name), spent[name]) for name in LIMITS})

    def lease(self, wanted: Budget) -> tuple[Budget, Budget]:
        """(what a branch gets, what stays here): as much of `wanted` as there is.

        A limit that `wanted` does not name goes to the branch whole, and comes back with it.
        """
        lease = {name: _smaller(mine, theirs) for name, mine, theirs in _pairs(self, wanted)}
        rest = {name: _less(getattr(self, name), taken) for name, taken in lease.items()}
        return Budget(**lease), Budget(**rest)

    def split(self, branches: int) -> list[Budget]:
        """As many equal parts; seconds are not divided, since branches run side by side."""
        if branches < 1:
            raise ValueError(f"a budget is split among at least one branch, not {branches}")
        return [
            Budget(
                steps=None if self.steps is None else self.steps // branches,
                tokens=None if self.tokens is None else self.tokens // branches,
                reasoning_tokens=(
                    None if self.reasoning_tokens is None else self.reasoning_tokens // branches
                ),
                seconds=self.seconds,
                dollars=None if self.dollars is None else self.dollars / branches,
                calls=None if self.calls is None else self.calls // branches,
            )
            for _ in range(branches)
        ]

    def give_back(self, unused: Budget) -> Budget:
        """This budget and what a branch did not use."""
        sums = {
            name: None if mine is None else mine + (theirs or 0)
            for name, mine, theirs in _pairs(self, unused)
        }
        return Budget(**sums)


LIMITS = tuple(field.name for field in fields(Budget))
ENDING = tuple(name for name in LIMITS if name != "calls")


def amounts(
    steps: int, usage: Usage, seconds: float, dollars: float, calls: int
) -> dict[str, float]:
    """What was used of each limit."""
    return {
        "steps": steps,
        "tokens": usage.prompt + usage.completion,
        "reasoning_tokens": usage.reasoning,
        "seconds": seconds,
        "dollars": dollars,
        "calls": calls,
    }


def cost(usage: Usage, price: Price | None) -> float | None:
    """US dollars for `usage`, or None where no price is known."""
    if price is None:
        return None
    fresh = usage.prompt - usage.cached
    spent = fresh * price.prompt + usage.cached * price.cached + usage.completion * price.completion
    return spent / 1_000_000


def _pairs(one: Budget, other: Budget) -> list[tuple[str, Any, Any]]:
    return [(name, getattr(one, name), getattr(other, name)) for name in LIMITS]


def _less(limit: Any, spent: Any) -> Any:
    return None if limit is None else limit - (spent or 0)


def _smaller(mine: Any, theirs: Any) -> Any:
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    return max(0, min(mine, theirs))
