"""One assistant, open for a question, a chat, or a run that goes on: runs turns and shows them.

The store keeps each event before the view is told of it, and both know it by the same number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

from chogori.agent import Budget, Context, kept
from chogori.agent.context import ContextPolicy
from chogori.agent.run import new_run_id
from chogori.agent.verbs import Task, Verbs
from chogori.apps.attachments import Attachment, attach
from chogori.apps.failures import keep_traceback
from chogori.apps.keeping import opened_store
from chogori.apps.settings import Settings
from chogori.chat import (
    Answer,
    Delta,
    Event,
    Finished,
    FromSubagent,
    ModelLoaded,
    Options,
    Profile,
    Resumed,
    TextPart,
    ToolCall,
    Waiting,
)
from chogori.errors import ChogoriError, ConfigError
from chogori.presets import assistant, rebuild

_UNKEPT: tuple[type, ...] = (Resumed, ModelLoaded, FromSubagent, *get_args(Delta))

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
    only: Sequence[str] | None = None
    """The names of the tools to be had; None: all."""
    context: Context | None = None
    """How the run is kept within the model's context; None: as suits the model."""


def read_context(written: str) -> Context:
    """ "POLICY" or "POLICY:TOKENS". Raises `ConfigError`."""
    policy, _, tokens = written.partition(":")
    if tokens and not tokens.isdecimal():
        raise ConfigError(f"--context {written}: expected POLICY or POLICY:TOKENS, a number")
    return Context(policy=cast(ContextPolicy, policy), tokens=int(tokens) if tokens else None)


@asynccontextmanager
async def opened(
    settings: Settings, wanted: Wanted, view: View, person: Person
) -> AsyncGenerator[Session]:
    """A session, for as long as the context lasts. Nothing is written before the model is found to
    be there. Raises what `presets.load`, `presets.assistant` and `opened_store` raise."""
    if not wanted.workspace.is_dir():
        raise ConfigError(f"--workspace {wanted.workspace}: there is no such folder")
    async with AsyncExitStack() as stack:
        model = settings.load()
        stack.push_async_callback(model.aclose)
        store = await stack.enter_async_context(opened_store(settings))
        verbs = await stack.enter_async_context(
            assistant(
                model,
                runs=settings.runs,
                workspace=wanted.workspace,
                write=wanted.write,
                unsafe=wanted.unsafe,
                web=wanted.web,
                allow_hosts=wanted.allow_hosts,
                mcp=wanted.mcp,
                allow_read_only=wanted.allow_read_only,
                only=wanted.only,
                budget=wanted.budget,
                options=wanted.options,
                approval=wanted.approval,
                context=wanted.context,
                store=store,
            )
        )
        yield Session(verbs, settings, view, person, model.profile)


