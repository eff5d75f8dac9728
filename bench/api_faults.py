"""What the server does when something goes wrong: with upstreams, clients, itself, and keys.

    python bench/api_faults.py [--small] [--only CHECK]

Every check starts servers of its own, with keys, limits and the ledger on, and looks at them from
outside: as their clients, at their processes, and into their books by means other than theirs.
Prints what was wanted and what was found; exits 1 if anything is otherwise. `--small` does the same
in small.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.doors import minute, racing, wrong_keys
from serving.kills import killing
from serving.leavers import leaving
from serving.processes import DidNotRun, upstream
from serving.rows import Row, exactly, print_rows, print_surroundings
from serving.upstream_checks import failing, falling_back, shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How often."""

    requests: int = 10_000
    leavers: int = 1_000
    kills: int = 20
    wrong_keys: int = 10_000
    racers: int = 50
    waits: bool = True


SMALL = Sizes(requests=300, leavers=60, kills=2, wrong_keys=200, racers=15, waits=False)


def _failing(data: Path, sizes: Sizes) -> Iterator[Row]:
    with upstream() as one:
        yield from failing(one, data)


CHECKS: dict[str, Callable[[Path, Sizes], Iterator[Row]]] = {
    "upstreams": _failing,
    "fallback": lambda data, sizes: falling_back(data, sizes.requests),
    "weights": lambda data, sizes: shared(data, sizes.requests),
    "leavers": lambda data, sizes: leaving(data, sizes.leavers),
    "kills": lambda data, sizes: killing(data, sizes.kills),
    "keys": lambda data, sizes: wrong_keys(data, sizes.wrong_keys),
    "minute": lambda data, sizes: minute(data, waits=sizes.waits),
    "race": lambda data, sizes: racing(data, sizes.racers),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="What the server does when something goes wrong.")
    parser.add_argument("--small", action="store_true", help="the same in small")
    parser.add_argument("--only", choices=CHECKS, action="append", help="this check alone")
    options = parser.parse_args()
    sizes = SMALL if options.small else Sizes()
    rows: list[Row] = []
    for name, check in CHECKS.items():
        if options.only and name not in options.only:
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows += check(Path(folder) / "data", sizes)
            except DidNotRun as error:
                rows.append(exactly(f"{name}: it runs", "yes", f"no: {error}"))
        print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)
    all_met = print_rows(rows)
    print_surroundings("chogori", "starlette", "uvicorn", "aiohttp")
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
