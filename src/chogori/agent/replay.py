"""Driving a recorded run again without its model and its tools, to prove what it was asked.

Each request is put together anew from the records before it, and compared with the one that was
recorded: the canonical conversation always, the very bytes where the model can tell them and its
encoder is still of the same version.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import NoReturn, cast

from chogori.agent.clock import Clock
from chogori.agent.journal import Entry, Journal, read
from chogori.agent.past import accepted_in, salt_of, without_abandoned
from chogori.agent.run import Begin, Continue, Run, Start
from chogori.agent.verbs import Verbs
from chogori.chat import Answer, LegStarted, RunStarted, Waiting
from chogori.errors import ChogoriError, RunChanged
from chogori.store import Store


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay showed. A request that differs raises `RunChanged` instead."""

    requests: int
    """Compared, and found to be the same conversation, tools and options."""
    same_bytes: int
    """Those whose bytes were compared too."""
    events: int
    is_whole: bool
    """Whether the records reach to an end: an answer, or waiting."""


class _Records:
    """Stands where a journal stands, and holds records only: whoever wants to add has come to
    their end."""

    def __init__(self, past: list[Entry]) -> None:
        self.clock = Clock(past, now=float)
        self.count = len(past)
        self.salt = salt_of(past)

    def add(self, *what: object, **more: object) -> NoReturn:
        raise _EndOfRecords

    add_event = flush = flush_later = add

    async def settle(self) -> None:
        """Whoever waits for this is about to do something."""
        raise _EndOfRecords

    catch_up = send = settle


class _EndOfRecords(ChogoriError):
    pass


async def replay(verbs: Verbs, store: Store, run_id: str) -> Replayed:
    """Replay a run that is kept. Raises `RunNotFound`, `RunDamaged`, and `RunChanged` with the
    first event that would not be the same."""
    past = without_abandoned(await read(store, run_id, verified=True))
    if accepted_in(past) is not None:
        raise RunChanged(
            f"somebody went on with the run {run_id} although its agent had changed "
            "(--accept-changes), so its requests cannot be made again by one agent"
        )
    # Whatever the branches ask of a journal, `_Records` has.
    run = Run(run_id, verbs.describe(), cast(Journal, _Records(past)), past)
    begun = run.starts()
    start: Start | None = Begin(cast(RunStarted, begun[0]).task)
    later = iter(cast(list[LegStarted], begun[1:]))
    with suppress(_EndOfRecords):
        while start is not None:
            async with aclosing(run.listen(verbs.drive(start, run))) as events:
                async for _ in events:
                    pass
            leg, kept = cast(Answer | Waiting, run.ended), next(later, None)
            start = Continue(leg, kept.said, kept.approve, kept.results) if kept else None
    if run.is_past:
        raise RunChanged("the run would do something that it did not, before its records end")
    branches = run.recorded
    return Replayed(
        sum(branch.compared for branch in branches),
        sum(branch.same_bytes for branch in branches),
        run.kept,
        not run.is_under_way,
    )
