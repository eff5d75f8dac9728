"""One assistant, open for a question or for a chat: runs its turns, keeps them, shows them.

Every event goes to the record first and to the view then, under one number.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

from chogori.agent import Budget
from chogori.agent.agent import Task, Verbs, new_run_id
from chogori.apps.attachments import Attachment, attach
from chogori.apps.runs import Recorder
from chogori.apps.settings import Settings
from chogori.chat import (
    Answer,
    Event,
    Finished,
    ModelLoaded,
    Options,
    Profile,
    TextPart,
    ToolCall,
    Waiting,
)
from chogori.errors import ChogoriError, ConfigError
from chogori.presets import assistant

TOKEN_CHARS = 4
"""Characters a token stands for, at most: what is longer than so many surely does not fit."""

NOTHING_YET = 2
"""A run that failed after so few events has nothing to show: it began, and so did a step."""


class View(Protocol):
    """Shows a run."""

    def show(self, event: Event, sequence: int) -> None:
        """Show one event."""
        ...

    def stopped(self) -> None:
        """The turn ended in its middle."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


Person = Callable[[ToolCall], Awaitable[bool]]
"""Asks somebody whether a call may be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the options of `ask` and `chat` say."""

    workspace: Path
    write: bool = False
    budget: Budget = field(default_factory=Budget)
    options: Options = Options()
    approval: Literal["ask", "always", "never"] = "ask"
    web: bool = False
    allow_hosts: Sequence[str] = ()
    mcp: Sequence[str] = ()
    allow_read_only: bool = False
    unsafe: bool = False


@asynccontextmanager
async def opened(
    settings: Settings, wanted: Wanted, view: View, person: Person
) -> AsyncGenerator[Session]:
    """A session, for as long as the context lasts. Nothing is written before the model and the
    sandbox are found to be there. Raises what `presets.load` and `presets.assistant` raise."""
    if not wanted.workspace.is_dir():
        raise ConfigError(f"--workspace {wanted.workspace}: there is no such folder")
    model = settings.load()
    try:
        async with assistant(
            model,
            runs=settings.runs,
            workspace=wanted.workspace,
            write=wanted.write,
            unsafe=wanted.unsafe,
            web=wanted.web,
            allow_hosts=wanted.allow_hosts,
            mcp=wanted.mcp,
            allow_read_only=wanted.allow_read_only,
            budget=wanted.budget,
            options=wanted.options,
            approval=wanted.approval,
        ) as verbs:
            settings.make_data()
            yield Session(verbs, settings.runs, view, person, model.profile)
    finally:
        await model.aclose()


@dataclass(slots=True)
class Session:
    """Turns of a run, one at a time."""

    verbs: Verbs
    runs: Path
    view: View
    person: Person
    profile: Profile
    answer: Answer | None = None
    """The last complete answer: the next turn goes on from here."""
    _recorder: Recorder | None = None
    _was_loaded: bool = False

    def begin_anew(self) -> None:
        """The next turn begins a run of its own."""
        self.answer = None

    async def turn(self, question: str, attachments: Sequence[Attachment] = ()) -> Answer:
        """Ask, show, keep, and return the answer. When it is cancelled or fails, the run is kept
        as far as it came and the conversation stands where it stood."""
        self._check(question)
        run_id = self.answer.run_id if self.answer else new_run_id()
        if self._recorder is None or self._recorder.folder.name != run_id:
            self._recorder = Recorder(self.runs / run_id)
        recorder = self._recorder
        try:
            task = self._task(question, attachments, recorder.folder)
            if self.answer is None:
                events = self.verbs.stream(task, run_id=run_id)
            else:
                events = self.verbs.continue_(self.answer, task)
            self.answer = await self._to_the_end(events)
            return self.answer
        except asyncio.CancelledError as stop:
            self.view.stopped()
            recorder.failed("stopped by the user")
            stop.add_note(f"what was done is kept: chogori runs show {run_id}")
            raise
        except BrokenPipeError:  # whoever read us has gone: no failure of ours
            recorder.failed("the reader of the output went away")
            raise
        except ChogoriError as error:
            self.view.stopped()
            recorder.failed(str(error))
            if recorder.sequence > NOTHING_YET:
                error.add_note(f"what came before is kept: chogori runs show {run_id}")
            raise
        except Exception as error:
            self.view.stopped()
            path = recorder.failed("".join(traceback.format_exception(error)))
            raise Crashed(error, run_id, path) from error
        finally:
            recorder.close()

    def _check(self, question: str) -> None:
        if not question.strip():
            raise ConfigError('the question is empty; ask one: chogori ask "..."')
        if len(question) > self.profile.context_tokens * TOKEN_CHARS:
            raise ConfigError(
                f"the question has {len(question):,} characters, more than the model's "
                f"{self.profile.context_tokens:,} tokens hold; put the text into a file, and ask "
                "about it with --file PATH"
            )

    def _task(self, question: str, attachments: Sequence[Attachment], folder: Path) -> Task:
        if not attachments:
            return question
        out = folder / "out"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        out.mkdir(exist_ok=True)
        # Half of the context for what is attached leaves the other half to work in.
        room = max(1_000, self.profile.context_tokens * TOKEN_CHARS // 2 - len(question))
        return [TextPart(question), *attach(attachments, out, room_chars=room)]

    async def _to_the_end(self, events: AsyncIterator[Event]) -> Answer:
        while True:
            leg = await self._leg(events)
            if isinstance(leg, Answer):
                return leg
            if leg.reason != "approval":
                raise ConfigError(f"the run waits for {leg.reason}, which nobody here can give")
            approve = {call.id: await self.person(call) for call in leg.calls}
            events = self.verbs.continue_(leg, approve=approve)

    async def _leg(self, events: AsyncIterator[Event]) -> Answer | Waiting:
        async with aclosing(cast(AsyncGenerator[Event], events)):
            async for event in events:
                if isinstance(event, Finished) and not self._was_loaded:
                    self._tell_load(event)
                self._tell(event)
                if isinstance(event, Answer | Waiting):
                    return event
        raise AssertionError("a leg ends with an Answer or a Waiting")

    def _tell(self, event: Event) -> None:
        assert self._recorder is not None, "events belong to a turn"
        self.view.show(event, self._recorder.add(event))

    def _tell_load(self, event: Finished) -> None:
        """An embedded model reports how long it loaded with its first reply."""
        seconds = event.extra.get("load_seconds")
        if isinstance(seconds, int | float):
            self._was_loaded = True
            self._tell(ModelLoaded(self.profile.name, float(seconds)))


class Crashed(Exception):
    """Something unexpected ended a run; its traceback is in `path`."""

    def __init__(self, error: Exception, run_id: str, path: Path) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.run_id = run_id
        self.path = path
