"""Chogori with everything on: journal, guards, a budget with every limit; nobody watches. The
collector of the process is set as the `chogori` command sets it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import meter

from chogori import Agent, connect, tool
from chogori.agent import Budget
from chogori.apps.collector import collect_seldom
from chogori.chat import FixedLimiter, Options
from chogori.store import open_store

BUDGET = Budget(
    steps=10_000, tokens=10**9, reasoning_tokens=10**9, seconds=3_600.0, dollars=10_000.0
)
STREAM = "CHOGORI_BENCH_STREAM" in os.environ
"""The peers and the floor ask for whole replies, since nobody watches; so do we."""
WIDTH = 512
"""Requests at once: more than there are agents, as the others have it."""


@asynccontextmanager
async def opened(url: str, folder: Path | None, look: meter.Lookup) -> AsyncGenerator[meter.Run]:
    assert folder is not None, "everything on: the journal too"
    collect_seldom()

    @tool(effect="pure")
    async def lookup(key: str) -> str:
        """Look up a key."""
        return await look(key)

    model = connect(f"{url}#{meter.MODEL}", limiter=FixedLimiter(WIDTH))
    async with open_store(folder) as store:
        agent = Agent(
            model,
            tools=[lookup],
            instructions="Be good.",
            budget=BUDGET,
            options=Options(stream=STREAM),
            store=store,
        )

        async def run(number: int) -> str:
            return (await agent.run("go")).text

        yield run
    await model.aclose()


if __name__ == "__main__":
    meter.main(opened, ["chogori", "aiohttp", "orjson"])
