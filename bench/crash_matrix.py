"""Kills runs at every boundary and at random instants, resumes them, and compares how they end.

    python bench/crash_matrix.py [--quick] [--kills 100] [--seed 0]

Runs of ten steps, with one call a step and with three, of every effect; real processes, killed by
SIGKILL (`crash/child.py` says where), the world outside a file (`crash/world.py`). Then disks that
fail and clocks that go back (`crash/disks.py`). Prints a table; exits 1 if a measure is missed.
`--quick` takes some sixty kills, drawn by the seed, instead of all.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from crash.disks import NotHere, clock_goes_back, full_database, full_disk, read_only, torn_page
from crash.trials import Baseline, Tally, killed_at, killed_at_random

CALLS = (1, 3)
QUICK_POINTS, QUICK_KILLS = 22, 8
ENOUGH_KILLS = 300
TRIES = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    wanted: str
    measured: str
    is_met: bool
    wrong: tuple[str, ...] = ()


def main() -> None:
    asked = _arguments()
    chance, started = random.Random(asked.seed), time.monotonic()
    baselines = [Baseline.of(calls) for calls in CALLS]
    tallies = [at_boundaries(it, chance, quick=asked.quick) for it in baselines]
    kills = QUICK_KILLS if asked.quick else asked.kills
    tallies += [at_random(it, chance, kills) for it in baselines]
    rows = [
        *(
            _points(it, tally)
            for it, tally in zip(baselines, tallies, strict=False)
            if not asked.quick
        ),
        *_rows(sum(tallies, Tally()), 40 if asked.quick else ENOUGH_KILLS),
        *_disks(baselines, chance, 1 if asked.quick else 5),
    ]
    _print(rows)
    print(f"\n{time.monotonic() - started:.0f} s")
    sys.exit(not all(row.is_met for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="some sixty kills")
    parser.add_argument("--kills", type=int, default=50, help="random runs for each of the two")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def at_boundaries(baseline: Baseline, chance: random.Random, *, quick: bool) -> Tally:
    """A run killed at each boundary; if `quick` at some."""
    points = baseline.points
    if quick:
        points = chance.sample(points, QUICK_POINTS)
    return sum((_killed_at(baseline, *point, chance) for point in points), Tally())


def _killed_at(baseline: Baseline, kind: str, number: int, chance: random.Random) -> Tally:
    """Which outcomes are written together is a matter of chance, so a run may have a boundary less
    than the baseline: then another one is killed."""
    tally = Tally()
    for _ in range(TRIES):
        if not tally.points:
            tally = tally + killed_at(baseline, kind, number, again=chance)
    return tally


def at_random(baseline: Baseline, chance: random.Random, runs: int) -> Tally:
    """Runs that are killed at any instant."""
    started = time.monotonic()
    killed_at(baseline, "", 0, again=chance)  # at none: it shows how long a run takes
    seconds = time.monotonic() - started
    return sum((killed_at_random(baseline, chance, seconds) for _ in range(runs)), Tally())


def _points(baseline: Baseline, tally: Tally) -> Row:
    whole = len(baseline.points)
    name = f"boundaries of a run with {baseline.calls} calls a step, each with a kill"
    return Row(name, f"{whole}", f"{tally.points}", tally.points == whole)


def _rows(tally: Tally, enough: int) -> list[Row]:
    def none(name: str, found: list[str]) -> Row:
        wanted = f"{tally.runs} of {tally.runs}"
        measured = f"{tally.runs - len(found)} of {tally.runs}"
        return Row(name, wanted, measured, not found, tuple(found[:5]))

    broken = len(tally.deeds)
    return [
        Row("kills in all", f">= {enough}", f"{tally.kills}", tally.kills >= enough),
        none("the same history as the run that was never killed", tally.histories),
        Row(
            "calls done more or less often than their effect allows",
            "0",
            f"{broken}",
            not broken,
            tuple(tally.deeds[:5]),
        ),
        Row("recorded replies asked for again", "0", f"{tally.asked_again}", not tally.asked_again),
        none("logs that fit their chain and their seal", tally.unsound),
    ]


Trial = Callable[[Baseline, random.Random], str]
TRIALS: dict[str, tuple[Trial, ...]] = {
    "a disk that is full": (full_disk, full_database),
    "a last page that is torn": (torn_page,),
    "a database that is read-only": (read_only,),
    "a clock that goes backwards": (clock_goes_back,),
}
"""Each as it can be tried; where the first cannot, the next."""


def _disks(baselines: list[Baseline], chance: random.Random, times: int) -> list[Row]:
    return [_trial(name, ways, baselines, chance, times) for name, ways in TRIALS.items()]


def _trial(
    name: str,
    ways: tuple[Trial, ...],
    baselines: list[Baseline],
    chance: random.Random,
    times: int,
) -> Row:
    why = ""
    for way in ways:
        try:
            said = [way(it, chance) for it in baselines for _ in range(times)]
        except NotHere as error:
            why = str(error)
            continue
        wrong = tuple(filter(None, said))
        whole = len(said)
        return Row(
            name, f"{whole} of {whole}", f"{whole - len(wrong)} of {whole}", not wrong, wrong
        )
    return Row(name, "-", f"not tried: {why}", True)


def _print(rows: list[Row]) -> None:
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'wanted':>12}  {'measured':>12}")
    for row in rows:
        verdict = "met" if row.is_met else "MISSED"
        print(f"{row.name:{width}}  {row.wanted:>12}  {row.measured:>12}  {verdict}")
        for wrong in row.wrong:
            print(f"    {wrong}")


if __name__ == "__main__":
    main()
