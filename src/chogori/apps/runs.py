"""What `chogori runs ...` does: runs that are kept are listed, shown, gone on with, and deleted."""

from __future__ import annotations

import asyncio
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from chogori.agent import kept
from chogori.agent.replay import replay
from chogori.apps.asking import ANSWERED, BUDGET_ENDED, person_at_terminal
from chogori.apps.keeping import find_run, found, has_store
from chogori.apps.listings import print_table
from chogori.apps.markdown import as_markdown
from chogori.apps.session import View, reopened
from chogori.apps.settings import Settings
from chogori.apps.swarming import lines_of, pause_all
from chogori.apps.views import Json, Quiet
from chogori.apps.words import clean, many, one_line
from chogori.chat import Answer, Event, ScriptedModel, profile_for, text_of
from chogori.chat.event_json import to_line
from chogori.errors import ChogoriError, ConfigError, RunChanged, RunDamaged
from chogori.presets import rebuild
from chogori.store import Store, open_store

QUESTION_CHARS = 60


async def print_runs(settings: Settings, number: int) -> None:
    """A line for each run, newest first."""
    newest: list[kept.Kept] = []
    if has_store(settings):
        async with open_store(settings.data) as store:
            newest = [run for run in await kept.newest(store, number) if run.state != "deleted"]
    if not newest:
        print(f"no runs are kept in {settings.data}", file=sys.stderr)
        return
    rows = [("ID", "MODEL", "STATE", "STEPS", "SECONDS", "QUESTION")]
    for run in newest:
        seconds = f"{run.seconds:.1f}"
        row = (run.id, one_line(run.model), run.state, str(run.steps), seconds, _cut(run.question))
        rows.append(row)
    print_table(rows)


async def show_run(settings: Settings, wanted: str, view: View) -> None:
    """A run once more, through `view`. Raises `RunNotFound`."""
    async with found(settings, wanted) as (store, id):
        ended = False
        async for told in kept.events(store, id):
            if isinstance(told, RunDamaged):
                print(told, file=sys.stderr)
                continue
            sequence, event = told
            view.show(event, sequence)
            ended = isinstance(event, Answer)
        view.stopped()
        if not isinstance(view, Quiet | Json):
            for line in await lines_of(store, id):
                print(clean(line))
        if not ended and (why := await kept.why_stopped(store, id)):
            print(clean(why), file=sys.stderr)


async def remove_run(settings: Settings, wanted: str, *, yes: bool) -> int:
    """Delete what was said in a run and what its tools wrote, once somebody said yes; returns the
    exit code."""
    async with found(settings, wanted) as (store, id):
        if not yes:
            if not (sys.stdin and sys.stdin.isatty()):
                raise ConfigError(f"nobody is here to say yes; to delete {id}: add --yes")
            asked = await _asked(store, id)
            print(f"delete the run {id}{asked}? [y/N] ", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                print("kept", file=sys.stderr)
                return 1
        removed = await kept.remove(store, id)
        try:
            for folder in (settings.runs / name for name in removed):
                if folder.exists():
                    shutil.rmtree(folder)
        except OSError as error:
            raise ChogoriError(
                f"what was said in {id} is deleted, but not all that its tools wrote: "
                f"{error.filename}: {error.strerror}"
            ) from error
    below = f" and {many(len(removed) - 1, 'run')} below it" if len(removed) > 1 else ""
    print(f"deleted {id}{below}", file=sys.stderr)
    return 0


async def _asked(store: Store, id: str) -> str:
    """What a run was asked, to know it by; "" where that cannot be read any more."""
    try:
        task = text_of((await kept.began(store, id)).task)
    except RunDamaged:
        return ""
    return f" ({_cut(task)})"


def _cut(question: str) -> str:
    asked = one_line(question)
    return asked if len(asked) <= QUESTION_CHARS else asked[: QUESTION_CHARS - 1] + "…"


async def redact_run(settings: Settings, wanted: str, event: int) -> None:
    """Delete what was said in one event."""
    async with found(settings, wanted) as (store, id):
        await kept.redact(store, id, event)
    print(f"what event {event} of {id} said is deleted; the run can be shown and verified, but "
          "not resumed", file=sys.stderr)  # fmt: skip


async def resume_run(
    settings: Settings,
    wanted: str,
    view: View,
    message: str | None = None,
    *,
    accept_changes: bool = False,
    limits: Mapping[str, float] = {},
) -> int:
    """Go on with a run; returns the exit code."""
    id = await find_run(settings, wanted)
    async with reopened(settings, id, view, person_at_terminal(view), limits) as session:
        answer = await session.resume(id, message, accept_changes=accept_changes)
    return ANSWERED if answer.stopped_by == "answer" else BUDGET_ENDED


async def fork_run(
    settings: Settings, wanted: str, at: int, view: View, message: str | None
) -> int:
    """A new run that has done what this one did up to step `at`, and goes on from there with
    `message`; returns the exit code. `/out` is copied as it is now; `/work` is shared."""
    async with found(settings, wanted) as (store, id):
        forked = await kept.fork(store, id, at=at)
    await asyncio.to_thread(_copy_out, settings.runs / id / "out", settings.runs / forked / "out")
    print(
        f"{forked} goes on from step {at} of {id}. Its /out is a copy of what is in that of {id} "
        "now, later files too; /work is the same folder",
        file=sys.stderr,
    )
    try:
        return await resume_run(settings, forked, view, message)
    except RunChanged:  # nobody can go on with it, so it is not left
        async with found(settings, forked) as (store, _):
            await kept.remove(store, forked)
        shutil.rmtree(settings.runs / forked, ignore_errors=True)
        raise


def _copy_out(old: Path, new: Path) -> None:
    if not old.is_dir():
        return
    try:
        shutil.copytree(old, new, symlinks=True, ignore=_no_files)
    except OSError as error:  # of several it has no words of its own
        raise ChogoriError(f"the files in {old} could not all be copied: {error}") from error


def _no_files(folder: str, names: list[str]) -> list[str]:
    """What cannot be copied: pipes, sockets, devices."""
    return [name for name in names if not _is_file_or_folder(Path(folder, name))]


def _is_file_or_folder(path: Path) -> bool:
    return path.is_symlink() or path.is_file() or path.is_dir()


async def replay_run(settings: Settings, wanted: str, *, json: bool) -> int:
    """Drive a run again without its model and its tools; returns the exit code."""
    async with found(settings, wanted) as (store, id):
        began = await kept.began(store, id)
        spec = str(began.agent["model"])
        try:
            model = settings.load(spec)
        except ChogoriError:  # it cannot be had here, so its bytes cannot be compared
            model = ScriptedModel([], profile=profile_for(began.model, spec=spec))
        try:
            again = rebuild(began.agent, model, store=store, runs=settings.runs, load=settings.load)
            async with again as verbs:
                replayed = await replay(verbs, store, id)
        finally:
            await model.aclose()
    if json:
        told = {"run": id, "requests": replayed.requests, "same_bytes": replayed.same_bytes,
                "events": replayed.events, "is_whole": replayed.is_whole}  # fmt: skip
        sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))
        return 0
    print(
        f"{id}: {replayed.requests} requests would be the same again, {replayed.same_bytes} of "
        f"them byte for byte; {replayed.events} events"
        + ("" if replayed.is_whole else "; the run came to no end")
    )
    return 0


