"""LangChain's own tests for chat models, and an agent of pydantic-ai, against our server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel

from e2e.obliging import Obliging
from served import Served, platform

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

MODEL = "kimi-k2-thinking"
SUITE = Path(__file__).with_name("langchain_suite.py")
OPTIONS = (
    *(
        "-q",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_default_test_loop_scope=session",
    ),
    *("-o", "asyncio_default_fixture_loop_scope=session"),
)


def test_the_standard_tests_of_langchain_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, str(SUITE)],
        cwd=SUITE.parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout
    found = re.search(r"(\d+) passed, (\d+) skipped", done.stdout)
    assert found is not None, done.stdout
    passed, skipped = map(int, found.groups())
    assert passed >= 40, "most of the suite is meant for us"
    assert skipped <= 8, "pictures, sound and documents"


class Peak(BaseModel):
    """What an agent is to answer with."""

    name: str
    metres: int


@asynccontextmanager
async def agent_of(server: Served, **more: Any) -> AsyncGenerator[Agent[None, Any]]:
    async with AsyncOpenAI(base_url=server.base_url, api_key=server.key) as client:
        provider = OpenAIProvider(openai_client=client)
        yield Agent(OpenAIChatModel(MODEL, provider=provider), **more)


async def test_an_agent_of_pydantic_ai_calls_its_tools(scripted: Served, script: Any) -> None:
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        return f"21 degrees in {city}"

    async with agent_of(scripted, tools=[get_weather]) as agent:
        result = await agent.run("What is the weather in Skardu?")
    assert result.output == "It is 21 degrees in Skardu. (21 degrees in Skardu)"
    call = script.asked[-1].conversation[1]
    assert [json.loads(one.arguments) for one in call.tool_calls] == [{"city": "Skardu"}]
    assert call.reasoning == "I look it up."
    assert result.usage.output_tokens > 0


async def test_an_agent_of_pydantic_ai_gets_a_form_filled(tmp_path: Path) -> None:
    async with (
        platform({MODEL: Obliging()}, tmp_path / "data") as server,
        agent_of(server, output_type=Peak) as agent,
    ):
        result = await agent.run("Use the tool: 'Summit' has 8611 metres.")
    assert result.output == Peak(name="Summit", metres=8611)


async def test_an_agent_of_pydantic_ai_streams(scripted: Served) -> None:
    async with (
        agent_of(scripted) as agent,
        agent.run_stream("How much is 17 times 23?") as stream,
    ):
        assert await stream.get_output() == "17 times 23 is 391."
