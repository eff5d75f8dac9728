"""Messages of other processes to whoever drives a log.

They wait in the database. The driver looks for them in the transaction in which it appends, so that
looking costs no commit, and asks first whether there may be any (`Store.rung`), so that it need not
wait for one. It takes them off in the transaction that appends what it makes of them: none is lost,
and none is heard twice, however the driver ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from chogori.errors import StoreError
from chogori.store.store import Transaction


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody left for the driver of a log."""

    number: int
    """Of its log, from 1; none is given twice."""
    body: bytes


def post(tx: Transaction, log: str, body: bytes) -> int:
    """Leave a message; returns its number. Raises `StoreError` if there is no such log."""
    found = tx.execute("select id, posted + 1 from logs where name = ?", (log,))
    if not found:
        raise StoreError(f"there is no log {log}")
    [(id, number)] = found
    tx.execute("update logs set posted = ? where id = ?", (number, id))
    tx.execute("insert into messages values (?, ?, ?)", (id, number, body))
    tx.ring()
    return number


def waiting(tx: Transaction, log: str, after: int = 0) -> list[Message]:
    """The messages that wait and have a number above `after`, oldest first."""
    rows = tx.execute(
        "select number, body from messages "
        "where log = (select id from logs where name = ?) and number > ? order by number",
        (log, after),
    )
    return [Message(*row) for row in rows]


def take(tx: Transaction, log: str, through: int) -> None:
    """Take off the messages up to number `through`: they wait no longer."""
    tx.execute(
        "delete from messages where log = (select id from logs where name = ?) and number <= ?",
        (log, through),
    )
