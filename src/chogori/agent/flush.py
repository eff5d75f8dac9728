"""What the journal has the store do: records of one run, and those of many runs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from chogori.errors import StoreError
from chogori.store import Lease, Record, Together, Transaction, inbox, logs


@dataclass(slots=True)
class End:
    """Where a log ends, as far as is known. For the works alone, which are done one after another;
    one that is done in another process has a copy, which may be out of date."""

    known: logs.End | None = None


@dataclass(frozen=True, slots=True)
class Flush(Together[list[inbox.Message]]):
    """The writing of records: brings what was said to the run since."""

    run_id: str
    records: Sequence[Record]
    lease: Lease
    first: int
    """The number of the first record."""
    end: End
    known: int
    """The number of the last message that is known."""
    acted_on: int
    """That of the last message to be taken out of the inbox, or 0."""
    parent: str | None
    kind: str

    @classmethod
    def together(cls, them: Sequence[Self], tx: Transaction) -> list[list[inbox.Message]]:
        for it in them:
            if it.first == 0:
                logs.create(tx, it.run_id, it.kind, it.parent)
        appended = logs.append_all(
            tx, [logs.Append(it.run_id, it.records, it.lease, it.end.known) for it in them]
        )
        return [it.written(done, tx) for it, done in zip(them, appended, strict=True)]

    def written(self, done: logs.Appended, tx: Transaction) -> list[inbox.Message]:
        """What was said. Raises `StoreError` if the records would not be where they belong."""
        self.end.known = done.end  # if this is undone, the next append finds out
        if done.sequence != self.first:
            raise StoreError(
                f"records of the run {self.run_id} could not be written, so what follows them is "
                "not written either; chogori runs resume goes on from what is there"
            )
        if self.acted_on:
            inbox.take(tx, self.run_id, self.acted_on)
        return inbox.waiting(tx, self.run_id, self.known) if done.posted > self.known else []
