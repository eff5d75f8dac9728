"""Laws of the bell: whoever posts is noticed by every process that drives, at the next step."""

from __future__ import annotations

from pathlib import Path

from store_harness import appended

from chogori.store import Record, inbox, open_store
from chogori.store.bell import NAME


async def test_a_post_rings_in_every_process_and_nothing_else_does(tmp_path: Path) -> None:
    async with open_store(tmp_path) as first, open_store(tmp_path) as second:
        quiet = second.rung()
        await appended(first, "run", [Record(b"0")])
        assert second.rung() == quiet, "an append is no news to others"
        await first.write(lambda tx: inbox.post(tx, "run", b"hello"))
        assert second.rung() not in (quiet, None)
        heard = second.rung()
        await first.write(lambda tx: inbox.post(tx, "run", b"again"))
        assert second.rung() != heard


async def test_where_nobody_can_ring_messages_wait_all_the_same(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await appended(store, "run", [])
        tmp_path.joinpath(NAME).mkdir()  # so that it cannot be opened for writing
        assert await store.write(lambda tx: inbox.post(tx, "run", b"hello")) == 1
        assert [m.body for m in await store.read(lambda tx: inbox.waiting(tx, "run"))] == [b"hello"]
