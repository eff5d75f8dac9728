"""Clients that leave at random instants: nothing of them stays."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from chogori.service import Limits

from . import processes
from .asking import PATIENCE_SECONDS, Seen, chance, client, many
from .books import Books
from .processes import MODEL, Serving
from .rows import Row, at_most, exactly
from .upstream_checks import model_of

AT_ONCE = 50
STAYING = 0.25
"""Of the clients, those that wait however long it takes."""
LONGEST = 1.2
"""What others wait at most, in the times that a reply takes here and now."""
AGAIN_SECONDS = 0.02
SPARE_DESCRIPTORS = 8
"""Of what may be open at one instant and not at another: the database's log, an idle connection."""


def leaving(data: Path, number: int) -> Iterator[Row]:
    """Half of the requests are streams; some clients wait until they have it all."""
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
    connections, before = upstream.descriptors, await _settled(server)
    async with client(server) as asker:
        began = time.perf_counter()
        first = await many(AT_ONCE, AT_ONCE, lambda index: asker.ask(stream=index % 2 == 0))
        patience = _patience(number, LONGEST * (time.perf_counter() - began))

        async def work(index: int) -> Seen:
            stream, seconds = index % 2 == 0, patience[index]
            return await _let_in(lambda: asker.ask(stream=stream, leave_after=seconds))

        seen = await many(number, AT_ONCE, work)
    after = await _settled(server)
    # Connections to the upstream are kept for the next requests, never more than were at once.
    kept = min(upstream.descriptors - connections, AT_ONCE)
    async with client(server) as asker:
        # Each slot and lease must be free for these to be let in at once.
        full = await many(AT_ONCE, AT_ONCE, lambda _: asker.ask("quick"))
    books = Books(data)
    whole = [one for one in (*first, *seen) if one.is_good]
    stayed = [one for one, seconds in zip(seen, patience, strict=True) if seconds is None]
    return [
        exactly("clients that left or stayed", number, len(seen)),
        exactly("some stayed, some left", True, any(map(_good, stayed)) and _some_left(seen)),
        exactly("those that stayed got it all", len(stayed), sum(map(_good, stayed))),
        exactly("requests still under way", 0, after[1]),
        at_most("descriptors left open", SPARE_DESCRIPTORS, after[0] - before[0] - kept, "", 0),
        exactly(f"{AT_ONCE} at once find every slot free", AT_ONCE, sum(map(_good, full))),
        exactly("streams that the upstream still writes", 0, upstream_open(upstream)),
        exactly("the ledger balances", [], books.problems()),
        exactly("whole replies not billed once", 0, books.not_billed_once(whole)),
    ]


def _patience(number: int, longest: float) -> list[float | None]:
    """How many seconds each client waits; None: to the end."""
    random = chance(number)
    drawn = [(random.random(), random.uniform(0, longest)) for _ in range(number)]
    return [None if staying < STAYING else seconds for staying, seconds in drawn]


def _good(seen: Seen) -> bool:
    return seen.is_good


def _some_left(seen: list[Seen]) -> bool:
    return any(one.status == 0 for one in seen)


async def _let_in(ask: Callable[[], Awaitable[Seen]]) -> Seen:
    """Asks again while refused: one that has just left may hold its slot a moment longer."""
    until = time.perf_counter() + PATIENCE_SECONDS
    while (seen := await ask()).status == 429 and time.perf_counter() < until:
        await asyncio.sleep(AGAIN_SECONDS)
    return seen


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
