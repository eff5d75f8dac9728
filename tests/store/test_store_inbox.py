"""Laws of the inbox: every message is heard once, in order, however the driver ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_harness import appended, bodies

from chogori.store import Record, StoreError, Transaction, inbox, logs, open_store
from chogori.store.inbox import Message


def hear(tx: Transaction) -> list[Message]:
    """What a driver does: records each message, and takes it off, in one transaction."""
    messages = inbox.waiting(tx, "run")
    for message in messages:
        logs.append(tx, "run", [Record(message.body)])
        inbox.take(tx, "run", through=message.number)
    return messages


async def test_messages_wait_in_order_for_the_driver_of_their_log(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store, open_store(tmp_path) as other:
        for name in ("run", "another"):
            await appended(store, name, [])
        for body in (b"one", b"two"):
            await other.write(lambda tx, body=body: inbox.post(tx, "run", body))
        await other.write(lambda tx: inbox.post(tx, "another", b"not for you"))
        assert await store.read(lambda tx: inbox.waiting(tx, "run", after=1)) == [
            Message(2, b"two")
        ]
        assert await store.write(hear) == [Message(1, b"one"), Message(2, b"two")]
        assert await store.write(hear) == []
        assert await other.write(lambda tx: inbox.post(tx, "run", b"three")) == 3
        assert await store.write(hear) == [Message(3, b"three")], "no number is given twice"
        assert await bodies(store, "run") == [b"one", b"two", b"three"]


async def test_a_message_whose_record_failed_is_still_waiting(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "run", [])
        await store.write(lambda tx: inbox.post(tx, "run", b"stop"))

        def fail(tx: Transaction) -> None:
            hear(tx)
            raise RuntimeError("after it was taken")

        with pytest.raises(RuntimeError, match="after it was taken"):
            await store.write(fail)
        assert await bodies(store, "run") == []
        assert await store.write(hear) == [Message(1, b"stop")]


async def test_a_message_needs_a_log(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        with pytest.raises(StoreError, match="there is no log run"):
            await store.write(lambda tx: inbox.post(tx, "run", b"hello"))
        assert await store.read(lambda tx: inbox.waiting(tx, "run")) == []
