"""What a leg of a run has used up, and what that leaves of its budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chogori.agent.budget import ENDING, Budget, amounts, cost
from chogori.chat import Price, Usage


@dataclass(slots=True)
class Account:
    """See the module's docstring. Time is what `clock` says, and counts from when it is opened."""

    limits: Callable[[], Budget]
    """What the leg may use up in all."""
    clock: Callable[[], float]
    price: Price | None
    calls: Callable[[], int] = int
    """How many calls were made."""
    usage: Usage = Usage()
    steps: int = 0
    seconds: float = 0.0
    _since: float = field(init=False)
    _limits: Budget | None = None
    _amounts: dict[str, float] = field(default_factory=dict[str, float])
    """Those limits that there are."""

    def __post_init__(self) -> None:
        self._since = self.clock()

    @property
    def left(self) -> dict[str, float]:
        """Each limit that there is, and what is left of it. Asked for several times a step, so it
        makes no `Budget`."""
        limits = self.limits()
        if limits is not self._limits:
            self._limits, self._amounts = limits, limits.left
        spent = amounts(self.steps, self.usage, self.seconds, self.dollars or 0.0, self.calls())
        return {name: limit - spent[name] for name, limit in self._amounts.items()}

    def ended(self) -> str | None:
        """The first limit that is used up, in words, or None."""
        self.tick()
        left = self.left
        for name in ENDING:
            if left.get(name, 1) <= 0:
                return name.replace("_", " ")
        return None

    def tick(self) -> None:
        """Time has passed."""
        now = self.clock()
        self.seconds += now - self._since
        self._since = now

    @property
    def dollars(self) -> float | None:
        """What it cost; None where no price is known."""
        return cost(self.usage, self.price)
