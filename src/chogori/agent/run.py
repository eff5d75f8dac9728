"""One run while somebody drives it: its id, its branches, its journal, and what is told of it.

A run that was interrupted is driven again, from its start, through the same code; its branches hand
back what was recorded, so nothing is asked or done twice, and whoever listens hears of it only from
where the records end.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from chogori.agent.branch import Branch, Mark, RecordedBranch
from chogori.agent.budget import Budget
from chogori.agent.changes import changes
from chogori.agent.clock import Clock
from chogori.agent.guards import Guard
from chogori.agent.journal import KIND, Entry, Journal, read
from chogori.agent.past import (
    accepted_in,
    is_event,
    is_same,
    is_told,
    salt_of,
    steps_of,
    without_abandoned,
)
from chogori.chat import (
    Answer,
    Content,
    Delta,
    Event,
    FromSubagent,
    LegStarted,
    ModelLoaded,
    Paused,
    ReplyFinished,
    ReplyRestarted,
    Resumed,
    RunStarted,
    Steered,
    StepStarted,
    ToolFinished,
    ToolResult,
    ToolStarted,
    Waiting,
    content_of,
)
from chogori.chat.event_json import encode
from chogori.errors import ConfigError, RunChanged, RunDamaged, StoreError
from chogori.store import Store

_STREAMED: tuple[type, ...] = (*get_args(Delta), FromSubagent)
_UNTOLD = (*_STREAMED, ReplyRestarted, ModelLoaded)
"""Events that need not come again when a run is driven again."""
_BY_BRANCHES = (ReplyFinished, ToolStarted, ToolFinished, Steered, Paused)
"""Events that are recorded by the branch they happen in."""
_NO_STOPS = (GeneratorExit, RunChanged, RunDamaged)
"""What ends a leg and is not recorded: nobody looks on any more, or the records do not fit."""
_UNLIMITED = Budget(steps=None)


@dataclass(frozen=True, slots=True)
class Begin:
    """The first leg of a run."""

    task: Content


@dataclass(frozen=True, slots=True)
class Continue:
    """A later leg: what it goes on from, and with what."""

    leg: Answer | Waiting
    said: Content = ()
    approve: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """A person's yes or no, by call id."""
    results: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the client's tools brought, by call id."""


Start = Begin | Continue


@dataclass(frozen=True, slots=True)
class Standing:
    """How a leg left its run, for the next one."""

    run: Run
    shown: Any
    """What the model was shown of the conversation (`context.View`)."""
    toolset: Any
    """The tools that it had, and how often they were called (`toolset.Toolset`)."""
    guards: Sequence[Guard] = ()
    """What it was watched by, which remembers what happened."""
    given: Mapping[str, ToolResult] = field(default_factory=dict[str, ToolResult])
    """Results that calls of the step that waits have already, by call id."""
    approved: frozenset[str] = frozenset()
    """Calls of that step that a person has said yes to."""


