"""One budget for a whole swarm: leased to subagents as they need it, and returned unused.

    total = left + what open leases hold + what closed ones spent

Calls, tokens and dollars are pooled. A subagent is given them in small pieces, the next one before
the last is used up, so that what one leaves over is another's. Steps are everybody's own, and
seconds run for all alike. A part of the tokens and the money is kept back for the orchestrator, who
must be able to say in the end what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from chogori.agent import Budget
from chogori.agent.budget import cost
from chogori.chat import (
    Answer,
    Event,
    Price,
    ReplyFinished,
    StepStarted,
    ToolFinished,
    Usage,
    Waiting,
)

POOLED = ("calls", "tokens", "reasoning_tokens", "dollars")
RESERVE = 0.1
"""Of tokens and dollars: what subagents cannot have. Calls are not needed to answer."""
PIECES = 4
"""A lease grows by this fraction of an equal share."""


class Ledger:
    """What is left of the whole, in each limit that there is."""

    def __init__(self, total: Budget, *, shares: int = 100) -> None:
        """`shares` is how many subagents may run at once."""
        self.total = total
        self.left: dict[str, float] = {
            name: amount for name in POOLED if (amount := getattr(total, name)) is not None
        }
        self._reserved = {
            name: 0 if name == "calls" else RESERVE * amount for name, amount in self.left.items()
        }
        self._pieces = {
            name: 0 if name == "calls" else amount / (PIECES * shares)
            for name, amount in self.left.items()
        }
        self.open = 0
        """Leases that are open."""

    def piece(self, name: str) -> float:
        """What a lease holds ahead of what is spent: less when there is little left, so that none
        ends for the sake of what another holds. Of calls nothing, since they are counted before
        they are made."""
        there = max(0.0, self.left[name] - self._reserved[name])
        return min(self._pieces[name], there / (2 * max(1, self.open)))

    def take(self, name: str, wanted: float) -> float:
        """As much of `wanted` as there is for subagents; it is not left any more."""
        there = self.left[name] - self._reserved[name]
        taken = max(0, min(wanted, there))
        self.left[name] -= taken
        return taken

    def give_back(self, name: str, amount: float) -> None:
        """`amount` is left again; below zero, where more was spent than was taken."""
        self.left[name] += amount

    def spend(self, amounts: Mapping[str, float]) -> None:
        """What was spent without a lease: by the orchestrator, or before a run was resumed."""
        for name in self.left:
            self.left[name] -= amounts.get(name, 0)

    @property
    def ended(self) -> str | None:
        """The first limit of which subagents can have no more, in words, or None."""
        for name, left in self.left.items():
            if left <= self._reserved[name]:
                return name.replace("_", " ")
        return None


@dataclass(slots=True)
class Lease:
    """What one subagent holds of the whole, and what it has spent of it; told of its events."""

    ledger: Ledger
    cap: Budget
    """What it may have at most; its steps and seconds are its own."""
    price: Price | None = None
    held: dict[str, float] = field(default_factory=dict[str, float])
    usage: Usage = Usage()
    calls: int = 0
    steps: int = 0
    seconds: float = 0.0
    credit: Lease | None = None
    """An earlier lease of the same run, which was settled: what it spent is told again when the run
    is driven again, and is not spent twice."""
    _before: dict[str, float] = field(default_factory=dict[str, float])
    """What earlier legs have spent, which the loop counts no more."""
    _usage_before: Usage = Usage()
    _limits: Budget | None = None
    """As they were told last, until something is spent."""

    def __post_init__(self) -> None:
        credit = self.credit
        self.held = {name: credit.spent[name] if credit else 0 for name in self.ledger.left}
        self.ledger.open += 1

    def limits(self) -> Budget:
        """What it may use up; grows, while there is more, as it is used up."""
        if self._limits is None:
            spent = self.spent
            for name in self.ledger.left:
                piece, held = self.ledger.piece(name), self.held[name]
                wanted, most = spent[name] + piece - held, getattr(self.cap, name)
                if most is not None:
                    wanted = min(wanted, most - held)
                if wanted > piece / 2:
                    self.held[name] = held + self.ledger.take(name, wanted)
            self._limits = replace(self.cap, **{name: self._limit(name) for name in POOLED})
        return self._limits

    def _limit(self, name: str) -> Any:
        before = self._before.get(name, 0)
        if name in self.ledger.left:
            held = self.held[name]
            return (held if name == "dollars" else ceil(held)) - before
        own = getattr(self.cap, name)
        return None if own is None else own - before

    @property
    def spent(self) -> dict[str, float]:
        """What it has used up of whatever can be pooled."""
        return {
            "calls": self.calls,
            "tokens": self.usage.prompt + self.usage.completion,
            "reasoning_tokens": self.usage.reasoning,
            "dollars": cost(self.usage, self.price) or 0.0,
        }

    def note(self, event: Event) -> None:
        """Something happened in the run that holds the lease."""
        match event:
            case StepStarted():
                self.steps += 1
            case ReplyFinished():
                self.usage += event.usage
                self.calls += len(event.message.tool_calls)
                self._limits = None
            case ToolFinished() if event.extra.get("beyond"):
                self.calls -= 1
            case Answer() | Waiting():
                self._limits = None
                self.usage = self._usage_before + event.usage
                if isinstance(event, Answer):
                    self._usage_before, self._before = self.usage, self.spent
                    self.seconds += event.seconds
            case _:
                pass

    def again(self) -> None:
        """The run is driven again, and all that it has spent is told again."""
        self.usage = self._usage_before = Usage()
        self.calls = self.steps = 0
        self.seconds, self._before, self._limits = 0.0, {}, None

    def since_credit(self) -> dict[str, Any]:
        """What it spent that no earlier lease has settled."""
        then = self.credit
        spent = self.spent["dollars"] - (then.spent["dollars"] if then else 0.0)
        return {
            "calls": self.calls - (then.calls if then else 0),
            "usage": self.usage - (then.usage if then else Usage()),
            "dollars": round(spent, 6),
            "seconds": round(self.seconds - (then.seconds if then else 0.0), 3),
        }

    def close(self) -> None:
        """What it did not use goes back. Once."""
        self.ledger.open -= 1
        spent = self.spent
        for name in self.ledger.left:
            self.ledger.give_back(name, self.held.get(name, 0) - spent[name])
        self.held = {name: spent[name] for name in self.ledger.left}


@dataclass(slots=True)
class Purse(Lease):
    """The orchestrator's: it has whatever is left, and spends it directly. It is never closed."""

    team: frozenset[str] = frozenset()
    """Names of the tools by which it directs others: these are no calls of the budget."""
    directed: int = 0
    """How often it has called those."""

    def limits(self) -> Budget:
        limits = {
            name: None if name not in self.ledger.left else self._whole(name) for name in POOLED
        }
        return replace(self.cap, **limits)

    def _whole(self, name: str) -> Any:
        counted = self.directed if name == "calls" else 0
        return self.ledger.left[name] + self.spent[name] + counted - self._before.get(name, 0)

    def note(self, event: Event) -> None:
        before = self.spent
        Lease.note(self, event)
        if isinstance(event, ReplyFinished):
            directed = sum(call.name in self.team for call in event.message.tool_calls)
            self.calls -= directed
            self.directed += directed
        after = self.spent
        self.ledger.spend({name: after[name] - before[name] for name in POOLED})
