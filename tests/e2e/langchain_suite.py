"""LangChain's own tests for chat models, against our server. Run by `test_frameworks.py`.

It is no test file of this project: clients that LangChain keeps from one test to the next need one
event loop for all of them, and are never closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from e2e.obliging import Obliging
from served import Served, served

MODEL = "kimi-k2-thinking"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = {MODEL: Obliging(), "other": Obliging()}
    with served(models, tmp_path_factory.mktemp("frameworks")) as one:
        yield one


class TestChatOpenAI(ChatModelIntegrationTests):
    """The suite, as LangChain's integrations pass it."""

    @pytest.fixture(autouse=True)
    def _server(self, server: Served) -> None:  # pyright: ignore[reportUnusedFunction]
        self.server = server

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": MODEL,
            "base_url": self.server.base_url,
            "api_key": self.server.key,
            "stream_usage": True,
            "max_retries": 0,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "other"

    @property
    def returns_usage_metadata(self) -> bool:
        return True
