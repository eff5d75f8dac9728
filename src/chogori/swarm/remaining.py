"""Tells the orchestrator what remains of the team's budget, when it gets less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chogori.agent import Remind, Step, Stop

if TYPE_CHECKING:
    from chogori.swarm.team import Team

MARKS = (0.5, 0.25, 0.1)
"""Parts of a limit; at each the orchestrator is told once."""


class Remaining:
    """A guard of the orchestrator's run; it never stops one. When the run is driven again it says
    what it said, even if the budget is another one now."""

    name = "budget"

    def __init__(self, team: Team) -> None:
        self._team = team
        self._told = 1.0

    def judge(self, step: Step) -> Remind | Stop | None:
        if step.answers:
            return None
        shares = self._team.ledger.shares_left
        least = min(shares.values(), default=1.0)
        passed = [mark for mark in MARKS if least <= mark < self._told]
        self._told = min([self._told, *passed])
        run = self._team.run
        if run.is_past:
            past = run.following("reminded")
            says_it = past is not None and past.fields.get("guard") == self.name
            return Remind(str(past.fields["text"])) if past and says_it else None
        return Remind(self._says()) if passed else None

    def _says(self) -> str:
        ledger = self._team.ledger
        told = [
            f"{_amount(name, left)} of {_amount(name, getattr(ledger.total, name))}"
            for name, left in ledger.left.items()
        ]
        tasks = f"{self._team.tasks_left} of {self._team.swarm.most} tasks"
        return f"What remains for the whole team: {', '.join([*told, tasks])}. Plan with that."


def _amount(name: str, amount: float) -> str:
    if name == "dollars":
        return f"${max(0.0, amount):.2f}"
    return f"{max(0, int(amount)):,} {name.replace('_', ' ')}"
