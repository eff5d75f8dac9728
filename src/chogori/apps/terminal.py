"""Draws a run, event by event. Where the output is no terminal: plain lines, no control codes.

Reasoning is one live line that gives way to its first sentence; a text that streams is shown live
and gives way to the answer, or to one line where it was none. What a model or a tool wrote is shown
without its control characters: it must not move the cursor of whoever reads it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from chogori.apps.words import arguments_in_short, clean, first_sentence, one_line, said_in_short
from chogori.chat import (
    Answer,
    AttemptFinished,
    AttemptStarted,
    Claim,
    Compacted,
    Event,
    Landing,
    LegStarted,
    ModelLoaded,
    ReasoningDelta,
    Reminded,
    ReplyFinished,
    ReplyRestarted,
    Resumed,
    RunStarted,
    Steered,
    StepStarted,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    ToolStarted,
    Waiting,
    text_of,
)

TAIL_CHARS = 4_000
REDRAW_SECONDS = 0.08
CALL_CHARS = 4_000
"""How much of a call's arguments is shown when a person decides about it."""


@dataclass(slots=True)
class Terminal:
    """The view of one run or of a chat. `close` it, so that the terminal is left as it was."""

    console: Console
    reasoning: bool = False
    """Whether reasoning is shown whole."""
    question: bool = False
    """Whether the task is shown: when a run is shown again."""
    clock: Callable[[], float] = time.monotonic
    _thought: list[str] = field(default_factory=list[str])
    _tail: str = ""
    _streamed: bool = False
    _unsaid: str = ""
    """A text that is the answer unless something else follows."""
    _attempting: bool = False
    _live: Live | None = None
    _drawn: float = 0.0
    _written: int = 0
    _writing_seconds: float = 0.0

    def show(self, event: Event, sequence: int = 0) -> None:
        """Draw `event`."""
        match event:
            case ReasoningDelta(text):
                self._streamed = True
                self._thought.append(text)
                self._draw(text, lines=1)
            case TextDelta(text):
                self._end_thought()
                self._draw(text, lines=max(1, self.console.height - 3))
            case ToolCallDelta():
                self._end_thought()
                self._draw(event.name + event.arguments, lines=1)
            case ReplyFinished():
                self._finish_reply(event)
            case RunStarted(task=said) | LegStarted(said=said) if self.question and said:
                self._line(clean(text_of(said)), "bold")
            case Resumed():
                self._line(f"going on with step {event.step}", "dim")
            case Steered(text):
                self._say_unsaid()
                self._line(f"» {one_line(text)}", "bold", cut=True)
            case Compacted():
                more = f"{event.tokens_before:,} to {event.tokens_after:,} tokens"
                self._line(f"⇣ {event.hidden} messages are hidden from the model: {more}", "dim")
            case ModelLoaded(model, seconds):
                self._line(f"loaded {model} in {seconds:.1f} s", "dim")
            case StepStarted():
                self._say_unsaid()
                self._draw("waiting for the model", lines=1)
                self._tail, self._drawn = "", float("-inf")
            case ReplyRestarted(reason, attempt):
                self._forget_reply()
                self._line(f"the reply was cut ({reason}); asking again ({attempt})", "yellow")
            case ToolStarted(call):
                self._say_unsaid()
                shown = arguments_in_short(call.arguments)
                self._line(f"▸ {call.name}  {shown}", self._quietly("cyan"), cut=True)
            case ToolFinished():
                self._show_result(event)
            case Reminded(guard, text):
                self._say_unsaid()
                self._line(f"↺ {guard}: {one_line(text)}", "dim yellow", cut=True)
            case AttemptStarted(number, why):
                self._say_unsaid()
                self._attempting = True
                self._line(f"≟ checked by solution {number}: {one_line(why)}", "dim", cut=True)
            case AttemptFinished(_, value, agrees):
                self._forget_reply()
                self._attempting = False
                what = "agrees" if agrees else "differs"
                self._line(f"≟ {what}: {one_line(value) or 'it came to nothing'}", "dim", cut=True)
            case Landing(reason):
                self._say_unsaid()
                self._line(f"stopping here ({reason}); asking for the best answer", "yellow")
            case Waiting():
                self._show_waiting(event)
            case Answer():
                self._show_answer(event)
            case _:
                pass

    def close(self) -> None:
        """End what is drawn live."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._tail = ""

    def stopped(self) -> None:
        """The turn was stopped in its middle: keep what was said, forget what was held back."""
        self._end_thought()
        self._say_unsaid()
        self.close()
        self._attempting = False

    def _line(self, text: str, style: str = "", *, cut: bool = False) -> None:
        self.close()
        shown = Text(clean(text), style)
        if cut and self.console.is_terminal:
            self.console.print(shown, no_wrap=True, overflow="ellipsis", highlight=False)
        else:
            self.console.print(shown, soft_wrap=not self.console.is_terminal, highlight=False)

    def _quietly(self, style: str) -> str:
        return "dim" if self._attempting else style

    def _draw(self, text: str, *, lines: int) -> None:
        """Show the end of what is streaming."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            return
        self._tail = (self._tail + text)[-TAIL_CHARS:]
        now = self.clock()
        if self._live is None:
            self._live = Live(
                console=self.console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        elif now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        self._live.update(self._end_of_tail(lines), refresh=True)

    def _end_of_tail(self, lines: int) -> Text:
        width = self.console.width - 1
        tail = clean(self._tail)
        if lines == 1:
            return Text(_end_of_line(one_line(tail), width), "dim", no_wrap=True)
        wrapped = Text(tail).wrap(self.console, width)
        return Text("\n").join(list(wrapped)[-lines:])

    def _end_thought(self) -> None:
        thought, self._thought = clean("".join(self._thought)).strip(), []
        if not thought:
            return
        self.close()
        if self.reasoning:
            self._line(re.sub(r"(?m)^", "│ ", thought), "dim")
        elif not self._attempting:
            self._line(f"│ {first_sentence(thought)}", "dim", cut=True)

    def _forget_reply(self) -> None:
        self._thought, self._unsaid = [], ""
        self.close()

    def _finish_reply(self, event: ReplyFinished) -> None:
        if not self._streamed and event.message.reasoning:  # a run that is shown again
            self._thought.append(event.message.reasoning)
        self._streamed = False
        self._end_thought()
        self.close()
        self._unsaid = event.message.text.strip()
        if event.tokens_per_second:
            self._written += event.usage.completion
            self._writing_seconds += event.usage.completion / event.tokens_per_second

    def _say_unsaid(self) -> None:
        """What the model said was not the answer after all: one line is enough."""
        self.close()
        said, self._unsaid = self._unsaid, ""
        if said and not self._attempting:
            self._line(f"│ {said if self.reasoning else one_line(said)}", "dim", cut=True)

    def _show_result(self, event: ToolFinished) -> None:
        mark, style = ("✗", "red") if event.failed else ("✓", "green")
        if event.extra.get("unknown"):
            mark, style = "?", "bold yellow"
        said = said_in_short(event.output)
        name = f"{event.call.name}  "
        line = f"{mark} {name}{event.seconds:.2f} s  {said}"
        self._line(line, self._quietly(style), cut=True)

    def _show_waiting(self, event: Waiting) -> None:
        self._say_unsaid()
        for call in event.calls:
            shown = clean(call.arguments)
            more = len(shown) - CALL_CHARS
            cut = f" … ({more:,} more characters)" if more > 0 else ""
            self._line(f"? {call.name}  {shown[:CALL_CHARS]}{cut}", "bold yellow")

    def _show_answer(self, event: Answer) -> None:
        self._end_thought()
        self.close()
        self._unsaid, self._attempting = "", False
        self.console.print()
        answer = Text(clean(event.text) or "(no answer)")
        for claim in event.claims:
            if claim.status != "supported":
                answer.highlight_words([claim.text], "yellow underline")
        self.console.print(answer, soft_wrap=True, highlight=False)
        for line in doubts(event.claims):
            self._line(line, "yellow")
        if event.missing:
            self._line(f"! stopped by the {event.stopped_by}: {event.missing}", "yellow")
        self.console.print()
        self.console.print(Text(self._closing(event), "dim"), soft_wrap=True, highlight=False)

    def _closing(self, event: Answer) -> str:
        speed = self._written / self._writing_seconds if self._writing_seconds else 0.0
        self._written, self._writing_seconds = 0, 0.0
        return " · ".join(
            [
                f"{event.steps} step{'' if event.steps == 1 else 's'}",
                f"tokens: {event.usage.prompt:,} in, {event.usage.completion:,} out"
                + (f", {speed:.1f}/s" if speed else ""),
                f"{event.seconds:.1f} s",
                *([f"${event.dollars:.4f}"] if event.dollars is not None else []),
                f"run {event.run_id}",
            ]
        )


def _end_of_line(line: str, width: int) -> str:
    """As much of the end of `line` as `width` cells hold."""
    if cell_len(line) < width:
        return line
    end = line[-width:]
    while cell_len(end) > width - 2:
        end = end[1:]
    return f"…{end}"


def doubts(claims: tuple[Claim, ...]) -> list[str]:
    """What of an answer is not borne out, in lines."""
    unsupported = [one_line(claim.text) for claim in claims if claim.status == "unsupported"]
    lines = [f"! {one_line(claim.text)}" for claim in claims if claim.status == "contradicted"]
    if unsupported:
        lines.append(f"? nothing that was seen bears out: {', '.join(unsupported)}")
    return lines