class Run:
    """See the module's docstring. `close` it when a leg has ended."""

    def __init__(
        self,
        id: str,
        description: Mapping[str, Any],
        journal: Journal | None = None,
        past: Sequence[Entry] = (),
        *,
        strict: bool = True,
    ) -> None:
        """`description` is what another process rebuilds the agent from. `past` is what the
        journal holds. Where the run takes another way than that `RunChanged` is raised; if
        `strict`, also where something is said or asked in other words."""
        self.id = id
        self.description = description
        self.journal = journal
        self.past = without_abandoned(past)
        self._strict = strict
        self._branches: dict[str, Branch] = {}
        self._told = deque(entry for entry in self.past if is_told(entry))
        self._recalled: dict[int, Event] = {}
        """Events of the past that a branch has handed back, by their identity."""
        self.goes_on = bool(past)
        """Whether it was interrupted, and has not come to where it was yet."""
        self.ended: Answer | Waiting | None = None
        """The end of the last leg."""
        self._began_with: Budget | None = None
        self.lease: Callable[[], Budget] | None = None
        """Says what the run may use up at any time, where it has not a budget of its own."""
        self.accepted: Mapping[str, Any] | None = None
        """What the agent is now, where somebody goes on although it has changed."""
        self.held: Any = None
        """What a wrapper holds of the run from one leg to the next."""
        self._step = 0
        self._salt = b""
        self._count = self._count_at_end = 0
        self._at_end: dict[str, Mark] = {}
        """Where the branches stood when the last leg ended."""
        self.kept = sum(map(is_event, past))
        """Events so far, those that are streamed apart; the number of the next one."""

    @classmethod
    async def begin(
        cls,
        store: Store,
        id: str,
        description: Mapping[str, Any],
        *,
        parent: str | None = None,
        kind: str = KIND,
    ) -> Run:
        """A run that is new. Raises `ConfigError` where there is one of that id."""
        return cls(id, description, await Journal.begin(store, id, parent=parent, kind=kind))

    @classmethod
    async def reopen(
        cls, store: Store, id: str, description: Mapping[str, Any], *, strict: bool = True
    ) -> Run:
        """A run that has begun. Raises `RunNotFound`, `RunDamaged`, `RunChanged` if `strict`, and
        `LeaseHeld` where somebody else drives it; nothing is changed then."""
        past = await read(store, id, verified=True)
        accepted = accepted_in(past)
        # What was said before the agent changed, it would now say in other words.
        run = cls(id, description, None, past, strict=strict and accepted is None)
        began = cast(RunStarted, run.starts()[0])
        if found := changes(accepted or began.agent, description):
            if strict:
                raise RunChanged(
                    f"since the run {id} began, {'; '.join(found)}. "
                    "--accept-changes goes on all the same"
                )
            run.accepted = description
        run.journal = await Journal.reopen(store, id)
        if run.journal.count != len(past):
            await run.journal.close()
            raise ConfigError(f"the run {id} has gone on just now, elsewhere; try again")
        run.journal.clock = Clock(run.past)
        run.journal.salt = salt_of(past)
        return run

    async def go_on(self, store: Store, leg: Answer | Waiting) -> None:
        """Take it up again after `leg`. Raises `ConfigError` if it has gone on meanwhile."""
        journal = await Journal.reopen(store, self.id)
        if journal.count != self._count or leg is not self.ended:
            await journal.close()
            raise ConfigError(
                f"the run {self.id} has gone on since: chogori runs resume {self.id} "
                "goes on from where it is now"
            )
        self.journal = journal
        journal.salt = self._salt
        for branch in self.recorded:
            branch.journal = journal
        if self._count != self._count_at_end:  # what came after the leg was stopped, and is left
            journal.add("abandoned", {"from": self._count_at_end})
            for name, branch in self._branches.items():
                branch.back_to(self._at_end.get(name, (0, Counter(), 0)))

    def limits(self, budget: Budget) -> Budget:
        """What a leg may use up: what it began with as long as it is driven again, then `budget`,
        which whoever resumes a run may have made larger. With a lease, which comes and goes, the
        past ended where the records say so."""
        if self.lease is not None:
            return self._as_decided() if self.is_past else self.lease()
        if not self.is_past:
            return budget
        if self._began_with is None:
            self._began_with = Budget(**cast(RunStarted, self.starts()[0]).agent["budget"])
        return self._began_with

    def following(self, type: str) -> Entry | None:
        """What happened next, where that is of the past and of this type."""
        return self._told[0] if self._told and self._told[0].type == type else None

    def _as_decided(self) -> Budget:
        """A budget that has ended if the next thing that happened was a landing for its sake."""
        landing = self.following("landing")
        limit = str(landing.fields["reason"]).replace(" ", "_") if landing else ""
        is_limit = limit in Budget.__dataclass_fields__
        return replace(_UNLIMITED, **{limit: 0}) if is_limit else _UNLIMITED

    def branch(self, name: str = "") -> Branch:
        """The line of the run that is called so; "" is the run's own."""
        if name not in self._branches:
            self._branches[name] = self._made(name)
        return self._branches[name]

    def _made(self, name: str) -> Branch:
        if self.journal is None:
            return Branch(name)
        past = [entry for entry in self.past if entry.branch == name]
        return RecordedBranch(
            name,
            self.journal,
            past,
            recalls=lambda event: self._recalled.update({id(event): event}),
            is_past=lambda: self.is_past,
            strict=self._strict,
        )

    @property
    def recorded(self) -> list[RecordedBranch]:
        """The branches so far, where they are recorded."""
        return [each for each in self._branches.values() if isinstance(each, RecordedBranch)]

    @property
    def is_past(self) -> bool:
        """Whether more is to come that happened already."""
        return bool(self._told)

    @property
    def is_under_way(self) -> bool:
        """Whether the last leg of the past came to no end."""
        legs = sum(entry.type in ("run_started", "leg_started") for entry in self.past)
        return legs > sum(entry.type in ("answer", "waiting") for entry in self.past)

    async def say_once(self, text: str) -> None:
        """A person says something that takes effect at the next step; not again what waits to be
        heard already, since they tried before."""
        if self.journal is not None and {"text": text} not in self.journal.said:
            await self.journal.say(text)

    def left_for(self, leg: Answer | Waiting, said: Content) -> Continue | None:
        """The leg that begins with what people have left for a run that ended so, if any does."""
        if isinstance(leg, Answer):
            late = self._heard_too_late()
            return Continue(leg, (*late, *said)) if late or said else None
        if leg.reason == "person":
            return Continue(leg, said)
        said_here = self.journal.said if self.journal else []
        decided = {it["call"]: bool(it["yes"]) for it in said_here if "call" in it}
        if leg.reason != "approval" or any(call.id not in decided for call in leg.calls):
            return None
        return Continue(leg, approve={call.id: decided[call.id] for call in leg.calls})

    def _heard_too_late(self) -> Content:
        """What was said to a run that had answered: it is part of the next turn."""
        told = [it["text"] for it in (self.journal.said if self.journal else []) if "text" in it]
        if told and self.journal:
            self.journal.hear()
        return content_of("\n".join(told)) if told else ()

    async def listen(self, events: AsyncIterator[Event]) -> AsyncGenerator[Event]:
        """`events`, recorded; those that were told before are not told again. When an answer is
        told, everything is on the disk."""
        async with aclosing(cast(AsyncGenerator[Event], events)) as told:
            async for event in told:
                was_past = self._was_past(event)
                if isinstance(event, Answer | Waiting):
                    self.ended = event
                if was_past:
                    continue
                if self.goes_on:
                    self.goes_on = False
                    yield self._resumed()
                await self._keep(event)
                yield event

    def _resumed(self) -> Resumed:
        if self.journal:
            changed = {"agent": self.accepted} if self.accepted else None
            self.journal.add("resumed", {"step": self._step}, changed)
        return Resumed(self.id, self._step, self.kept)

    def _was_past(self, event: Event) -> bool:
        """Whether it is of the past: no reply of that is streamed. What was recorded before must
        be the same now."""
        if isinstance(event, StepStarted):
            self._step = event.number
        if isinstance(event, _BY_BRANCHES):
            return self._recalled.pop(id(event), None) is not None
        if not self._told or isinstance(event, _UNTOLD):
            return False
        entry = self._told.popleft()
        if entry.type != (now := encode(event, 0)["type"]):
            raise self._another_way(entry, now)
        if self._strict and not is_same(entry, event):
            raise RunChanged(
                f"event {entry.sequence} ({entry.type}) would not be the same now. Something that "
                "decides the run has changed; resume --accept-changes goes on all the same"
            )
        return True

    def _another_way(self, entry: Entry, now: str) -> RunChanged:
        """What a changed agent would do instead of what is recorded. To go on by it from the middle
        of the records would do again what was done after that; a fork says where it begins."""
        step = sum(begin < entry.sequence for begin in steps_of(self.past))
        at = step if entry.type in ("step_started", "leg_started") else max(0, step - 1)
        return RunChanged(
            f"the run takes another way than it did: event {entry.sequence} was {entry.type}, and "
            f"now it is {now}. Something that decides the run has changed; "
            f"chogori runs fork {self.id} --at {at} goes on from before that"
        )

    async def _keep(self, event: Event) -> None:
        """Record what no branch has recorded."""
        if isinstance(event, _STREAMED):
            return
        self.kept += 1
        if self.journal is not None and not isinstance(event, _BY_BRANCHES):
            self.journal.add_event(event, can_wait=isinstance(event, StepStarted))
        if self.journal is not None and isinstance(event, RunStarted):
            self.journal.add("salted", {}, {"salt": self.journal.salt.hex()})
        if isinstance(event, Answer | Waiting):
            await self.branch().settle()

    async def close(self, why: BaseException | None = None) -> None:
        """Write what is gathered, and let the run go; `why` is what stopped it."""
        if (journal := self.journal) is None:
            return
        if why is not None and journal.count and not isinstance(why, _NO_STOPS):
            journal.add("stopped", {}, {"why": f"{type(why).__name__}: {why}".strip(": ")})
        self.journal, self._count, self._salt = None, journal.count, journal.salt
        if why is None:
            self._count_at_end = journal.count
            self._at_end = {name: branch.mark() for name, branch in self._branches.items()}
        try:
            await journal.close()
        except StoreError:
            if why is None:  # else it says the same, or what came before is what matters
                raise

    def starts(self) -> list[RunStarted | LegStarted]:
        """How the legs of the past began. Raises `RunDamaged`."""
        begun = [e.event() for e in self.past if e.type in ("run_started", "leg_started")]
        if not begun or not isinstance(begun[0], RunStarted):
            raise RunDamaged(f"the journal of {self.id} does not tell how the run began")
        return cast(list[RunStarted | LegStarted], begun)


@asynccontextmanager
async def closing(run: Run) -> AsyncGenerator[None]:
    """Closes `run` at the end, however it comes."""
    try:
        yield
    except BaseException as error:
        await run.close(error)
        raise
    else:
        await run.close()


def new_run_id() -> str:
    """An id that sorts by time: 20261121-231500-1f3a9c."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(5)}"
