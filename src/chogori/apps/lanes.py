"""Draws a swarm: the orchestrator as any run is drawn, and a lane for each subagent at work.

While subagents work the lanes are live: a mark for each of them, however many there are, and a line
for as many as fit. They give way to one line for the stage. Where the output is no terminal there
is a line for each subagent that ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Group
from rich.live import Live
from rich.text import Text

from chogori.apps.terminal import Terminal
from chogori.apps.words import arguments_in_short, clean, many, one_line
from chogori.chat import (
    Answer,
    Event,
    FromSubagent,
    Landing,
    ReplyFinished,
    RunStarted,
    StepStarted,
    ToolFinished,
    ToolStarted,
    text_of,
)
from chogori.swarm.tools import ASSIGN, DIRECTING

REDRAW_SECONDS = 0.12
HEADING = 3
"""Lines above the lanes, those of the marks apart."""
NAMED = 8
"""So many that did not finish are named after a stage."""
MARKS = {"working": ("▪", "cyan"), "done": ("✓", "green"), "incomplete": ("!", "yellow")}


@dataclass(slots=True)
class Lane:
    """What is seen of one subagent."""

    name: str
    since: float
    task: str = ""
    step: int = 0
    doing: str = "waiting for the model"
    state: str = "working"
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    said: str = ""

    def see(self, event: Event, now: float) -> None:
        """Something happened in its run."""
        match event:
            case RunStarted():
                self.task = one_line(text_of(event.task))
            case StepStarted():
                self.step, self.doing = event.number, "waiting for the model"
            case ReplyFinished():
                self.tokens += event.usage.prompt + event.usage.completion
            case ToolStarted(call):
                self.calls += 1
                self.doing = f"▸ {call.name} {arguments_in_short(call.arguments)}"
            case Landing():
                self.doing = "landing"
            case Answer():
                self.state = "done" if event.stopped_by == "answer" else "incomplete"
                self.seconds, self.said = now - self.since, one_line(event.text)
            case _:
                pass


@dataclass(slots=True)
class Lanes:
    """A view of a swarm; `terminal` draws its orchestrator."""

    terminal: Terminal
    clock: Callable[[], float] = time.monotonic
    _lanes: dict[str, Lane] = field(default_factory=dict[str, Lane])
    """Of this stage, by run."""
    _assigned: int = 0
    _failed: list[str] = field(default_factory=list[str])
    _stage: int = 0
    _since: float = 0.0
    _drawn: float = 0.0
    _live: Live | None = None

    def show(self, event: Event, sequence: int = 0) -> None:
        """Draw `event`."""
        match event:
            case FromSubagent():
                self._see(event)
            case ToolStarted(call) if call.name in DIRECTING:
                self._begin(event)
            case ToolFinished(call) if call.name in DIRECTING:
                self._end(event)
            case StepStarted():
                self._end_stage()
                self._stage = event.stage or event.number
                self.terminal.show(event, sequence)
            case _:
                self._end_stage()
                self.terminal.show(event, sequence)
                if isinstance(event, Answer) and event.report:
                    self._say(closing(event.report), "dim")

    def close(self) -> None:
        """End what is drawn live."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self.terminal.close()

    def stopped(self) -> None:
        """The run was stopped in its middle."""
        self._end_stage()
        self.terminal.stopped()

    def _begin(self, event: ToolStarted) -> None:
        if not (self._assigned or self._lanes):
            self._since = self.clock()
        self._assigned += event.call.name == ASSIGN.name
        self._draw()

    def _see(self, event: FromSubagent) -> None:
        now = self.clock()
        lane = self._lanes.get(event.run_id)
        if lane is None:
            lane = self._lanes[event.run_id] = Lane(event.name, now)
        lane.see(event.event, now)
        if isinstance(event.event, Answer) and not self.terminal.console.is_terminal:
            mark = "✓" if lane.state == "done" else "!"
            self._say(f"{mark} {lane.name}  {_steps(lane.step)}  {lane.said}", "green", cut=True)
        self._draw()

    def _end(self, event: ToolFinished) -> None:
        for told in event.extra.get("subagents", ()):
            lane = self._lanes.get(told["run_id"])
            if lane is None:  # of a run that is shown again
                lane = Lane(told["name"], self.clock(), one_line(told["prompt"]), told["steps"])
                lane.calls, lane.seconds = told["calls"], told["seconds"]
                usage = told["usage"]
                lane.tokens = usage["prompt"] + usage["completion"]
                self._lanes[told["run_id"]] = lane
            lane.state = "done" if told["ended"] == "answer" else "incomplete"
            if lane.state == "incomplete":
                self._failed.append(f"{told['name']}: {told['why'] or told['ended']}")
        if event.failed and not event.extra.get("subagents"):
            self._failed.append(f"{event.call.name}: {one_line(event.output)}")
        self._draw()

    def _end_stage(self) -> None:
        lanes, failed = list(self._lanes.values()), self._failed
        if not (lanes or failed):
            return
        self.close()
        self._lanes, self._assigned, self._failed = {}, 0, []
        done = sum(lane.state == "done" for lane in lanes)
        longest = max((lane.seconds for lane in lanes), default=0.0)
        self._say(
            f"⋔ stage {self._stage}: {many(len(lanes), 'subagent')}, {done} done · "
            f"{many(sum(lane.calls for lane in lanes), 'call')} · "
            f"{sum(lane.tokens for lane in lanes):,} tokens · the longest {longest:.1f} s",
            "cyan",
        )
        for why in failed[:NAMED]:
            self._say(f"  ! {one_line(why)}", "yellow", cut=True)
        if len(failed) > NAMED:
            self._say(f"  ! and {len(failed) - NAMED} more", "yellow")

    def _say(self, text: str, style: str, *, cut: bool = False) -> None:
        console = self.terminal.console
        shown = Text(clean(text), style)
        cuts = cut and console.is_terminal
        console.print(
            shown, no_wrap=cuts, overflow="ellipsis" if cuts else None, highlight=False,
            soft_wrap=not cuts,
        )  # fmt: skip

    def _draw(self) -> None:
        console, now = self.terminal.console, self.clock()
        if not console.is_terminal or console.is_dumb_terminal:
            return
        if self._live is None:
            self.terminal.close()
            self._live = Live(
                console=console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        elif now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        self._live.update(Group(*self.picture(now)), refresh=True)

    def picture(self, now: float) -> Iterator[Text]:
        """The lanes as they stand, in as many lines as the terminal has."""
        console, lanes = self.terminal.console, list(self._lanes.values())
        waiting = max(0, self._assigned - len(lanes))
        counts = {state: sum(lane.state == state for lane in lanes) for state in MARKS}
        told = [f"{counts[state]} {state}" for state in MARKS if counts[state]]
        told += [f"{waiting} waiting"] if waiting else []
        told.append(f"{many(sum(lane.calls for lane in lanes), 'call')}")
        told.append(f"{now - self._since:.0f} s")
        yield Text(f"⋔ stage {self._stage}: {' · '.join(told)}", "bold")
        marks = Text()
        for lane in lanes:
            marks.append(*MARKS[lane.state])
        marks.append("·" * waiting, "dim")
        rows = list(marks.wrap(console, max(1, console.width - 1)))
        yield from rows
        at_work = [lane for lane in lanes if lane.state == "working"]
        room = max(1, console.height - HEADING - len(rows))
        shown = at_work if len(at_work) <= room else at_work[: room - 1]
        for lane in shown:
            line = f"{lane.name:<14.14} {_steps(lane.step):>9}  {now - lane.since:4.0f} s  "
            text = Text(clean(line), "cyan", no_wrap=True, overflow="ellipsis")
            yield text.append(clean(lane.doing), "dim")
        if len(at_work) > len(shown):
            yield Text(f"… and {len(at_work) - len(shown)} more at work", "dim")


def closing(report: Mapping[str, float]) -> str:
    """What a swarm took, in a line."""
    unfinished, dollars = round(report["unfinished"]), report["dollars"]
    return " · ".join(
        [
            f"{many(round(report['subagents']), 'subagent')}",
            *([f"{unfinished} unfinished"] if unfinished else []),
            f"{many(round(report['steps']), 'step')} in all",
            f"critical steps {round(report['critical_steps'])} ({report['speed_up']:.1f} times)",
            f"{many(round(report['calls']), 'call')}",
            f"{round(report['tokens']):,} tokens",
            *([f"${dollars:.4f}"] if dollars else []),
            f"wall {report['wall_speed_up']:.1f} times faster than one after another",
        ]
    )


def _steps(count: int) -> str:
    return many(count, "step")
