"""What a leg of a run has used up, and what that leaves of its budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chogori.agent.budget import Budget, cost
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

    def __post_init__(self) -> None:
        self._since = self.clock()

    @property
    def left(self) -> Budget:
        """What is left of the limits."""
        return self.limits().spend(
            steps=self.steps,
            usage=self.usage,
            seconds=self.seconds,
            dollars=self.dollars or 0.0,
            calls=self.calls(),
        )

    def ended(self) -> str | None:
        """The first limit that is used up, in words, or None."""
        self.tick()
        return self.left.ended

    def tick(self) -> None:
        """Time has passed."""
        now = self.clock()
        self.seconds += now - self._since
        self._since = now

    @property
    def dollars(self) -> float | None:
        """What it cost; None where no price is known."""
        return cost(self.usage, self.price)
