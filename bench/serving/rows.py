"""What `api_overhead.py` and `api_faults.py` measure, set against what is wanted of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: what it is, what is wanted, what was measured, and whether that will do."""

    title: str
    wanted: str
    measured: str
    met: bool


def at_most(title: str, most: float, measured: float | None, unit: str, digits: int = 2) -> Row:
    """A figure that is to be small."""
    met = measured is not None and measured <= most
    return Row(title, f"<= {most:g} {unit}", _told(measured, unit, digits), met)


def at_least(title: str, least: float, measured: float | None, unit: str, digits: int = 0) -> Row:
    """A figure that is to be large."""
    met = measured is not None and measured >= least
    return Row(title, f">= {least:,g} {unit}", _told(measured, unit, digits), met)


def exactly(title: str, wanted: object, measured: object) -> Row:
    """What is to be so and not otherwise."""
    return Row(title, str(wanted), str(measured), wanted == measured)


def _told(measured: float | None, unit: str, digits: int) -> str:
    return "did not run" if measured is None else f"{measured:,.{digits}f} {unit}"


def print_rows(rows: Iterable[Row]) -> bool:
    """The table; whether every measure was met."""
    told = [("measure", "wanted", "measured", "")]
    rows = list(rows)
    told += [(row.title, row.wanted, row.measured, "met" if row.met else "MISSED") for row in rows]
    widths = [max(len(line[column]) for line in told) for column in range(3)]
    print()
    for line in told:
        cells = (cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True))
        print("  ".join(cells).rstrip())
    return all(row.met for row in rows)


def print_surroundings(*packages: str, **more: str) -> None:
    """Versions, and what else the figures depend on."""
    versions = {name: _version(name) for name in packages} | more
    print("\n" + ", ".join(f"{name} {told}" for name, told in versions.items()))
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"load {', '.join(f'{one:.1f}' for one in os.getloadavg())} (1, 5, 15 minutes)"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
