"""`chogori models pull`: a progress bar on a terminal, a line at each tenth elsewhere."""

from __future__ import annotations

import sys

from chogori.apps.listings import size_of
from chogori.errors import ConfigError
from chogori.presets.models import KNOWN_MODELS, KnownModel, Progress, pull


def pull_model(name: str) -> None:
    """Bring the model called `name` here and say where it is. Raises `ConfigError`."""
    model = KNOWN_MODELS.get(name)
    if model is None:
        raise ConfigError(f"no model is called {name!r}; there are: {', '.join(KNOWN_MODELS)}")
    done = 0

    def remember(count: int, whole: int) -> None:
        nonlocal done
        done = count

    try:
        path = _with_bar(model, remember) if sys.stderr.isatty() else _in_lines(model, remember)
    except KeyboardInterrupt as stop:
        stop.add_note(
            f"{size_of(done)} of {size_of(model.bytes)} are here; to go on: "
            f"chogori models pull {name}"
        )
        raise
    print(f"{model.name} is here: {path}")


def _with_bar(model: KnownModel, remember: Progress) -> object:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(model.name, total=model.bytes)

        def show(count: int, whole: int) -> None:
            remember(count, whole)
            what = f"checking {model.name}" if count == whole else model.name
            bar.update(task, completed=count, description=what)

        return pull(model, show)


def _in_lines(model: KnownModel, remember: Progress) -> object:
    tenth = -1

    def show(count: int, whole: int) -> None:
        nonlocal tenth
        remember(count, whole)
        if count * 10 // whole > tenth:
            tenth = count * 10 // whole
            size = f"{size_of(count)} of {size_of(whole)}"
            print(f"pulling {model.name}: {tenth * 10} %, {size}", file=sys.stderr, flush=True)

    return pull(model, show)
