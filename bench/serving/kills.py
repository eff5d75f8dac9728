"""A server that is killed under load, again and again: its books stay right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from . import processes
from .asking import Seen, chance, client
from .books import Books
from .processes import MODEL, Serving
from .rows import Row, exactly
from .upstream_checks import model_of

AT_ONCE = 16
LEFT = 500_000
"""Microdollars that are left at the end, for a request that needs nearly all of them."""
FITS, TOO_LARGE = 199_000, 201_000
"""Tokens, which cost 2.5 microdollars each."""


def killing(data: Path, number: int) -> Iterator[Row]:
    """SIGKILL, at a random instant, so many times."""
    key = processes.set_up(data, microdollars=10**9)
    whole: list[Seen] = []
    with processes.upstream() as upstream:
        models = [model_of(MODEL, upstream)]
        random = chance(number)
        for _ in range(number):
            server = processes.start(models, data, key=key)
            whole += asyncio.run(_until_killed(server, random.uniform(0.2, 1.2)))
        processes.leave(data, LEFT)
        with processes.chogori(models, data, key=key) as server:
            last = asyncio.run(_all_of_it(server))
    books = Books(data)
    yield exactly(f"{number} kills: replies that reached a client", "many", _told(len(whole)))
    yield exactly("debits equal credits, each bill paid once", [], books.problems())
    yield exactly("whole replies not billed exactly once", 0, books.not_billed_once(whole))
    yield exactly("after it nothing is held: all of the balance can be used", [429, 200], last)


def _told(number: int) -> str:
    return "many" if number > 100 else f"only {number}"


async def _until_killed(server: Serving, seconds: float) -> list[Seen]:
    """What reached clients whole before the kill."""
    whole: list[Seen] = []

    async def ask(number: int) -> None:
        while server.process.poll() is None:
            seen = await asker.ask(stream=number % 2 == 0)
            if seen.is_good:
                whole.append(seen)

    async with client(server) as asker, asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(ask(number))
        await asyncio.sleep(seconds)
        server.kill()
    return whole


async def _all_of_it(server: Serving) -> list[int]:
    """How a request fares that may cost more than there is, and one that may cost nearly all."""
    async with client(server) as asker:
        asked = [await asker.ask(max_tokens=tokens) for tokens in (TOO_LARGE, FITS)]
    return [seen.status for seen in asked]
