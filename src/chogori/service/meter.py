"""Records bills, so that each outlives the process before the last byte of its answer is sent.

While bills are being written, others gather; they are written next, in one work of the store. The
works are not synced: a bill is safe from the end of the process when its transaction is committed,
and from that of the power with the next synced work or checkpoint. Keys, top-ups and the audit log
are synced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from chogori.service import bills
from chogori.service.bills import Bill
from chogori.service.ledger import Funds
from chogori.store import Store, StoreError

_MOST = 500
"""Bills in one statement: SQLite takes 32,766 parameters."""
_Waiting: TypeAlias = tuple[Bill, asyncio.Future[None]]


class Meter:
    """One for each store."""

    def __init__(self, store: Store, told: Callable[[dict[str, Funds]], None]) -> None:
        """`told` hears what organisations have left after each transaction."""
        self._store = store
        self._told = told
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        """Works that are being done."""

    def record(self, bill: Bill) -> asyncio.Future[None]:
        """Have `bill` recorded; the future is done once it is, also where nobody waits for it.
        It fails with what went wrong, and then nothing was billed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((bill, future))
        if not self._under_way:
            self._write_next()
        return future

    def _write_next(self) -> None:
        group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        if group:
            self._write(group)

    def _write(self, group: list[_Waiting]) -> None:
        work = partial(bills.write, bills=[bill for bill, _ in group])
        try:
            written = self._store.submit(work, synced=False)
        except StoreError as error:  # it is closed
            _fail(group, error)
            return
        self._under_way += 1
        written.add_done_callback(partial(self._written, group))

    def _written(self, group: list[_Waiting], written: asyncio.Future[dict[str, Funds]]) -> None:
        self._under_way -= 1
        if (error := written.exception()) is None:
            self._told(written.result())
            for _, future in group:
                if not future.done():
                    future.set_result(None)
        elif len(group) == 1:
            _fail(group, error)
        else:  # one that cannot be written is to fail alone
            for each in group:
                self._write([each])
        if not self._under_way:
            self._write_next()


def _fail(group: list[_Waiting], error: BaseException) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