async def verify_run(settings: Settings, wanted: str, head: str | None) -> int:
    """Whether the records are those that were written; returns the exit code."""
    async with found(settings, wanted) as (store, id):
        verdict = await kept.verify(store, id, head)
    if verdict.problem:
        print(f"{id} is not as it was written: {verdict.problem}", file=sys.stderr)
        return 1
    removed = f"; {verdict.removed} were deleted by somebody who may" if verdict.removed else ""
    print(f"{id} is as it was written: {verdict.count} records{removed}\nhead {verdict.head}")
    return 0


async def export_run(settings: Settings, wanted: str, *, markdown: bool) -> None:
    """A run on the standard output: JSON lines, or Markdown to read."""
    async with found(settings, wanted) as (store, id):
        told: list[tuple[int, Event]] = []
        async for event in kept.events(store, id):
            if isinstance(event, RunDamaged):
                print(event, file=sys.stderr)
            else:
                told.append(event)
    if markdown:
        sys.stdout.write(as_markdown(id, [event for _, event in told]))
    else:
        for sequence, event in told:
            sys.stdout.buffer.write(to_line(event, sequence))


async def reward_run(settings: Settings, wanted: str, value: float, source: str) -> None:
    """Record how good a run was."""
    if not math.isfinite(value):
        raise ConfigError(f"a reward is a finite number, and {value} is none")
    async with found(settings, wanted) as (store, id):
        await kept.reward(store, id, value, source)
    print(f"{id}: {value:g} is recorded", file=sys.stderr)


async def steer_run(settings: Settings, wanted: str, message: str) -> None:
    """Say something that the model is told before the next step."""
    async with found(settings, wanted) as (store, id):
        await kept.steer(store, id, message)
    print(f"{id} is told before its next step", file=sys.stderr)


async def pause_run(settings: Settings, wanted: str) -> None:
    """Have a run stop before its next step."""
    async with found(settings, wanted) as (store, id):
        below = await pause_all(store, id)
    whom = f"{id} and {below} subagents stop before their" if below else f"{id} stops before its"
    print(f"{whom} next step; chogori runs resume {id} goes on", file=sys.stderr)


async def decide_run(settings: Settings, wanted: str, call: str | None, *, yes: bool) -> None:
    """Approve or refuse a call, or all calls, that a run waits with."""
    async with found(settings, wanted) as (store, id):
        calls = await kept.decide(store, id, call, yes=yes)
    word = "approved" if yes else "refused"
    print(f"{word}: {', '.join(calls)}; chogori runs resume {id} goes on", file=sys.stderr)
