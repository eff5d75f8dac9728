"""The journal of a run: what happened, in the run's own words, on the append-only log of `store`.

A record is a small JSON object and, apart from it, a blob with whatever a person wrote or a model
or a tool said: deleting the blob (`redact`) leaves the chain whole. Every record of an event says

    {"type": "tool_finished", "at": 1795312345.1, "branch": "2", "clock": [3.1, 3.4], ...}

`at` is the time of day, for people. `branch` is missing for the run's own line. `clock` holds what
the loop read from its clock since the record before, so that a run that is driven again decides as
it did; `unread`, how many seconds ago that was, where it was long. Calls are named by their place
(the reply of the branch, and which call of it). Deltas are not kept. Records that are no events:
noted, reply_cut, resumed, stopped, rewarded, forked.

Records are gathered and written together; `settle` returns once they are on the disk, and what
depends on them waits for it: a tool that has an effect for the record of its intent, an answer for
all before it. What can be done again waits for nothing: a request and a pure call change nothing
in the world, and what was recorded before them is being written meanwhile.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from chogori.agent.bodies import dump, load
from chogori.agent.clock import Clock
from chogori.agent.flush import End, Flush
from chogori.chat import Event
from chogori.chat.event_json import VERSION, decode, encode
from chogori.errors import ConfigError, RunDamaged, RunNotFound
from chogori.store import (
    Lease,
    Record,
    Store,
    Transaction,
    blobs,
    inbox,
    leases,
    logs,
    verify,
)
from chogori.store.owners import this_process

KIND, SUBAGENT = "run", "subagent"
"""Kinds of logs: the run of a person's task, and that of a task which another run assigned."""
LEASE_SECONDS = 30.0
LONG_SECONDS = 1.0
LATER_SECONDS = 0.2
"""What can wait is written by then."""
_PUBLIC = frozenset(
    {"usage", "effect", "stopped_by", "guard", "policy", "budget", "model", "role", "report"}
)
"""Fields that are told beside the numbers; all others are in the blob."""
NOTES = (
    *("salted", "resumed", "stopped", "abandoned", "rewarded"),
    *("redacted", "removed", "forked"),
)
"""Records that are nothing that the run did. What it does need not follow one when it is driven
again, so none holds what its clock said."""
_NUMBERS = frozenset({bool, int, float, type(None)})
_HEAD = ("version", "sequence", "type")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record, read back."""

    sequence: int
    type: str
    at: float
    branch: str
    fields: Mapping[str, Any]
    """Public and private ones; without the private ones where `redacted`."""
    redacted: bool = False

    @classmethod
    def of(cls, record: logs.Entry, contents: Mapping[bytes, bytes]) -> Entry:
        """A record of the log, `contents` holding its blobs. Raises `RunDamaged`."""
        return _entry(record, contents)

    @property
    def place(self) -> tuple[int, int]:
        """Of a call: the reply of the branch, and which call of it."""
        return self.fields["turn"], self.fields["index"]

    def event(self, **more: Any) -> Event:
        """The event that was recorded. Raises `RunDamaged`."""
        told = {"version": VERSION, "sequence": self.sequence, "type": self.type}
        try:
            return decode({**told, **self.fields, **more})[1]
        except ConfigError as error:
            what = "was redacted" if self.redacted else f"cannot be read: {error}"
            raise RunDamaged(f"record {self.sequence} of the run {what}") from error


class Journal:
    """One run's, open for writing: whoever holds it drives the run. `close` it."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        lease: Lease,
        *,
        count: int = 0,
        posted: Sequence[inbox.Message] = (),
        parent: str | None = None,
        kind: str = KIND,
        now: Callable[[], float] = time.time,
    ) -> None:
        """The log of a run that has no records is made with the first."""
        self._store = store
        self._run_id = run_id
        self._lease = lease
        self._parent = parent
        self._kind = kind
        self._now = now
        self._gathered: list[Record] = []
        self._end = End()
        self._owes = False
        """Whether anything is gathered that may not wait for the next flush."""
        self._written: asyncio.Future[list[inbox.Message]] | None = None
        self._due: asyncio.TimerHandle | None = None
        """When what is gathered is written at the latest."""
        self._failure: BaseException | None = None
        """Why records could not be written: nothing is written after that."""
        self._rung: int | None = None
        """What the store had rung when messages were last looked for."""
        self._heartbeat = asyncio.create_task(self._beat())
        self.count = count
        """Records, those included that are still gathered."""
        self.salt = secrets.token_bytes(16)
        """What the hashes of the run's requests are salted with; deleted with what was said."""
        self._posted: list[inbox.Message] = []
        self._known = self._acted_on = self._taken = 0
        """Numbers of messages: the last that is known, acted on, and taken out of the inbox."""
        self._receive(posted)
        self.clock = Clock()

    @classmethod
    async def begin(
        cls, store: Store, run_id: str, *, parent: str | None = None, kind: str = KIND
    ) -> Journal:
        """A new one. Raises `ConfigError` where there is a run of that id."""

        owner = this_process()  # the work may be done in another one

        def work(tx: Transaction) -> Lease:
            if logs.find(tx, run_id) is not None:
                raise ConfigError(f"there is a run {run_id} already: resume it, or name another id")
            return leases.acquire(tx, lease_name(run_id), LEASE_SECONDS, owner)

        return cls(store, run_id, await store.write(work), parent=parent, kind=kind)

    @classmethod
    async def reopen(cls, store: Store, run_id: str) -> Journal:
        """That of a run that exists. Raises `RunNotFound`, and `LeaseHeld` if it is driven."""

        owner = this_process()

        def work(tx: Transaction) -> tuple[int, Lease, list[inbox.Message]]:
            found = logs.find(tx, run_id)
            if found is None:
                raise not_found(run_id)
            lease = leases.acquire(tx, lease_name(run_id), LEASE_SECONDS, owner)
            return found.count, lease, inbox.waiting(tx, run_id)

        count, lease, posted = await store.write(work)
        return cls(store, run_id, lease, count=count, posted=posted)

    async def close(self) -> None:
        """Write what is gathered, and let the run go."""
        self._heartbeat.cancel()
        await asyncio.gather(self._heartbeat, return_exceptions=True)
        self.flush()
        lease = self._lease
        released = self._store.submit(lambda tx: leases.release(tx, lease))
        try:
            await self.settle()
        finally:
            await released

    def add(
        self,
        type: str,
        public: Mapping[str, Any],
        private: Mapping[str, Any] | None = None,
        *,
        can_wait: bool = False,
    ) -> int:
        """Gather a record; returns its number. One that `can_wait` may be left for the next
        flush: what it tells of is soon done again."""
        body: dict[str, Any] = {"type": type, "at": round(self._now(), 3), **public}
        if self.clock.is_read and type not in NOTES:
            body["clock"] = self.clock.taken()
        elif (unread := self.clock.ago) >= LONG_SECONDS:
            body["unread"] = round(unread, 3)
        self._gathered.append(Record(dump(body), (dump(private),) if private else ()))
        self._owes |= not can_wait
        self.count += 1
        return self.count - 1

    def copy(self, records: Sequence[Record]) -> None:
        """Gather records of another run as they are."""
        self._gathered += records
        self._owes = True
        self.count += len(records)

    def add_event(
        self,
        event: Event,
        public: Mapping[str, Any] = {},
        *,
        without: Sequence[str] = (),
        can_wait: bool = False,
    ) -> int:
        """Gather the record of an event, `public` said beside it and some of its fields not."""
        told = encode(event, 0)
        open_: dict[str, Any] = {}
        private: dict[str, Any] = {}
        for name, value in told.items():
            if name not in _HEAD and name not in without:
                (open_ if _is_public(name, value) else private)[name] = value
        return self.add(told["type"], {**open_, **public}, private, can_wait=can_wait)

    def flush_owed(self) -> None:
        """`flush`, unless all that is gathered can wait."""
        if self._owes:
            self.flush()

    def flush_later(self) -> None:
        """`flush_owed`, and before long what can wait, too."""
        self.flush_owed()
        if self._gathered and self._due is None:
            self._due = asyncio.get_running_loop().call_later(LATER_SECONDS, self.flush)

    def flush_soon(self) -> None:
        """`flush_owed`, together with what else comes at the same time."""
        if self._owes:
            asyncio.get_running_loop().call_soon(self.flush_owed)

    def flush(self) -> None:
        """Have what is gathered written, without waiting for it."""
        if self._gathered:
            self._write()

    def _write(self) -> None:
        records, self._gathered, self._owes = self._gathered, [], False
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._written = self._store.submit(
            Flush(
                self._run_id,
                records,
                self._lease,
                self.count - len(records),
                self._end,
                self._known,
                self._acted_on if self._acted_on > self._taken else 0,
                self._parent,
                self._kind,
            )
        )
        self._taken = self._acted_on
        self._written.add_done_callback(self._heard)

    async def say(self, text: str) -> None:
        """A person says something here, as others do from elsewhere."""
        run_id, body = self._run_id, dump({"text": text})
        number = await self._store.write(lambda tx: inbox.post(tx, run_id, body))
        self._receive([inbox.Message(number, body)])

    @property
    def said(self) -> list[Mapping[str, Any]]:
        """What people have said to this run since it last heard them: {"text"}, {"pause"}, or
        {"call", "yes"}, which is meant for the waiting that it was said in."""
        return [orjson.loads(message.body) for message in self._posted]

    def hear(self) -> list[Mapping[str, Any]]:
        """`said`, and from now on that counts as heard. Whatever is made of it is to be added
        before the next flush: with that it is taken out of the inbox."""
        said = self.said
        if self._posted:
            self._acted_on = self._posted[-1].number
        self._posted = []
        return said

    def _heard(self, written: asyncio.Future[list[inbox.Message]]) -> None:
        if not written.cancelled() and (error := written.exception()) is not None:
            self._failure = self._failure or error
        elif not written.cancelled():
            self._receive(written.result())

    def _receive(self, messages: Sequence[inbox.Message]) -> None:
        new = [message for message in messages if message.number > self._known]
        if new:
            self._posted += new
            self._known = new[-1].number

    async def catch_up(self) -> None:
        """Have it known what people have said up to now. Raises `StoreError`."""
        rung = self._store.rung()
        if rung is None or rung != self._rung:
            self._write()  # though nothing be gathered: what was said comes with that
            await self.settle()
            self._rung = rung

    async def send(self) -> None:
        """Have what is gathered written, once what was sent before is on the disk: a run may be
        ahead of the disk by so much. Raises `StoreError`."""
        await self._landed()
        self.flush()

    async def settle(self) -> None:
        """Wait until everything that was added is on the disk. Raises `StoreError`."""
        self.flush()
        await self._landed()

    async def _landed(self) -> None:
        written = self._written  # another may flush while this waits
        if written is None:
            return
        try:
            if not written.done():
                # Several may wait for the same commit: one that is cancelled must not end it.
                await asyncio.shield(written)
            written.result()
        except Exception as error:
            raise self._failure or error from None

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            renew = partial(leases.renew, lease=self._lease, seconds=LEASE_SECONDS)
            self._lease = await self._store.write(renew)