@asynccontextmanager
async def reopened(
    settings: Settings,
    run_id: str,
    view: View,
    person: Person,
    limits: Mapping[str, float] = {},
) -> AsyncGenerator[Session]:
    """A session with the agent of a run that is kept, made again from its description; `limits`
    as `presets.rebuild` has them."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened_store(settings))
        began = await kept.began(store, run_id)
        model = settings.load(began.agent["model"])
        stack.push_async_callback(model.aclose)
        again = rebuild(
            began.agent,
            model,
            store=store,
            runs=settings.runs,
            limits=limits,
            load=settings.load,
        )
        verbs = await stack.enter_async_context(again)
        yield Session(verbs, settings, view, person, model.profile)


@dataclass(slots=True)
class Session:
    """Turns of a run, one at a time."""

    verbs: Verbs
    settings: Settings
    view: View
    person: Person
    profile: Profile
    answer: Answer | None = None
    """The last complete answer: the next turn goes on from here."""
    _unended: str | None = None
    """A run that was taken over in its middle, or while it waits."""
    _was_loaded: bool = False
    _kept: int = 0
    """Events of the run that were kept so far."""

    def begin_anew(self) -> None:
        """The next turn begins a run of its own."""
        self.answer = self._unended = None

    async def take_over(self, run_id: str) -> None:
        """The next turn goes on with a run that is kept: from its last answer, or wherever it
        stands. Raises what `Verbs.resume` raises."""
        assert self.verbs.kept_in is not None, "the session keeps its runs"
        last = [told async for told in kept.events(self.verbs.kept_in, run_id)][-1]
        if not (isinstance(last, tuple) and isinstance(last[1], Answer)):
            self._unended = run_id
            return
        async for event in self.verbs.resume(run_id):
            if isinstance(event, Answer):
                self.answer, self._kept = event, last[0] + 1

    async def turn(self, question: str, attachments: Sequence[Attachment] = ()) -> Answer:
        """Ask, show, keep, and return the answer. When it is cancelled or fails, the run is kept
        as far as it came and the conversation stands where it stood."""
        self._check(question)
        if self._unended is not None:  # until it is answered, the next turn goes on with it too
            answer = await self.resume(self._unended, question)
            self._unended = None
            return answer
        run_id = self.answer.run_id if self.answer else new_run_id()
        task = self._task(question, attachments, self.settings.runs / run_id)
        if self.answer is None:
            self._kept = 0
            return await self._to_the_end(self.verbs.stream(task, run_id=run_id), run_id)
        return await self._to_the_end(self.verbs.continue_(self.answer, task), run_id)

    async def resume(
        self, run_id: str, message: str | None = None, *, accept_changes: bool = False
    ) -> Answer:
        """Go on with a run that was interrupted, or that waits."""
        assert self.verbs.kept_in is not None, "the session keeps its runs"
        self._kept = await kept.count(self.verbs.kept_in, run_id) - 1
        events = self.verbs.resume(run_id, message or None, accept_changes=accept_changes)
        return await self._to_the_end(events, run_id)

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

    async def _to_the_end(self, events: AsyncIterator[Event], run_id: str) -> Answer:
        before = self._kept
        try:
            self.answer = await self._answer(events)
            return self.answer
        except asyncio.CancelledError as stop:
            self.view.stopped()
            stop.add_note(f"it goes on with: chogori runs resume {run_id}")
            raise
        except Paused:
            self.view.stopped()
            raise
        except BrokenPipeError:  # whoever read us has gone: no failure of ours
            raise
        except ChogoriError as error:
            self.view.stopped()
            if self._kept > max(before, NOTHING_YET):  # else it did not even go on
                error.add_note(
                    f"what came before is kept: chogori runs show {run_id}; "
                    f"it goes on with: chogori runs resume {run_id}"
                )
            raise
        except Exception as error:
            self.view.stopped()
            raise Crashed(error, run_id, keep_traceback(error, self.settings.data)) from error

    async def _answer(self, events: AsyncIterator[Event]) -> Answer:
        while True:
            leg = await self._leg(events)
            if isinstance(leg, Answer):
                return leg
            if leg.reason == "person":
                raise Paused(leg.run_id)
            if leg.reason != "approval":
                raise ConfigError(f"the run waits for {leg.reason}, which nobody here can give")
            approve = await self._decided(leg)
            events = self.verbs.continue_(leg, approve=approve)

    async def _decided(self, leg: Waiting) -> dict[str, bool]:
        """A yes or no to each call: what was said from elsewhere already, else by the person."""
        store = self.verbs.kept_in
        decided = {} if store is None else await kept.decisions(store, leg.run_id)
        return {
            call.id: decided[call.id] if call.id in decided else await self.person(call)
            for call in leg.calls
        }

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
        if isinstance(event, Resumed):
            self._kept = event.events
        self._kept += not isinstance(event, _UNKEPT)
        self.view.show(event, max(0, self._kept - 1))

    def _tell_load(self, event: Finished) -> None:
        """An embedded model reports how long it loaded with its first reply."""
        seconds = event.extra.get("load_seconds")
        if isinstance(seconds, int | float):
            self._was_loaded = True
            self._tell(ModelLoaded(self.profile.name, float(seconds)))


class Paused(ChogoriError):
    """A person elsewhere has paused the run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the run was paused; it goes on with: chogori runs resume {run_id}")


class Crashed(Exception):
    """Something unexpected ended a run; its traceback is in `path`."""

    def __init__(self, error: Exception, run_id: str, path: Path) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.run_id = run_id
        self.path = path
