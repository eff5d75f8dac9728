"""What `bench/agents.py` measures, set against what is wanted of it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

OURS, FLOOR = "chogori", "floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the cases are. The wanted figures are for these and no others."""

    steps: int = 300
    agents: int = 100
    calls: int = 15
    wide_agents: int = 300
    wide_calls: int = 14


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of one contender through one case, as `bench/agents/meter.py` tells it."""

    calls: int
    agents: int
    answered: int
    seconds: float
    cpu_seconds: float
    step_ms: Mapping[str, float]
    before_mb: float
    peak_mb: float
    log_bytes: int | None
    result_bytes: int
    tally: Mapping[str, float]
    versions: Mapping[str, str]

    @property
    def cpu_ms(self) -> float:
        """Of one call."""
        return 1000 * self.cpu_seconds / self.calls

    @property
    def last_ms(self) -> float | None:
        """Of one step at the end of a chain, by the clock."""
        return self.step_ms.get("last")

    @property
    def log_ratio(self) -> float | None:
        """Log bytes for each byte of reasoning, arguments and results, each counted once."""
        payload = self.tally["said_bytes"] + self.result_bytes
        return None if self.log_bytes is None else self.log_bytes / payload

    @property
    def agent_mb(self) -> float:
        """What the peak of memory grew by, for each agent."""
        return (self.peak_mb - self.before_mb) / self.agents


Figure = Callable[[Figures], float | None]


@dataclass(frozen=True, slots=True)
class Results:
    """Every run, by case and contender, and what did not run."""

    runs: dict[tuple[str, str], list[Figures]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    def of(self, case: str, contender: str, figure: Figure) -> list[float]:
        """One figure of each run."""
        told = (figure(run) for run in self.runs.get((case, contender), ()))
        return [one for one in told if one is not None]

    def median(self, case: str, contender: str, figure: Figure) -> float | None:
        told = self.of(case, contender, figure)
        return statistics.median(told) if told else None


Whose = Callable[[Results, str], float | None]
"""A figure of the contender of that name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measure, and the cases that it is made of."""

    name: str
    title: str
    cases: tuple[str, ...]
    of: Whose
    most: float | None = None
    """The figure is to be no more than this."""
    least: float | None = None
    """The figure is to be no less than this, whatever the sizes."""
    times_less: float | None = None
    """It is to be so many times less than that of the best durable peer."""

    @property
    def wanted(self) -> str:
        told = f"<= {self.most:g}" if self.least is None else f">= {self.least:g}"
        return told + (f", {self.times_less:g} times less" if self.times_less else "")

    def told(self, figure: float | None) -> str:
        return "-" if figure is None else f"{figure:.{2 if self.least is None else 0}f}"

    def best(self, results: Results, contenders: Iterable[str]) -> tuple[float, str] | None:
        """The best figure among `contenders`, and whose it is."""
        told = [(one, name) for name in contenders if (one := self.of(results, name)) is not None]
        return (min(told) if self.least is None else max(told)) if told else None

    def is_met(self, ours: float | None, durable: tuple[float, str] | None) -> bool:
        """Without a durable peer, only what needs none is judged."""
        if ours is None or (self.most is not None and ours > self.most):
            return False
        if self.least is not None and ours < self.least:
            return False
        return not (self.times_less and durable) or ours * self.times_less <= durable[0]


def rows(sizes: Sizes) -> list[Row]:
    """Every measure, in the order of the table."""
    row_of = f"{sizes.steps} calls in a row"
    fan = f"{sizes.agents} agents x {sizes.calls} calls"
    wide = f"{sizes.wide_agents} agents x {sizes.wide_calls} calls"
    growth = f"log of {2 * sizes.steps} steps over that of {sizes.steps}"
    cpu, last = _in("chain", lambda run: run.cpu_ms), _in("chain", lambda run: run.last_ms)
    log = _in("chain", lambda run: run.log_ratio)
    fan_wall = _in("fan", lambda run: run.seconds)
    wide_wall = _in("wide fan", lambda run: run.seconds)
    memory = _in("wide fan", lambda run: run.agent_mb)
    kept = f"reasoning sent back unchanged, of {sizes.steps}"
    return [
        Row("cpu", f"{row_of}: CPU ms a step", ("chain",), cpu, most=3.5, times_less=20),
        Row("wall", f"{row_of}: wall ms, p50 of last 50", ("chain",), last, most=7),
        Row("log", "log bytes for a byte of payload", ("chain",), log, most=8),
        Row("growth", growth, ("chain", "long chain"), _growth, most=2.1),
        Row("fan", f"{fan}: wall s", ("fan",), fan_wall, most=2.2),
        Row("wide", f"{wide}: wall s", ("wide fan",), wide_wall, most=4),
        Row("memory", f"{wide}: MB an agent", ("wide fan",), memory, most=1),
        Row("reasoning", kept, ("chain",), _kept, least=sizes.steps),
    ]


def _in(case: str, figure: Figure) -> Whose:
    return lambda results, contender: results.median(case, contender, figure)


def _growth(results: Results, contender: str) -> float | None:
    short = results.median("chain", contender, lambda run: run.log_bytes)
    long = results.median("long chain", contender, lambda run: run.log_bytes)
    return None if short is None or long is None else long / short


def _kept(results: Results, contender: str) -> float | None:
    # Not the median: that one run of three lost some is what must be seen.
    return min(results.of("chain", contender, lambda run: run.tally["kept"]), default=None)


def print_rows(
    wanted: Sequence[Row],
    results: Results,
    peers: Sequence[str],
    durable: Sequence[str],
    *,
    judged: bool,
) -> bool:
    """The table; whether every measure was met. Where sizes are not those of the wanted figures
    (`judged` is false), what must hold at any size still counts."""
    print()
    _print_row("measure", "wanted", "ours", "floor", "best peer", "best durable peer", "met")
    all_met = True
    for row in wanted:
        ours, floor = row.of(results, OURS), row.of(results, FLOOR)
        peer, lasting = row.best(results, peers), row.best(results, durable)
        met = row.is_met(ours, lasting)
        counts = judged or row.least is not None
        all_met &= met or not counts
        verdict = ("met" if met else "MISSED") if counts else "not judged at this size"
        figures = (row.told(ours), row.told(floor))
        beside = (_beside(row, peer, ours), _beside(row, lasting, ours))
        _print_row(row.title, row.wanted, *figures, *beside, verdict)
    return all_met


def _print_row(title: str, wanted: str, ours: str, floor: str, *rest: str) -> None:
    peer, durable, verdict = rest
    print(f"{title:<44}  {wanted:<21}  {ours:>5}  {floor:>5}  {peer:<31}  {durable:<31}  {verdict}")


def _beside(row: Row, peer: tuple[float, str] | None, ours: float | None) -> str:
    """A peer's figure, how many times ours it is, and its name."""
    if peer is None:
        return "-"
    times = f" ({peer[0] / ours:.1f}x)" if ours and row.least is None else ""
    return f"{row.told(peer[0])}{times} {peer[1]}"
