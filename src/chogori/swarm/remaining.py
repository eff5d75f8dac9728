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

    def copy(self) -> Remaining:
        """Another that has told the same."""
        made = Remaining(self._team)
        made._told = self._told
        return made

    def judge(self, step: Step) -> Remind | Stop | None:
        if step.answers:
            return None
        least = min(left / total for left, total in self._left().values() if total)
        passed = [mark for mark in MARKS if least <= mark < self._told]
        self._told = min([self._told, *passed])
        run = self._team.run
        if run.is_past:
            past = run.following("reminded")
            says_it = past is not None and past.fields.get("guard") == self.name
            return Remind(str(past.fields["text"])) if past and says_it else None
        return Remind(self._says()) if passed else None

    def _says(self) -> str:
        told = [_says(name, max(0.0, left), total) for name, (left, total) in self._left().items()]
        return f"What remains for the whole team: {', '.join(told)}. Plan with that."

    def _left(self) -> dict[str, tuple[float, float]]:
        """Of each limit that there is, and of tasks: what is left, and what there was."""
        team, ledger = self._team, self._team.ledger
        left = {name: (held, getattr(ledger.total, name)) for name, held in ledger.left.items()}
        if (seconds := team.crew.seconds_left) is not None:
            left["seconds"] = (seconds, team.swarm.budget.seconds or 0.0)
        return {**left, "tasks": (team.tasks_left, team.swarm.most)}


def _says(name: str, left: float, total: float) -> str:
    if name == "dollars":
        return f"${left:.2f} of ${total:.2f}"
    return f"{left:,.0f} of {total:,.0f} {name.replace('_', ' ')}"
