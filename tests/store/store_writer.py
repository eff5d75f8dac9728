"""A program that writes to a store until it is killed, and says what it was told is safe.

    store_writer.py FOLDER LOG COUNT

It takes the lease of LOG, appends entries from several tasks, and prints the lines `ready` and then
the sequence of each entry as it is acknowledged. After COUNT entries it waits for the end of its
input, gives the lease back, and ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from chogori.store import Lease, Record, SqliteStore, Transaction, leases, logs, open_store

TASKS = 5


def record(sequence: int) -> Record:
    """The entry of that sequence: what is expected of it is known from the number alone."""
    return Record(b"entry %d" % sequence, (b"%d, " % sequence * (sequence % 7 * 100),))


def append(tx: Transaction, name: str, lease: Lease) -> int:
    log = logs.find(tx, name)
    assert log is not None
    return logs.append(tx, name, [record(log.count)], lease).sequence


async def write(store: SqliteStore, name: str, lease: Lease, count: int) -> None:
    for _ in range(count):
        sequence = await store.write(lambda tx: append(tx, name, lease))
        print(sequence, flush=True)


async def main(folder: Path, name: str, count: int) -> None:
    async with open_store(folder) as store:
        lease = await store.write(lambda tx: leases.acquire(tx, name, 3_600))
        if await store.read(lambda tx: logs.find(tx, name)) is None:
            await store.write(lambda tx: logs.create(tx, name, "run"))
        print("ready", flush=True)
        await asyncio.gather(*(write(store, name, lease, count // TASKS) for _ in range(TASKS)))
        await asyncio.to_thread(sys.stdin.read)
        await store.write(lambda tx: leases.release(tx, lease))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
