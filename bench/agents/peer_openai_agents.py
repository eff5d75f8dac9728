"""The OpenAI Agents SDK; with a folder, with its SQLite session."""

# In its own environment `agents` is the SDK; type checkers, outside it, take this folder for it.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import meter
from openai import AsyncOpenAI  # pyright: ignore

from agents import (  # pyright: ignore
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)


@asynccontextmanager
async def opened(url: str, folder: Path | None, look: meter.Lookup) -> AsyncGenerator[meter.Run]:
    set_tracing_disabled(True)

    @function_tool
    async def lookup(key: str) -> str:
        """Look up a key."""
        return await look(key)

    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    model = OpenAIChatCompletionsModel(model=meter.MODEL, openai_client=client)
    agent: Any = Agent(name="one", instructions="Be good.", tools=[lookup], model=model)

    async def run(number: int) -> str:
        session = None
        if folder is not None:
            session = SQLiteSession(str(number), str(folder / "sessions.db"))
        result = await Runner.run(agent, "go", max_turns=100_000, session=session)
        return result.final_output

    yield run


if __name__ == "__main__":
    meter.main(opened, ["openai-agents", "openai"])
