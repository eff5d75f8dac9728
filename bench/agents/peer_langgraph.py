"""LangChain's agent on LangGraph; with a folder, with its SQLite checkpoints (durability sync)."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

import meter
from langchain.agents import create_agent  # pyright: ignore
from langchain_core.tools import tool  # pyright: ignore
from langchain_openai import ChatOpenAI  # pyright: ignore
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # pyright: ignore
from pydantic import SecretStr


@asynccontextmanager
async def opened(url: str, folder: Path | None, look: meter.Lookup) -> AsyncGenerator[meter.Run]:
    @tool
    async def lookup(key: str) -> str:
        """Look up a key."""
        return await look(key)

    key = SecretStr("none")
    model: Any = ChatOpenAI(
        model=meter.MODEL, base_url=url, api_key=key, max_retries=0, use_responses_api=False
    )
    async with AsyncExitStack() as stack:
        saver: Any = None
        if folder is not None:
            path = str(folder / "checkpoints.db")
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
        agent: Any = create_agent(
            model, tools=[lookup], system_prompt="Be good.", checkpointer=saver
        )
        durability = {"durability": "sync"} if folder is not None else {}

        async def run(number: int) -> str:
            config = {"recursion_limit": 100_000, "configurable": {"thread_id": str(number)}}
            asked = {"messages": [{"role": "user", "content": "go"}]}
            return (await agent.ainvoke(asked, config, **durability))["messages"][-1].content

        yield run


if __name__ == "__main__":
    meter.main(
        opened, ["langgraph", "langchain", "langchain-openai", "langgraph-checkpoint-sqlite"]
    )
