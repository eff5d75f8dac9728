"""pydantic-ai; with a folder, with the step persistence of pydantic-ai-harness."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import meter
from pydantic_ai import Agent, UsageLimits  # pyright: ignore
from pydantic_ai.models.openai import OpenAIChatModel  # pyright: ignore
from pydantic_ai.providers.openai import OpenAIProvider  # pyright: ignore


def persistence(folder: Path | None) -> list[Any]:
    """The capabilities that make a run durable."""
    if folder is None:
        return []
    from pydantic_ai_harness.step_persistence import (  # pyright: ignore
        SqliteStepStore,
        StepPersistence,
    )

    return [StepPersistence(store=SqliteStepStore(database=str(folder / "steps.db")))]


@asynccontextmanager
async def opened(url: str, folder: Path | None, look: meter.Lookup) -> AsyncGenerator[meter.Run]:
    model = OpenAIChatModel(meter.MODEL, provider=OpenAIProvider(base_url=url, api_key="none"))
    agent: Any = Agent(model, instructions="Be good.", capabilities=persistence(folder))
    unlimited = UsageLimits(request_limit=None)

    @agent.tool_plain
    async def lookup(key: str) -> str:
        """Look up a key."""
        return await look(key)

    async def run(number: int) -> str:
        return (await agent.run("go", usage_limits=unlimited)).output

    yield run


if __name__ == "__main__":
    meter.main(opened, ["pydantic-ai-slim", "pydantic-ai-harness", "openai"])
