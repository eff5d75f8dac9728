"""What can be asked of an agent, and of whatever is wrapped round one.

One idea at three speeds: `ask` (blocking), `run` (await the answer), `stream` (watch it happen);
`continue_` and `resume` go on from where a leg or a process ended. A wrapper says in `drive` what
it does to a leg; the run, its journal and its listeners are handled here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from chogori.agent.journal import KIND
from chogori.agent.run import Begin, Continue, Run, Standing, Start, closing, new_run_id
from chogori.chat import (
    Answer,
    Content,
    Event,
    LegStarted,
    Part,
    RunStarted,
    Waiting,
    content_of,
    on_behalf_of,
    text_of,
)
from chogori.errors import ConfigError
from chogori.store import Store

Task = str | Part | Sequence[Part]


class Verbs:
    """See the module's docstring."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """What kind of log its runs are."""
        return KIND

    @property
    def kept_in(self) -> Store | None:
        """Where runs are kept; None: nowhere."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What another process rebuilds this from; never a secret."""
        raise NotImplementedError

    def drive(self, start: Start, run: Run, branch: str = "") -> AsyncIterator[Event]:
        """One leg, on a branch of `run`."""
        raise NotImplementedError

    async def stream(
        self, task: Task, *, run_id: str | None = None, parent: str | None = None
    ) -> AsyncGenerator[Event]:
        """Run, telling each event as it happens. The last one is an `Answer` or a `Waiting`.

        `parent` is the run that this one belongs to. Raises `ConfigError` where a run of that id
        is kept already."""
        id, store = run_id or new_run_id(), self.kept_in
        if store is None:
            run = Run(id, self.describe())
        else:
            run = await Run.begin(store, id, self.describe(), parent=parent, kind=self.kind)
        async with aclosing(_leg(self, Begin(content_of(task)), run)) as events:
            async for event in events:
                yield event

    def continue_(
        self,
        leg: Answer | Waiting,
        message: Task | None = None,
        *,
        approve: Mapping[str, bool] | None = None,
        results: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Event]:
        """Go on where `leg` ended: after an `Answer` with a `message`, after `Waiting` with what
        it waits for. `approve` and `results` go by call id. Raises `ConfigError` where what is
        given does not fit what is waited for."""
        said = () if message is None else content_of(message)
        start = Continue(leg, said, approve or {}, results or {})
        _refuse_misfit(start)
        return self._continue(start)

    async def _continue(self, start: Continue) -> AsyncGenerator[Event]:
        run = await _run_of(start.leg, self)
        async with aclosing(_leg(self, start, run)) as events:
            async for event in events:
                yield event

    async def resume(
        self, run_id: str, message: Task | None = None, *, accept_changes: bool = False
    ) -> AsyncGenerator[Event]:
        """Go on with a run that is kept, at the exact step where it was interrupted; the first
        event is `Resumed`, unless the run has ended, or waits: then its end is all that is told.

        What people have left for it meanwhile is taken up; `message` is the next turn of a run
        that has answered, and a word in the middle of one that has not. Raises `RunNotFound`,
        `RunChanged` (unless `accept_changes`), `RunDamaged` and `LeaseHeld`."""
        if (store := self.kept_in) is None:
            raise ConfigError("this agent keeps no runs: give it a store")
        run = await Run.reopen(store, run_id, self.describe(), strict=not accept_changes)
        said = () if message is None else content_of(message)
        async with aclosing(_again(self, run, said)) as events:
            async for event in events:
                yield event

    def ask(self, task: Task) -> Answer:
        """Run to the answer, blocking. For scripts; inside a coroutine use `run`."""
        return asyncio.run(self.run(task))

    async def run(self, task: Task, *, run_id: str | None = None) -> Answer:
        """Run to the answer. Calls that need a person's yes are refused: nobody is there."""
        events: AsyncIterator[Event] = self.stream(task, run_id=run_id)
        while True:
            async for event in events:
                if isinstance(event, Answer):
                    return event
                if isinstance(event, Waiting):
                    break
            else:
                raise AssertionError("a leg ends with an Answer or a Waiting")
            if event.reason == "tool_results":
                raise ConfigError("the run waits for results of the client's tools: use stream")
            events = self.continue_(event, approve={call.id: False for call in event.calls})


async def _run_of(leg: Answer | Waiting, verbs: Verbs) -> Run:
    """The run that a leg belongs to, taken up again."""
    store = verbs.kept_in
    if isinstance(leg.standing, Standing):
        run = leg.standing.run
        if store is not None:
            await run.go_on(store, leg)
        return run
    if store is not None:
        raise ConfigError(f"this leg was read back; resume({leg.run_id!r}) goes on with its run")
    return Run(leg.run_id, verbs.describe())


async def _leg(verbs: Verbs, start: Start, run: Run) -> AsyncGenerator[Event]:
    """One leg of a run, which is let go when the leg ends."""
    async with closing(run), aclosing(_driven(verbs, start, run)) as events:
        async for event in events:
            yield event


async def _driven(verbs: Verbs, start: Start, run: Run) -> AsyncGenerator[Event]:
    """What is told of a leg."""
    with on_behalf_of(run.id):
        async with aclosing(run.listen(verbs.drive(start, run))) as events:
            async for event in events:
                if isinstance(event, Answer | Waiting):
                    await run.close()  # so that whoever is told may go on with it at once
                yield event


async def _again(verbs: Verbs, run: Run, said: Content) -> AsyncGenerator[Event]:
    """The legs of a run that is kept, and those that begin with what was left for it."""
    async with closing(run):
        begun = run.starts()
        if said and run.is_under_way:
            await run.say_once(text_of(said))
        start: Start | None = Begin(cast(RunStarted, begun[0]).task)
        later = iter(cast(list[LegStarted], begun[1:]))
        while start is not None:
            async with aclosing(_driven(verbs, start, run)) as events:
                async for event in events:
                    yield event
            if not run.goes_on:  # it ended anew, and its end was told
                return
            leg = cast(Answer | Waiting, run.ended)
            kept = next(later, None)
            if said and kept is None and isinstance(leg, Waiting) and leg.calls:
                await run.say_once(text_of(said))
            start = _kept(leg, kept) if kept else run.left_for(leg, said)
        await run.close()
        yield cast(Answer | Waiting, run.ended)


def _kept(leg: Answer | Waiting, kept: LegStarted) -> Continue:
    return Continue(leg, kept.said, kept.approve, kept.results)


def _refuse_misfit(start: Continue) -> None:
    leg = start.leg
    if isinstance(leg, Answer):
        if not start.said:
            raise ConfigError("an answered run goes on with a message")
        return
    if start.said and leg.calls:
        raise ConfigError("a run that waits for calls takes a message once they are decided")
    missing = [c.id for c in leg.calls if c.id not in start.approve and c.id not in start.results]
    if missing:
        raise ConfigError(f"the run still waits for: {', '.join(missing)}")
