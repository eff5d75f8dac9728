"""Clients that leave at random instants: nothing of them stays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from chogori.service import Limits

from . import processes
from .asking import Seen, chance, client, many
from .books import Books
from .processes import MODEL, Serving
from .rows import Row, at_most, exactly
from .upstream_checks import model_of

AT_ONCE = 50
LONGEST_SECONDS = 0.8
"""A paced reply takes 0.66 s."""
SPARE_DESCRIPTORS = 8
"""Of what may be open at one instant and not at another: the database's log, an idle connection."""


def leaving(data: Path, number: int) -> Iterator[Row]:
    """Half of the requests are streams; some clients wait long enough to get it all."""
    limits = Limits(
        requests_per_minute=1_000_000,
        tokens_per_minute=10**12,
        tokens_per_day=10**12,
        concurrent_requests=AT_ONCE,
    )
    key = processes.set_up(data, limits)
    with processes.upstream() as upstream:
        models = [model_of(MODEL, upstream, "paced"), model_of("quick", upstream)]
        with processes.chogori(models, data, key=key) as server:
            yield from asyncio.run(_leaving(server, upstream, data, number))


async def _leaving(server: Serving, upstream: Serving, data: Path, number: int) -> list[Row]:
    random = chance(number)
    patience = [random.uniform(0, LONGEST_SECONDS) for _ in range(number)]
    before = await _settled(server)
    async with client(server) as asker:

        async def work(index: int) -> Seen:
            return await asker.ask(stream=index % 2 == 0, leave_after=patience[index])

        seen = await many(number, AT_ONCE, work)
    after = await _settled(server)
    async with client(server) as asker:
        # Each slot and lease must be free for these to be let in at once.
        full = await many(AT_ONCE, AT_ONCE, lambda _: asker.ask("quick"))
    books = Books(data)
    whole = [one for one in seen if one.is_good]
    return [
        exactly("clients that left or stayed", number, len(seen)),
        exactly("some stayed, some left", True, 0 < len(whole) < number),
        exactly("requests still under way", 0, after[1]),
        at_most("descriptors left open", SPARE_DESCRIPTORS, after[0] - before[0], "", 0),
        exactly(f"{AT_ONCE} at once find every slot free", AT_ONCE, sum(map(_good, full))),
        exactly("streams that the upstream still writes", 0, upstream_open(upstream)),
        exactly("the ledger balances", [], books.problems()),
        exactly("whole replies not billed once", 0, books.not_billed_once(whole)),
    ]


def _good(seen: Seen) -> bool:
    return seen.is_good


def upstream_open(upstream: Serving) -> int:
    """Replies that were begun, and neither finished nor given up."""
    tally = upstream.get("/tally")
    done = sum(upstream.get("/finished").values())
    return int(tally.get("paced", 0) - tally.get("left", 0) - done)


async def _settled(server: Serving) -> tuple[int, int]:
    """The open descriptors and the requests under way, once nothing changes any more."""
    seen = (-1, -1)
    for _ in range(40):
        await asyncio.sleep(0.25)
        now = server.descriptors, under_way(server.told("/metrics"))
        if now == seen and now[1] == 0:
            return now
        seen = now
    return seen


def under_way(metrics: str) -> int:
    """Requests that are being answered, the one that asks excepted."""
    found = re.search(r"^chogori_requests_running ([0-9.]+)", metrics, re.MULTILINE)
    assert found is not None, "the server says how many requests are under way"
    return int(float(found[1])) - 1
