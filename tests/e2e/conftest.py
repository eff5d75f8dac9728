"""Servers that the tests of real clients share: one speaks from a script, one is SmolLM2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chogori.chat import Message, ScriptedModel, ToolCall, assistant, profile_for
from chogori.chat.conversation import Conversation
from chogori.engine.gguf import GgufModel
from chogori.presets.models import KNOWN_MODELS
from chogori.service.keys import Grant
from served import Served, served

THINKS = "kimi-k2-thinking"
WEATHER = ToolCall("functions.get_weather:0", "get_weather", '{"city": "Skardu"}')
MOUNTAIN = '{"peak":"K2","metres":8611}'


def say(conversation: Conversation) -> Message:
    """What a model might say, by the last message alone."""
    last = conversation[-1]
    asked = last.text.lower()
    if last.role == "tool":
        return assistant(f"It is 21 degrees in Skardu. ({last.text})", reasoning="The tool told.")
    if "weather" in asked:
        return assistant(reasoning="I look it up.", calls=[WEATHER])
    if "mountain" in asked and "json" in asked:
        return assistant(MOUNTAIN)
    if "17" in asked:
        return assistant("17 times 23 is 391.", reasoning="17 times 20 is 340, and 51 more.")
    return assistant("Hello! How can I help?")


@pytest.fixture(scope="session")
def script() -> ScriptedModel:
    return ScriptedModel(say, profile=profile_for(THINKS, spec="scripted"))


@pytest.fixture(scope="session")
def scripted(script: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A script behind two names: one that thinks and has a price, and `local`."""
    with served({THINKS: script, "local": script}, tmp_path_factory.mktemp("scripted")) as one:
        yield one


@pytest.fixture(scope="session")
def embedded(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The smallest embedded model."""
    model = GgufModel(smollm2, KNOWN_MODELS["smollm2"].profile)
    with served({"smollm2": model}, tmp_path_factory.mktemp("embedded")) as one:
        yield one


def key_for(server: Served, grant: Grant) -> str:
    """A further key of a server."""
    made = server.run(server.administration.create_key(grant))
    server.run(_refreshed(server))
    return made.text


async def _refreshed(server: Served) -> None:
    await server.service.refresh()