async def read(store: Store, run_id: str, *, verified: bool = False) -> list[Entry]:
    """The records of a run, in order; `verified`: they are those that were written. Raises
    `RunNotFound` and `RunDamaged`."""
    return await store.read(lambda tx: read_in(tx, run_id, verified=verified))


def read_in(tx: Transaction, run_id: str, *, verified: bool = False) -> list[Entry]:
    """As `read`, in a transaction that does more."""
    if logs.find(tx, run_id) is None:
        raise not_found(run_id)
    if verified and (problem := verify(tx, run_id).problem):
        raise RunDamaged(f"the run {run_id} was changed after it was written: {problem}")
    contents = blobs.contents_of(tx, run_id)
    return [_entry(entry, contents) for entry in logs.entries(tx, run_id)]


def not_found(run_id: str) -> RunNotFound:
    """There is no such run."""
    return RunNotFound(f"there is no run {run_id!r} here; see: chogori runs list")


def _is_public(name: str, value: Any) -> bool:
    return name in _PUBLIC or type(value) in _NUMBERS


def lease_name(run_id: str) -> str:
    """What whoever drives the run holds."""
    return f"{KIND} {run_id}"


def _entry(entry: logs.Entry, contents: Mapping[bytes, bytes]) -> Entry:
    try:
        fields, kept = load(entry.body), [contents.get(address) for address in entry.blobs]
        for content in kept:
            fields |= load(content) if content is not None else {}
        type, at, branch = fields.pop("type"), fields.pop("at"), fields.pop("branch", "")
        return Entry(entry.sequence, type, at, branch, fields, None in kept)
    except (ValueError, KeyError, TypeError) as error:
        raise RunDamaged(
            f"record {entry.sequence} of the run is damaged ({error}); "
            "chogori runs verify says more"
        ) from error
