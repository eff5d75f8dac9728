"""What `models list` and `doctor` print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from chogori.apps.settings import Settings
from chogori.apps.words import clean
from chogori.chat import Profile

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from chogori.api.probe_findings import Report

PLAIN_WIDTH = 160
"""Columns of a table, where the output is no terminal."""


def print_models() -> None:
    """A line for each model that can be pulled."""
    from chogori.presets.models import KNOWN_MODELS, is_here, models_folder

    rows = [("NAME", "SIZE", "HERE", "LICENCE", "FILE")]
    for model in KNOWN_MODELS.values():
        here = "yes" if is_here(model) else "no"
        path = models_folder() / model.file if here == "yes" else model.file
        rows.append((model.name, size_of(model.bytes), here, model.licence, str(path)))
    print_table(rows)


def print_health(settings: Settings, *, json: bool, probe: bool) -> int:
    """What the machine has and lacks and, with `probe`, what the model does with us; with `json` a
    line for each of the two. Returns the exit code."""
    code = print_checks(settings, json=json)
    return max(code, print_report(settings, json=json)) if probe else code


def print_checks(settings: Settings, *, json: bool) -> int:
    """What the machine has and lacks; returns the exit code."""
    from chogori.apps.doctor import examine

    checks = examine(settings)
    if json:
        import orjson

        sys.stdout.write(orjson.dumps([asdict(check) for check in checks]).decode() + "\n")
    else:
        marks = {"ok": "✓", "missing": "✗", "optional": "-"}
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{marks[check.state]} {check.name:{width}}  {clean(check.found)}")
            if check.mend:
                print(f"  {'':{width}}  → {check.mend}")
        lacking = [check.name for check in checks if check.state == "missing"]
        print(f"\nchogori ask needs: {', '.join(lacking)}" if lacking else "\nready to ask")
    return 1 if any(check.state == "missing" for check in checks) else 0


def print_report(settings: Settings, *, json: bool) -> int:
    """What the model does with us; returns the exit code."""
    from rich.console import Console

    from chogori.apps.doctor import examine_model

    with Console(stderr=True).status(_cell(f"asking {settings.model}")) as status:
        report = examine_model(settings, lambda finding: status.update(f"asked: {finding.name}"))
    if json:
        sys.stdout.write(_report_json(report) + "\n")
    else:
        _draw_report(Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH), report)
    return 0 if report.works else 1


def _report_json(report: Report) -> str:
    import orjson

    told = asdict(report) | {"works": report.works, "requests": report.requests}
    return orjson.dumps(told).decode()


def _draw_report(console: Console, report: Report) -> None:
    from rich.table import Table

    table = Table(title=_cell(f"What {report.model} does with us"), title_justify="left")
    for name in ("finding", "asked", "verdict", "seen"):
        table.add_column(name, overflow="fold")
    table.add_column("requests", justify="right")
    for found in report.findings:
        verdict = f"{found.verdict} (needed)" if found.is_fatal else found.verdict
        cells = (found.name, found.asked, verdict, found.seen, str(found.requests))
        table.add_row(*map(_cell, cells))
    console.print("\n", table)
    if report.profile is not None:
        console.print(_profiles(report.assumed, report.profile))
    console.print(_cell(_verdict(report)), soft_wrap=True)


def _profiles(assumed: Profile, profile: Profile) -> Table:
    from rich.table import Table

    table = Table(title="The profile to use", title_justify="left")
    for name in ("value", "assumed for that name", "to use"):
        table.add_column(name, overflow="fold")
    for name in (field.name for field in fields(Profile) if field.name not in ("name", "spec")):
        old, new = str(getattr(assumed, name)), str(getattr(profile, name))
        table.add_row(*map(_cell, (name, old, new)), style="bold" if old != new else "dim")
    return table


def _verdict(report: Report) -> str:
    changed = ", ".join(f"{each.name}={each.found!r}" for each in report.differences)
    profile = f"the profile differs: {changed}" if changed else "the profile is as assumed"
    if report.profile is None:
        profile = "nothing can be told of its profile"
    lost = [found.name for found in report.findings if found.is_fatal]
    works = f"a run would lose what it needs: {', '.join(lost)}" if lost else "fit for runs"
    return f"\n{profile}\n{works}; {report.requests} requests"


def _cell(text: str) -> Text:
    """Text as it is: neither markup nor what would steer a terminal."""
    from rich.text import Text

    return Text(clean(text))


def size_of(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns of equal width; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
