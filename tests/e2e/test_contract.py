"""What the server answers is what clients rely on: OpenAI's types, and our own document.

`golden/openai_required.json` lists the fields that OpenAI's document requires of each object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from chogori.chat import profile_for
from e2e.conftest import THINKS
from e2e.obliging import Obliging
from served import Served, served

REQUIRED: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parent.parent / "golden" / "openai_required.json").read_text(encoding="utf-8")
)
WEATHER = "What is the weather in Skardu?"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,negative_data_rejection,"
    "ignored_auth,unsupported_method"
)


def ask(server: Served, path: str, body: dict[str, Any] | None = None) -> bytes:
    """The body of an answer, whatever its status."""
    data = None if body is None else json.dumps(body).encode()
    headers = server.headers | {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(server.url + path, data, headers), timeout=30
        ) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.read()


def complete(server: Served, question: str, **more: Any) -> bytes:
    body = {"model": THINKS, "messages": [{"role": "user", "content": question}], **more}
    return ask(server, "/v1/chat/completions", body)


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def at(value: Any, path: list[str]) -> Iterator[dict[str, Any]]:
    """Every object of an answer at a path, through lists, where there is one."""
    if isinstance(value, list):
        for one in value:
            yield from at(one, path)
    elif isinstance(value, dict):
        if not path:
            yield value
        elif value.get(path[0]) is not None:
            yield from at(value[path[0]], path[1:])


def missing(kind: str, answer: Any) -> list[str]:
    """The fields that are required and not there."""
    return [
        f"{path}.{field}"
        for path, fields in REQUIRED[kind].items()
        for found in at(answer, path.split(".") if path else [])
        for field in fields
        if field not in found
    ]


@pytest.mark.parametrize("question", ["Hello!", WEATHER])
def test_a_completion_has_what_is_required(scripted: Served, question: str) -> None:
    answer = json.loads(complete(scripted, question))
    assert missing("completion", answer) == []
    ChatCompletion.model_validate(answer, strict=True)


@pytest.mark.parametrize("question", ["Hello!", WEATHER])
def test_every_chunk_has_what_is_required(scripted: Served, question: str) -> None:
    usage = {"include_usage": True}
    chunks = chunks_of(complete(scripted, question, stream=True, stream_options=usage))
    for chunk in chunks:
        assert missing("chunk", chunk) == []
        ChatCompletionChunk.model_validate(chunk, strict=True)
    calls = [call for chunk in chunks for call in at(chunk, ["choices", "delta", "tool_calls"])]
    assert len([call for call in calls if "id" in call]) == (1 if question == WEATHER else 0)
    assert chunks[0]["choices"][0]["delta"]["content"] == "", "some clients need it on the first"


def test_lists_and_errors_have_what_is_required(scripted: Served) -> None:
    models = json.loads(ask(scripted, "/v1/models"))
    assert missing("models", models) == []
    assert [Model.model_validate(one, strict=True).id for one in models["data"]]
    for path in ("/v1/models/nobody", "/v1/nothing", "/v1/organization/costs?start_time=x"):
        assert missing("error", json.loads(ask(scripted, path))) == []
    assert missing("error", json.loads(complete(scripted, "Hello!", n=0))) == []


def test_nothing_that_is_sent_gets_what_the_document_does_not_name(tmp_path: Path) -> None:
    """Schemathesis: no 5xx, no answer that is not documented, a key wanted on every route."""
    with served({profile_for("local").name: Obliging()}, tmp_path / "data") as server:
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run"),
                *(f"{server.url}/openapi.json", "-H", f"Authorization: Bearer {server.key}"),
                *("--checks", CHECKS, "--phases", "examples,fuzzing", "--max-examples", "4"),
                *("--seed", "1", "--no-color", "--generation-database", "none"),
                *("--suppress-health-check", "all"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert done.returncode == 0, done.stdout
    assert "11 passed" in done.stdout, "every operation is tried"
