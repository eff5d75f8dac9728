"""The runs that are kept in a store: found, told again, spoken to, branched, deleted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Container, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from chogori.agent.bodies import dump, load
from chogori.agent.journal import (
    KIND,
    SUBAGENT,
    Entry,
    Journal,
    lease_name,
    not_found,
    read,
    read_in,
)
from chogori.agent.past import is_event, steps_of, without_abandoned
from chogori.agent.run import new_run_id
from chogori.chat import Event, ReplyFinished, RunStarted, ToolCall, ToolFinished, Waiting, text_of
from chogori.chat.event_json import call_to_json
from chogori.errors import ConfigError, RunDamaged, RunNotFound, StoreError
from chogori.store import Log, Record, Store, Transaction, Verdict, blobs, inbox, leases, logs
from chogori.store import verify as verify_log
from chogori.store.owners import may_live

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A run in one line."""

    id: str
    model: str
    state: str
    """answered, budget, guard, waiting, running, stopped, unfinished, or deleted."""
    steps: int
    seconds: float
    question: str
    parent: str | None = None


async def find(store: Store, wanted: str) -> str:
    """The id that `wanted` means: an id, the beginning of just one, or "last".

    Raises `RunNotFound`."""
    there = await store.read(lambda tx: logs.newest(tx, KIND))
    below = await store.read(lambda tx: logs.newest(tx, SUBAGENT))
    if wanted == "last":
        for log in there:
            if (await summary(store, log)).state != "deleted":
                return log.name
    fitting = _fitting(there, wanted) or _fitting(below, wanted)
    if wanted in fitting or len(fitting) == 1:
        return wanted if wanted in fitting else fitting[0]
    if fitting:
        raise RunNotFound(f"{wanted!r} begins {len(fitting)} runs: {', '.join(fitting[:5])}")
    raise not_found(wanted)


def _fitting(there: Sequence[Log], wanted: str) -> list[str]:
    fits = _ID.fullmatch(wanted) is not None
    return [log.name for log in there if fits and log.name.startswith(wanted)]


async def newest(store: Store, number: int) -> list[Kept]:
    """The newest runs, newest first."""
    found = await store.read(lambda tx: logs.newest(tx, KIND, number))
    return [await summary(store, log) for log in found]


async def summary(store: Store, log: Log) -> Kept:
    """A run in one line; reads its first records and its last."""

    def work(tx: Transaction) -> tuple[list[logs.Entry], dict[bytes, bytes] | None, bool]:
        first = logs.entries(tx, log.name, limit=4)
        last = logs.entries(tx, log.name, after=max(3, log.count - 7))
        wanted = {address for entry in (*first, *last) for address in entry.blobs}
        try:
            held_in = {it: blobs.content_of(tx, log.name, it) for it in wanted}
            found = {address: held for address, held in held_in.items() if held is not None}
        except StoreError:  # one is lost
            found = None
        held = leases.holder(tx, lease_name(log.name))
        is_driven = held is not None and held.until > tx.now and may_live(held.owner)
        return [*first, *last], found, is_driven

    records, contents, is_driven = await store.read(work)
    damaged = Kept(log.name, "?", "damaged", 0, 0.0, "", log.parent)
    if contents is None:
        return damaged
    try:
        told = [Entry.of(record, contents) for record in records]
    except RunDamaged:
        return damaged
    begun = next((entry for entry in told if entry.type == "run_started"), None)
    state, steps, seconds = _state(told)
    if is_driven:
        state = "running"
    model = "?" if begun is None else str(begun.fields.get("model", "?"))
    return Kept(log.name, model, state, steps, seconds, _question(begun), log.parent)


def _question(begun: Entry | None) -> str:
    if begun is None:
        return ""
    if begun.redacted:
        return "(deleted)"
    started = begun.event()
    assert isinstance(started, RunStarted), "it was recorded as one"
    return " ".join(text_of(started.task).split())


