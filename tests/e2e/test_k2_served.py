"""Our own engine behind the API: what it can do comes through, what it cannot is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from chogori.chat.tokenizer import NANO, Tokenizer
from chogori.presets.load import load
from served import Served, served

TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
NAMED: Any = {"type": "function", "function": {"name": "look"}}
FORM: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
PICTURE: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served({"k2": load("k2:nano")}, tmp_path_factory.mktemp("k2")) as one:
        yield one


@pytest.fixture
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as one:
        yield one


def test_it_answers_whole_and_as_a_stream_and_the_same(client: OpenAI) -> None:
    asked: Any = {"model": "k2", "messages": HELLO, "max_tokens": 5, "seed": 1}
    whole = client.chat.completions.create(**asked)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5
    chunks = list(client.chat.completions.create(**asked, stream=True))
    extras = [chunk.choices[0].delta.model_extra or {} for chunk in chunks if chunk.choices]
    reasoning = "".join(extra.get("reasoning_content") or "" for extra in extras)
    assert reasoning == (whole.choices[0].message.model_extra or {})["reasoning_content"]


def test_the_ids_that_it_wrote_come_where_they_are_asked_for(client: OpenAI) -> None:
    asked: Any = {"model": "k2", "messages": HELLO, "max_tokens": 5, "seed": 1}
    asked["extra_body"] = {"return_token_ids": True}
    whole = client.chat.completions.create(**asked).choices[0]
    ids = (whole.model_extra or {})["token_ids"]
    assert len(ids) == 5
    thought = (whole.message.model_extra or {})["reasoning_content"]
    assert Tokenizer.from_file(NANO).decode(ids) == thought
    *_, last = client.chat.completions.create(**asked, stream=True)
    assert (last.choices[0].model_extra or {})["token_ids"] == ids


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"response_format": FORM}, "response_format"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": NAMED}, "tool_choice"),
        ({"messages": [{"role": "user", "content": PICTURE}]}, "messages"),
    ],
    ids=["form", "object", "required", "named", "picture"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_it_cannot_do_is_refused(
    client: OpenAI, more: dict[str, Any], param: str, stream: bool
) -> None:
    fields: dict[str, Any] = {"model": "k2", "messages": HELLO, "max_tokens": 5} | more
    with pytest.raises(openai.BadRequestError, match=r"hold a reply to a form|no eyes") as raised:
        client.chat.completions.create(**fields, stream=stream)
    error: Any = raised.value.body
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_tools_that_may_be_called_are_taken(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model="k2", messages=HELLO, max_tokens=5, tools=[TOOL], tool_choice="auto"
    )
    assert reply.choices[0].finish_reason in ("length", "stop", "tool_calls")
