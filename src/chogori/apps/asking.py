"""What `ask` and `chat` do: read the question, run the turns, ask the person at the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TextIO

from chogori.apps.attachments import Attachment, read_file, read_stdin, without_surrogates
from chogori.apps.keeping import find_run
from chogori.apps.session import (
    Crashed,
    Person,
    Session,
    View,
    Wanted,
    opened,
    reopened,
)
from chogori.apps.settings import Settings
from chogori.chat import Answer, ToolCall
from chogori.errors import ChogoriError, ConfigError

ANSWERED, FAILED, BUDGET_ENDED, INTERRUPTED = 0, 1, 3, 130
HELP = """\
/new    begin a new conversation
/help   show this
/exit   end (Ctrl-D does too)
Ctrl-C stops the answer that is under way.
Three double quotes begin and end a text of many lines."""
PROMPT = ">>> "


def ask(
    settings: Settings, wanted: Wanted, view: View, question: str | None, files: Sequence[Path]
) -> int:
    """Ask one question; returns the exit code."""
    question, attachments = read_question(question, files)

    async def work() -> Answer:
        async with opened(settings, wanted, view, person_at_terminal(view)) as session:
            return await session.turn(question, attachments)

    answer = asyncio.run(work())
    return ANSWERED if answer.stopped_by == "answer" else BUDGET_ENDED


def read_question(question: str | None, files: Sequence[Path]) -> tuple[str, list[Attachment]]:
    """The question and what comes with it. What is piped in is the question, if there is no other.

    Raises `ConfigError`."""
    attachments = [read_file(path) for path in files]
    if question is not None and not question.strip():
        raise ConfigError('the question is empty; ask one: chogori ask "..."')
    piped = read_stdin(wait=question is not None)
    if question is None:
        question = piped
    elif piped is not None:
        attachments.append(Attachment("stdin.txt", piped))
    if question is None or not question.strip():
        raise ConfigError('there is no question; ask one: chogori ask "..."')
    clean = without_surrogates(question)
    if clean != question:
        print("the question held bytes that are no text; they are shown as �", file=sys.stderr)
    return clean, attachments


def person_at_terminal(view: View) -> Person:
    """Asks whoever sits at the terminal; where nobody does, the answer is no."""

    async def person(call: ToolCall) -> bool:
        view.close()
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            print(
                f"{call.name} was refused: nobody is here to allow it (--yes allows all calls)",
                file=sys.stderr,
            )
            return False
        print(f"allow {call.name}? [y/N] ", end="", file=sys.stderr, flush=True)
        said = await _line_from_terminal()
        return said.strip().lower() in ("y", "yes")

    return person


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits behind `stream`; a closed one is None."""
    return stream is not None and stream.isatty()


async def _line_from_terminal() -> str:
    """A line that is typed. Unlike a blocking read it can be stopped by Ctrl-C."""
    loop = asyncio.get_running_loop()
    fd = sys.stdin.fileno()
    line: asyncio.Future[bytes] = loop.create_future()

    def ready() -> None:
        if not line.done():
            line.set_result(os.read(fd, 4_096))

    loop.add_reader(fd, ready)
    try:
        return (await line).decode(errors="replace")
    finally:
        loop.remove_reader(fd)


def chat(
    settings: Settings,
    wanted: Wanted,
    view: View,
    files: Sequence[Path],
    run: str | None = None,
) -> int:
    """Talk until Ctrl-D; returns the exit code. The model stays loaded between turns. With `run`
    the first turn takes that run over, wherever it stands, with its own agent and budget."""
    attachments = [read_file(path) for path in files]
    if is_terminal(sys.stdin):
        import_module("readline")  # gives `input` its line editing
    with asyncio.Runner() as runner:
        person = person_at_terminal(view)
        taken = runner.run(find_run(settings, run)) if run else None
        context = (
            reopened(settings, taken, view, person)
            if taken
            else opened(settings, wanted, view, person)
        )
        session = runner.run(context.__aenter__())
        try:
            if taken:
                runner.run(session.take_over(taken))
            if is_terminal(sys.stdin):
                model = session.profile.spec if taken else settings.model
                print(f"{model}: /help says what can be typed, Ctrl-D ends", file=sys.stderr)
            while (line := read_turn()) is not None:
                match line.strip():
                    case "":
                        continue
                    case "/exit" | "/quit" | "/bye":
                        break
                    case "/new" | "/clear":
                        session.begin_anew()
                        print("a new conversation", file=sys.stderr)
                    case "/help" | "/?":
                        print(HELP, file=sys.stderr)
                    case command if command.startswith("/") and " " not in command:
                        print(f"there is no {command}\n{HELP}", file=sys.stderr)
                    case _:
                        attachments = _turn(runner, session, line, attachments)
        finally:
            runner.run(context.__aexit__(None, None, None))
    return ANSWERED


def _turn(
    runner: asyncio.Runner, session: Session, line: str, attachments: list[Attachment]
) -> list[Attachment]:
    """One turn; returns the attachments that still wait to be sent."""
    try:
        runner.run(session.turn(without_surrogates(line), attachments))
        return []
    except KeyboardInterrupt:
        print("\nstopped; the conversation goes on from the last answer", file=sys.stderr)
    except ChogoriError as error:
        print("\n".join([str(error), *getattr(error, "__notes__", ())]), file=sys.stderr)
    except Crashed as error:
        print(f"that failed unexpectedly ({error}); see {error.path}", file=sys.stderr)
    return attachments


def read_turn() -> str | None:
    """What is typed next, or None at the end. Ctrl-C drops a line that was begun."""
    lines: list[str] = []
    prompt = PROMPT if is_terminal(sys.stdin) and is_terminal(sys.stdout) else ""
    while True:
        try:
            lines.append(input(prompt))
        except (EOFError, RuntimeError):  # the end, or no standard input at all
            if is_terminal(sys.stdin):
                print(file=sys.stderr)
            return "\n".join(lines) if lines else None
        except KeyboardInterrupt:
            lines = []
            print("\n(Ctrl-D ends)", file=sys.stderr)
            continue
        text = "\n".join(lines)
        if not text.lstrip().startswith('"""'):
            return text
        if text.strip().endswith('"""') and len(text.strip()) >= 6:
            return text.strip()[3:-3]
        prompt = "... " if prompt else ""