def _state(told: Sequence[Entry]) -> tuple[str, int, float]:
    ends = ("answer", "waiting", "stopped", "leg_started", "removed")
    last = next((entry for entry in reversed(told) if entry.type in ends), None)
    match last.type if last else "":
        case "answer" | "waiting":
            assert last is not None, "it has a type"
            fields = last.fields
            why = fields.get("stopped_by", "waiting")
            return ("answered" if why == "answer" else why), fields["steps"], fields["seconds"]
        case "stopped":
            return "stopped", 0, 0.0
        case "removed":
            return "deleted", 0, 0.0
        case _:
            return "unfinished", 0, 0.0


async def events(store: Store, run_id: str) -> AsyncIterator[tuple[int, Event] | RunDamaged]:
    """The events of a run under their numbers; for one that cannot be read, what is wrong."""
    number = 0
    calls = _Calls()
    for entry in await read(store, run_id):
        if not is_event(entry):
            continue
        try:
            yield number, calls.event(entry)
        except RunDamaged as error:
            yield error
        number += 1


class _Calls:
    """The calls of a run, as far as its records still tell them."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], tuple[ToolCall, ...]] = {}
        self._names: dict[tuple[str, int, int], str] = {}

    def event(self, entry: Entry) -> Event:
        """The event that was recorded, told in the order of the records. Raises `RunDamaged`."""
        if entry.type in ("tool_started", "tool_finished"):
            turn, index = entry.place
            place = (entry.branch, turn, index)
            name = str(entry.fields.get("tool", self._names.get(place, "?")))
            self._names[place] = name
            made = self._made.get((entry.branch, turn), ())
            call = made[index] if index < len(made) else ToolCall("?", name, "{}")
            return entry.event(call=call_to_json(call))
        event = entry.event()
        if isinstance(event, ReplyFinished):
            self._made[entry.branch, entry.fields["turn"]] = event.message.tool_calls
        return event


async def calls(store: Store, run_id: str) -> list[tuple[float, ToolFinished]]:
    """The calls of a run that have ended, each with the time of day. Those that were redacted are
    left out."""
    calls = _Calls()
    ended: list[tuple[float, ToolFinished]] = []
    for entry in await read(store, run_id):
        if entry.type not in ("reply_finished", "tool_finished") or entry.redacted:
            continue
        event = calls.event(entry)
        if isinstance(event, ToolFinished):
            ended.append((entry.at, event))
    return ended


async def began(store: Store, run_id: str) -> RunStarted:
    """How a run began: its task, and the agent's description. Raises `RunNotFound` and
    `RunDamaged`."""
    for entry in await read(store, run_id):
        if entry.type == "run_started":
            event = entry.event()
            assert isinstance(event, RunStarted), "it was recorded as one"
            return event
    raise RunDamaged(f"{run_id} stopped before it had begun; there is nothing to go on with")


async def count(store: Store, run_id: str) -> int:
    """How many events of a run are kept."""
    return sum(map(is_event, await read(store, run_id)))


async def why_stopped(store: Store, run_id: str) -> str:
    """What stopped a run that came to no end, or ""."""
    ends = ("answer", "waiting", "stopped")
    told = [entry for entry in await read(store, run_id) if entry.type in ends]
    if not told or told[-1].type != "stopped":
        return ""
    return str(told[-1].fields.get("why", ""))


async def verify(store: Store, run_id: str, head: str | None = None) -> Verdict:
    """Whether the records are those that were written, and what was said in them was deleted only
    where a record says so; `head` is a hash that was noted before."""

    def work(tx: Transaction) -> Verdict:
        verdict = verify_log(tx, run_id, head)
        return verdict if verdict.problem or not verdict.removed else _recorded(tx, run_id, verdict)

    return await store.read(work)


def _recorded(tx: Transaction, run_id: str, verdict: Verdict) -> Verdict:
    """`verdict`, if all that is gone was deleted by us."""
    records, contents = logs.entries(tx, run_id), blobs.contents_of(tx, run_id)
    notes: list[dict[str, Any]] = [load(record.body) for record in records]
    if any(note["type"] == "removed" for note in notes):
        return verdict
    named = {n for note in notes if note["type"] == "redacted" for n in note["records"]}
    for record in records:
        is_gone = any(address not in contents for address in record.blobs)
        if is_gone and record.sequence not in named:
            problem = f"content of entry {record.sequence} was deleted, and no record says so"
            return replace(verdict, problem=problem, sequence=record.sequence)
    return verdict


async def steer(store: Store, run_id: str, text: str) -> None:
    """Tell the model of a run something, before its next step. Raises `RunNotFound`."""
    await _post(store, run_id, {"text": text})


async def pause(store: Store, run_id: str) -> None:
    """Have a run stop before its next step, until it is resumed. Raises `RunNotFound`."""
    await _post(store, run_id, {"pause": True})


async def decide(store: Store, run_id: str, call: str | None = None, *, yes: bool) -> Sequence[str]:
    """Approve or refuse a call that a run waits with, or all of them; returns their ids. The run
    is looked at and told in one transaction: it cannot go on in between. Raises `ConfigError` and
    `RunNotFound`."""

    def work(tx: Transaction) -> Sequence[str]:
        waits = _waits(read_in(tx, run_id))
        asked = [each.id for each in waits.calls] if waits and waits.reason == "approval" else []
        if not asked:
            raise ConfigError(f"{run_id} waits for no approval; see: chogori runs show {run_id}")
        if call is not None and call not in asked:
            raise ConfigError(
                f"{run_id} has no call {call!r} to decide about; it waits for: {', '.join(asked)}"
            )
        decided = asked if call is None else [call]
        for id in decided:
            inbox.post(tx, run_id, dump({"call": id, "yes": yes}))
        return decided

    return await store.write(work)


async def decisions(store: Store, run_id: str) -> dict[str, bool]:
    """What people have decided, by call id, about some of the calls that a run waits with."""
    posted = await store.read(lambda tx: inbox.waiting(tx, run_id))
    told: list[dict[str, Any]] = [load(message.body) for message in posted]
    return {str(it["call"]): bool(it["yes"]) for it in told if "call" in it}


async def waiting(store: Store, run_id: str) -> Waiting | None:
    """What a run waits for, if it does."""
    return _waits(await read(store, run_id))


def _waits(past: Sequence[Entry]) -> Waiting | None:
    told = list(filter(is_event, past))
    last = told[-1].event() if told and told[-1].type == "waiting" else None
    return last if isinstance(last, Waiting) else None


async def _post(store: Store, run_id: str, message: dict[str, Any]) -> None:
    def work(tx: Transaction) -> None:
        if logs.find(tx, run_id) is None:
            raise not_found(run_id)
        inbox.post(tx, run_id, dump(message))

    await store.write(work)


async def reward(store: Store, run_id: str, value: float, source: str = "") -> None:
    """Record how good a run was, for whoever learns from it. Raises `LeaseHeld` while it runs."""
    journal = await Journal.reopen(store, run_id)
    journal.add("rewarded", {"value": value}, {"source": source} if source else None)
    await journal.close()


async def redact(store: Store, run_id: str, event: int) -> None:
    """Delete what was said in one event of a run; the chain stays valid, but the run can no longer
    be resumed. Raises `LeaseHeld` while it runs, `RunNotFound`, and `ConfigError`."""
    journal = await Journal.reopen(store, run_id)
    try:
        addresses = await _contents_of(store, run_id, event)
        records = await store.read(lambda tx: logs.entries(tx, run_id))
        named = [record.sequence for record in records if addresses & {*record.blobs}]
        journal.add("redacted", {"records": named})
        await journal.settle()
        await store.write(lambda tx: [blobs.remove(tx, run_id, address) for address in addresses])
    finally:
        await journal.close()


async def remove(store: Store, run_id: str) -> list[str]:
    """Delete all that was said in a run, in those of its subagents, and in what they shared; the
    chains stay valid. Returns the ids of these runs, its own first. Raises `RunNotFound`, and
    `LeaseHeld` while one of them runs; nothing is deleted then."""
    below = await store.read(lambda tx: list(_below(tx, run_id)))
    runs = [run_id, *(log.name for log in below if log.kind == SUBAGENT)]
    async with AsyncExitStack() as stack:
        for name in runs:
            journal = await Journal.reopen(store, name)
            stack.push_async_callback(journal.close)
            journal.add("removed", {})
        names = [*runs, *(log.name for log in below if log.kind != SUBAGENT)]
        await store.write(lambda tx: [blobs.remove_all(tx, name) for name in names])
    return runs


def _below(tx: Transaction, run_id: str) -> Iterator[Log]:
    """What belongs to a run: its subagents' runs, theirs, and what they share. A fork is a run of
    its own."""
    for log in logs.children(tx, run_id):
        if log.kind != KIND:
            yield log
            yield from _below(tx, log.name)


async def _contents_of(store: Store, run_id: str, event: int) -> set[bytes]:
    """Of the record of the event of that number, and of that of the salt: with the salt gone, the
    hashes of requests cannot tell what the event said."""
    past = await read(store, run_id)
    told = [entry for entry in past if is_event(entry)]
    if not 0 <= event < len(told):
        raise ConfigError(f"{run_id} has no event {event}; it has {len(told)}, from 0")
    at = told[event].sequence
    wanted = {at, *(e.sequence for e in past if e.type == "salted")}
    records = await store.read(lambda tx: logs.entries(tx, run_id))
    if not records[at].blobs:
        raise ConfigError(
            f"event {event} of {run_id} ({told[event].type}) holds no words to delete"
        )
    return {address for entry in records if entry.sequence in wanted for address in entry.blobs}


async def fork(
    store: Store, run_id: str, *, at: int | None = None, id: str = "", kind: str = KIND
) -> str:
    """A new run that has done what this one did, up to the end of step `at` or up to now; returns
    its id. It is a child of this one. Raises `RunNotFound`, `ConfigError`, and `RunDamaged` where
    something of that was changed or deleted."""
    past = without_abandoned(await read(store, run_id, verified=True))
    begins = steps_of(past)
    at = len(begins) if at is None else at
    if not 0 <= at <= len(begins):
        raise ConfigError(f"{run_id} has {len(begins)} steps; fork it at one of them, or at 0")
    after = begins[at - 1] if at else -1
    # What ends a step: the next one, or the next leg; an answer in between belongs to it.
    ends = sorted([*begins, *(e.sequence for e in past if e.type == "leg_started")])
    end = next((sequence for sequence in ends if sequence > after), past[-1].sequence + 1)
    wanted = {entry.sequence for entry in past if entry.sequence < end}
    kept = await store.read(lambda tx: _copies(tx, run_id, wanted))
    id = id or new_run_id()
    journal = await Journal.begin(store, id, parent=run_id, kind=kind)
    try:
        journal.add("forked", {"run": run_id, "step": at, "records": end})
        journal.copy(kept)
    finally:
        await journal.close()
    return id


def _copies(tx: Transaction, run_id: str, wanted: Container[int]) -> list[Record]:
    contents = blobs.contents_of(tx, run_id)
    records = [entry for entry in logs.entries(tx, run_id) if entry.sequence in wanted]
    if any(address not in contents for entry in records for address in entry.blobs):
        raise RunDamaged(
            f"something that was said in {run_id} was deleted, so it can no longer be forked"
        )
    return [
        Record(entry.body, tuple(contents[address] for address in entry.blobs)) for entry in records
    ]
