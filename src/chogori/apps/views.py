"""The other views: the answer alone, and events as JSON lines. And the view that fits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TextIO

from chogori.apps.session import View
from chogori.apps.terminal import doubts
from chogori.apps.words import clean
from chogori.chat import Answer, Event
from chogori.chat.event_json import to_line


@dataclass(slots=True)
class Quiet:
    """The answer and nothing else; doubts about it go to `doubts_to`."""

    out: TextIO
    doubts_to: TextIO

    def show(self, event: Event, sequence: int) -> None:
        """Print the answer."""
        if isinstance(event, Answer):
            print(clean(event.text), file=self.out, flush=True)
            for line in doubts(event.claims):
                print(line, file=self.doubts_to)

    def stopped(self) -> None:
        """Nothing was drawn."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Json:
    """One event to a line."""

    out: TextIO

    def show(self, event: Event, sequence: int) -> None:
        """Print one line, and let it go at once."""
        self.out.buffer.write(to_line(event, sequence))
        self.out.buffer.flush()

    def stopped(self) -> None:
        """Nothing was drawn."""

    def close(self) -> None:
        """Nothing is held."""


def view_for(
    *, quiet: bool, json: bool, reasoning: bool, question: bool = False, lanes: bool = False
) -> View:
    """The view that the options ask for, on the standard output; `lanes` for a swarm."""
    if json:
        return Json(sys.stdout)
    if quiet:
        return Quiet(sys.stdout, sys.stderr)
    from rich.console import Console

    from chogori.apps.terminal import Terminal

    terminal = Terminal(Console(), reasoning=reasoning, question=question)
    if not lanes:
        return terminal
    from chogori.apps.lanes import Lanes

    return Lanes(terminal)
