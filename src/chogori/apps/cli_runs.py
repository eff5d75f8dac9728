"""`chogori runs`: each command reads its options and makes one call into the library."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from chogori.apps.options import Data, Json, Quiet, Reasoning, Yes, settings_of, told

T = TypeVar("T")
runs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List and show runs, go on with them, branch, check and delete them.",
)
RunId = Annotated[str, typer.Argument(help="An id, its beginning, or: last.", metavar="ID")]
CallId = Annotated[
    str | None, typer.Argument(help="The call; by default all that it waits with.", metavar="CALL")
]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="Go on though the agent has changed.")
]


def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


@runs.command("list")
def list_runs(
    data: Data = None,
    number: Annotated[int, typer.Option("-n", min=1, help="How many, newest first.")] = 20,
) -> None:
    """List the runs that are kept, newest first."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.print_runs(settings, number))


@runs.command("show")
def show_run(
    id: RunId,
    data: Data = None,
    json: Json = False,
    quiet: Quiet = False,
    folded: Annotated[bool, typer.Option("--folded", help="Reasoning by its first line.")] = False,
) -> None:
    """Print a run again: reasoning, calls, results, answer, tokens, seconds."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs, views

        view = views.view_for(
            quiet=quiet, json=json, reasoning=not folded, question=True, lanes=True
        )
        _to_the_end(runs.show_run(settings, id, view))


@runs.command("resume")
def resume_run(
    id: RunId,
    message: Annotated[
        str | None, typer.Argument(help="What to say to it: its next turn, or a word midway.")
    ] = None,
    accept_changes: AcceptChanges = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Replies the run may take in all.", metavar="N")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds it may take in all.", metavar="N")
    ] = None,
    calls: Annotated[
        int | None, typer.Option(min=1, help="Calls of tools it may make in all.", metavar="N")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens it may take in all.", metavar="N")
    ] = None,
    dollars: Annotated[
        float | None, typer.Option(min=0, help="What it may cost in all.", metavar="N")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    reasoning: Reasoning = False,
    data: Data = None,
) -> None:
    """Go on with a run that was interrupted, paused, or waits, at the exact step.

    What was recorded is neither asked nor done again. Limits that are not named here stay as they
    were. Exit codes as for ask.
    """
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs, views

        named = {
            "steps": steps,
            "seconds": seconds,
            "calls": calls,
            "tokens": tokens,
            "dollars": dollars,
        }
        limits = {name: limit for name, limit in named.items() if limit is not None}
        view = views.view_for(quiet=quiet, json=json, reasoning=reasoning, lanes=True)
        work = runs.resume_run(
            settings, id, view, message, accept_changes=accept_changes, limits=limits
        )
        sys.exit(_to_the_end(work))


@runs.command("fork")
def fork_run(
    id: RunId,
    message: Annotated[str | None, typer.Argument(help="What to say at that point.")] = None,
    at: Annotated[int, typer.Option(min=0, help="After which step.", metavar="STEP")] = 0,
    quiet: Quiet = False,
    json: Json = False,
    reasoning: Reasoning = False,
    data: Data = None,
) -> None:
    """Branch a run: a new one that has done the same up to a step, and goes on from there.

    Files: the new run's /out is a copy of what is in /out now; /work is the same folder.
    """
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs, views

        view = views.view_for(quiet=quiet, json=json, reasoning=reasoning)
        sys.exit(_to_the_end(runs.fork_run(settings, id, at, view, message)))


@runs.command("replay")
def replay_run(id: RunId, json: Json = False, data: Data = None) -> None:
    """Drive a run again without its model and tools: would each request be the same?"""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        sys.exit(_to_the_end(runs.replay_run(settings, id, json=json)))


@runs.command("verify")
def verify_run(
    id: RunId,
    head: Annotated[
        str | None, typer.Option(help="A hash that was noted before.", metavar="HASH")
    ] = None,
    data: Data = None,
) -> None:
    """Check that the records are those that were written; prints the head, to be noted."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        sys.exit(_to_the_end(runs.verify_run(settings, id, head)))


@runs.command("export")
def export_run(
    id: RunId,
    format: Annotated[Literal["jsonl", "markdown"], typer.Option(help="How.")] = "jsonl",
    data: Data = None,
) -> None:
    """Write a run to the standard output."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.export_run(settings, id, markdown=format == "markdown"))


@runs.command("plot")
def plot_run(
    id: RunId,
    out: Annotated[
        Path | None,
        typer.Option(help="The file, .png or .svg; by default both, named after the run."),
    ] = None,
    data: Data = None,
) -> None:
    """Draw a run with its subagents: a lane for each, what it waited for, the critical steps."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import plotting

        _to_the_end(plotting.plot_run(settings, id, out))


@runs.command("steer")
def steer_run(id: RunId, message: str, data: Data = None) -> None:
    """Say something to a run under way; its model is told before the next step."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.steer_run(settings, id, message))


@runs.command("reward", context_settings={"ignore_unknown_options": True})
def reward_run(
    id: RunId,
    value: Annotated[
        float, typer.Argument(help="How good it was, by your measure; may be below 0.")
    ],
    source: Annotated[str, typer.Option(help="Who says so.")] = "",
    data: Data = None,
) -> None:
    """Record how good a run was, for whoever learns from it."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.reward_run(settings, id, value, source))


@runs.command("pause")
def pause_run(id: RunId, data: Data = None) -> None:
    """Have a run stop before its next step."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.pause_run(settings, id))


@runs.command("approve")
def approve_run(id: RunId, call: CallId = None, data: Data = None) -> None:
    """Allow a call that a run waits with."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.decide_run(settings, id, call, yes=True))


@runs.command("refuse")
def refuse_run(id: RunId, call: CallId = None, data: Data = None) -> None:
    """Refuse a call that a run waits with."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.decide_run(settings, id, call, yes=False))


@runs.command("redact")
def redact_run(
    id: RunId,
    event: Annotated[int, typer.Option(min=0, help="Its number, as in runs show --json.")],
    data: Data = None,
) -> None:
    """Delete what was said in one event; the records stay checkable."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        _to_the_end(runs.redact_run(settings, id, event))


@runs.command("rm")
def remove_run(id: RunId, data: Data = None, yes: Yes = False) -> None:
    """Delete what was said in a run and what its tools wrote."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import runs

        sys.exit(_to_the_end(runs.remove_run(settings, id, yes=yes)))
