"""Upstreams that fail, and how requests are shared out among several."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from . import processes
from .asking import Seen, client, many
from .processes import MODEL, Serving
from .rows import Row, at_most, exactly

WAYS = ("reset", "html", "down", "half", "error", "dies")
"""Each is told to the client as an error."""


def model_of(name: str, upstream: Serving, way: str = "", weight: float | None = None) -> str:
    """A `--model` of the server."""
    weighted = name if weight is None else f"{name}@{weight:g}"
    return f"{weighted}={upstream.url}{way and '/' + way}/v1#{MODEL}"


def failing(upstream: Serving, data: Path) -> Iterator[Row]:
    """No way of failing is passed on as it is, or ends in silence."""
    key = processes.set_up(data)
    names = (*WAYS, "undone", "hang")
    models = [model_of(name, upstream, name) for name in names]
    with processes.chogori(models, data, key=key) as server:
        wrong = asyncio.run(_failing(server))
        yield exactly("upstreams that fail, told in OpenAI's form", "all", wrong or "all")
        asked = set(upstream.get("/tally")) - {"left"}
        yield exactly("the same: ways that were tried", len(names), len(asked))
        yield exactly("the server is as before", '{"status":"ready"}', server.told("/readyz"))


async def _failing(server: Serving) -> str:
    """Which ways were not told well."""
    wrong: list[str] = []
    async with client(server) as asker:
        for stream in (False, True):
            how = "stream" if stream else "whole"
            for way in WAYS:
                seen = await asker.ask(way, stream=stream)
                if not seen.fails_well:
                    wrong.append(f"{way} ({how}): {seen.status} {seen.body[-200:]!r}")
            seen = await asker.ask("undone", stream=stream)
            if not (seen.is_good or seen.fails_well):
                wrong.append(f"undone ({how}): {seen.status} {seen.body[-200:]!r}")
            seen = await asker.ask("hang", stream=stream, leave_after=0.5)
            if seen.status not in (0, 200):
                wrong.append(f"hang ({how}): {seen.status}")
    return ", ".join(wrong)


def falling_back(data: Path, number: int) -> Iterator[Row]:
    """An upstream that resets every third request, and then dies for good."""
    key = processes.set_up(data)
    with ExitStack() as stack:
        first = stack.enter_context(processes.upstream())
        second = stack.enter_context(processes.upstream())
        models = [
            model_of(MODEL, first, "flaky", weight=1),
            model_of(MODEL, second, weight=0),
        ]
        server = stack.enter_context(processes.chogori(models, data, key=key))
        failures, told = asyncio.run(_falling_back(server, first, number))
        answered = int(second.get("/tally").get("v1", 0))
    title = f"upstream that dies, with a fallback: failures of {number:,}"
    yield exactly(title, 0, failures if not told else f"{failures}: {told}")
    yield exactly("the fallback was needed", True, answered > number // 4)


async def _falling_back(server: Serving, first: Serving, number: int) -> tuple[int, str]:
    async with client(server) as asker:

        async def work(index: int) -> Seen:
            if index == number // 3:
                first.process.kill()
            return await asker.ask(stream=index % 2 == 1)

        seen = await many(number, 16, work)
    bad = [one for one in seen if not one.is_good]
    return len(bad), f"{bad[0].status} {bad[0].body[:300]!r}" if bad else ""


def shared(data: Path, number: int) -> Iterator[Row]:
    """Weights are kept."""
    key = processes.set_up(data)
    with ExitStack() as stack:
        many_, few = (stack.enter_context(processes.upstream()) for _ in range(2))
        models = [model_of(MODEL, many_, weight=90), model_of(MODEL, few, weight=10)]
        server = stack.enter_context(processes.chogori(models, data, key=key))
        asyncio.run(_all_good(server, number))
        tallies = [int(one.get("/tally").get("v1", 0)) for one in (many_, few)]
    yield exactly(f"weights 90/10: requests of {number:,} answered", number, sum(tallies))
    off = abs(tallies[0] / number - 0.9) * 100
    yield at_most("the same: off by", 1, off, "%")


async def _all_good(server: Serving, number: int) -> None:
    async with client(server) as asker:
        seen = await many(number, 16, lambda index: asker.ask())
    assert all(one.is_good for one in seen), "nothing stands in the way of these requests"
