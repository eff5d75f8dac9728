"""What a probe asks, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from chogori.chat import Profile

Verdict = Literal["yes", "no", "not told", "failed", "does not apply"]
"""`not told`: what came decides nothing. `failed`: the request did, and `seen` is the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of a report."""

    name: str
    asked: str
    """What was asked, or looked at."""
    verdict: Verdict
    seen: str
    requests: int
    """What it cost. A request that settles several questions is counted at the first of them."""
    needed: bool
    """Whether a run cannot do without it."""

    @property
    def is_fatal(self) -> bool:
        """Whether a run would lose what it needs."""
        return self.needed and self.verdict in ("no", "failed")


@dataclass(frozen=True, slots=True)
class Question:
    """What a probe wants to know. Its name stands for it in the report."""

    name: str
    asked: str
    needed: bool = False

    def found(self, verdict: Verdict, seen: str, requests: int = 1) -> Finding:
        """The finding that answers it."""
        return Finding(
            name=self.name,
            asked=self.asked,
            verdict=verdict,
            seen=seen,
            requests=requests,
            needed=self.needed,
        )

    def judged(self, holds: bool, seen: str, requests: int = 1) -> Finding:
        """The finding that answers it with yes or no."""
        return self.found("yes" if holds else "no", seen, requests)


@dataclass(frozen=True, slots=True)
class Difference:
    """A value of the profile that is not what was assumed."""

    name: str
    assumed: Any
    found: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a probe found."""

    model: str
    findings: tuple[Finding, ...]
    assumed: Profile
    """What we assume of a model of that name."""
    profile: Profile | None
    """What to use instead; None where nobody answered."""
    differences: tuple[Difference, ...]

    @property
    def works(self) -> bool:
        """Whether all that a run needs was found, or could not be told."""
        return not any(finding.is_fatal for finding in self.findings)

    @property
    def requests(self) -> int:
        """What the probe cost."""
        return sum(finding.requests for finding in self.findings)


def in_short(text: str, most: int = 80) -> str:
    """`text` on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
