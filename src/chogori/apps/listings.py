"""What `models list`, `runs` and `doctor` print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from chogori.apps.runs import Runs
from chogori.apps.settings import Settings
from chogori.apps.words import clean, one_line
from chogori.chat import Answer
from chogori.errors import ConfigError

if TYPE_CHECKING:
    from chogori.apps.session import View


def print_models() -> None:
    """A line for each model that can be pulled."""
    from chogori.presets.models import KNOWN_MODELS, is_here, models_folder

    rows = [("NAME", "SIZE", "HERE", "LICENCE", "FILE")]
    for model in KNOWN_MODELS.values():
        here = "yes" if is_here(model) else "no"
        path = models_folder() / model.file if here == "yes" else model.file
        rows.append((model.name, size_of(model.bytes), here, model.licence, str(path)))
    _print_table(rows)


def print_runs(settings: Settings, number: int) -> None:
    """A line for each run, newest first."""
    kept = Runs(settings.runs)
    ids = kept.ids()[::-1][:number]
    if not ids:
        print(f"no runs are kept in {settings.runs}", file=sys.stderr)
        return
    rows = [("ID", "MODEL", "STATE", "STEPS", "SECONDS", "QUESTION")]
    for run in map(kept.summary, ids):
        seconds = f"{run.seconds:.1f}"
        question = one_line(run.question)
        cut = question if len(question) <= 60 else question[:59] + "…"
        rows.append((run.id, one_line(run.model), run.state, str(run.steps), seconds, cut))
    _print_table(rows)


def show_run(settings: Settings, wanted: str, view: View) -> None:
    """A run once more, through `view`. Raises `RunNotFound`."""
    kept = Runs(settings.runs)
    id, ended = kept.find(wanted), False
    for line in kept.events(id):
        if isinstance(line, ConfigError):
            print(line, file=sys.stderr)
        else:
            sequence, event = line
            view.show(event, sequence)
            ended = isinstance(event, Answer)
    view.stopped()
    if not ended and (error := kept.error(id)):
        print(clean(error), file=sys.stderr)


def remove_run(settings: Settings, wanted: str, *, yes: bool) -> int:
    """Delete a run, once somebody said yes; returns the exit code. Raises `RunNotFound`."""
    kept = Runs(settings.runs)
    id = kept.find(wanted)
    if not yes:
        if not (sys.stdin and sys.stdin.isatty()):
            raise ConfigError(f"nobody is here to say yes; to delete {id}: add --yes")
        question = one_line(kept.summary(id).question)[:60]
        print(f"delete the run {id} ({question})? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("kept", file=sys.stderr)
            return 1
    kept.remove(id)
    print(f"deleted {id}", file=sys.stderr)
    return 0


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


def size_of(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
