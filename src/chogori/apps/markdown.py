"""A run as Markdown, for reading: the task, each step with its reasoning and calls, the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chogori.apps.words import clean
from chogori.chat import (
    Answer,
    AttemptStarted,
    Compacted,
    Event,
    Landing,
    LegStarted,
    Reminded,
    ReplyFinished,
    RunStarted,
    Steered,
    StepStarted,
    ToolFinished,
    ToolStarted,
    Waiting,
    text_of,
)


def as_markdown(run_id: str, events: Sequence[Event]) -> str:
    """The whole document, its last line end included."""
    blocks = [f"# Run {run_id}"]
    for event in events:
        blocks += _blocks(event)
    return "\n\n".join(blocks) + "\n"


def _blocks(event: Event) -> list[str]:
    match event:
        case RunStarted():
            return [f"Model: {event.model}", "## Task", _quoted(text_of(event.task))]
        case LegStarted() if event.said:
            return ["## The person goes on", _quoted(text_of(event.said))]
        case StepStarted():
            return [f"## Step {event.number}"]
        case ReplyFinished():
            reasoning = event.message.reasoning
            said = [_quoted(reasoning)] if reasoning and reasoning.strip() else []
            return [*said, clean(event.message.text)] if event.message.text.strip() else said
        case ToolStarted():
            return [f"Call of `{event.call.name}` ({event.effect}):", _fenced(event.call.arguments)]
        case ToolFinished():
            mark = "failed" if event.failed else "brought"
            return [f"`{event.call.name}` {mark}, {event.seconds:.2f} s:", _fenced(event.output)]
        case Reminded() | Steered():
            who = "A guard" if isinstance(event, Reminded) else "A person"
            return [f"{who} said:", _quoted(event.text)]
        case Compacted():
            return [f"_{event.hidden} messages are no longer shown to the model ({event.policy})._"]
        case AttemptStarted():
            return [f"## Solution {event.number}, to check: {event.why}"]
        case Landing():
            return [f"_Stopping here: {event.reason}._"]
        case Waiting():
            return [f"_Waiting: {event.reason}._"]
        case Answer():
            return ["## Answer", clean(event.text), *_closing(event)]
        case _:
            return []


def _closing(answer: Answer) -> list[str]:
    doubts = [f"- {c.status}: {clean(c.text)}" for c in answer.claims if c.status != "supported"]
    spent = (
        f"_{answer.steps} steps, {answer.usage.prompt:,} tokens in, "
        f"{answer.usage.completion:,} out, {answer.seconds:.1f} s._"
    )
    return [*(["\n".join(doubts)] if doubts else []), spent]


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in clean(text).strip().splitlines() or [""])


def _fenced(text: str) -> str:
    """In a fence longer than any within."""
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}\n{clean(text).rstrip()}\n{fence}"
