"""Who changed what: a log of `store`, chained and sealed like every other.

Each change is written in the transaction that makes it, so that there is none without its entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from chogori.store import Record, Transaction, Verdict, logs, verify

LOG = "audit"
Change: TypeAlias = str | int | float | bool | list[str] | None


@dataclass(frozen=True, slots=True)
class Act:
    """An entry of the audit log."""

    at: float
    """Seconds since the epoch."""
    actor: str
    action: str
    subject: str
    """What was changed: `key:ID`, `organisation:NAME`, `model:NAME`, ..."""
    changes: dict[str, Change]


def note(
    tx: Transaction, actor: str, action: str, subject: str, changes: Mapping[str, Change]
) -> int:
    """Write down a change of the service; returns its new version, which the rows that were
    changed are to be marked with."""
    if logs.find(tx, LOG) is None:
        logs.create(tx, LOG, LOG)
    entry = {
        "at": tx.now,
        "actor": actor,
        "action": action,
        "subject": subject,
        "changes": dict(changes),
    }
    logs.append(tx, LOG, [Record(orjson.dumps(entry))])
    [(version,)] = tx.execute("update service set version = version + 1 returning version")
    return version


def acts(tx: Transaction) -> list[Act]:
    """Everything that was changed, in order."""
    return [Act(**orjson.loads(entry.body)) for entry in logs.entries(tx, LOG)]


def check(tx: Transaction) -> Verdict | None:
    """Whether the log is what was written; None where nothing was changed yet."""
    return verify(tx, LOG) if logs.find(tx, LOG) else None
