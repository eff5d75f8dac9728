"""The embedded model for real: a handful of questions that it must answer, through the command and
through a server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from jsonschema import validate
from openai import OpenAI
from pydantic import BaseModel

from chogori.engine.gguf import GgufModel
from chogori.errors import ModelFileError
from chogori.presets.models import KNOWN_MODELS, find_model
from fence import MODELS
from served import served

CHOGORI = Path(sys.executable).with_name("chogori")

pytestmark = pytest.mark.real_home

UNKEPT = ("text_delta", "reasoning_delta", "tool_call_delta", "finished", "model_loaded")
"""They bear the number of the event before them."""


@pytest.fixture(scope="module", autouse=True)
def local() -> Path:
    try:
        return find_model(KNOWN_MODELS["local"], MODELS)
    except ModelFileError as error:
        pytest.skip(f"{error}; these tests need: chogori models pull local")


@pytest.fixture(scope="module")
def client(local: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    model = GgufModel(local, KNOWN_MODELS["local"].profile)
    with (
        served({"local": model}, tmp_path_factory.mktemp("local")) as server,
        OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client,
    ):
        yield client


def ask(question: str, workspace: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(CHOGORI, "ask", f"--data={workspace.parent / 'data'}", f"--workspace={workspace}"),
            *(*options, question),
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_the_example_of_the_readme_is_answered_right(workspace: Path) -> None:
    asked = ask("How many days are there from 1972-03-14 to 2026-01-27?", workspace, "--quiet")
    assert asked.returncode == 0, asked.stderr
    assert "19677" in asked.stdout.replace(",", "")


def test_a_question_about_a_file_is_answered_from_the_file(workspace: Path) -> None:
    rows = [f"{number},{'north' if number % 3 else 'south'},{number * 7}" for number in range(90)]
    (workspace / "sales.csv").write_text("order,region,quantity\n" + "\n".join(rows) + "\n")
    total = sum(number * 7 for number in range(90) if number % 3 == 0)
    asked = ask(
        "In sales.csv, what is the total quantity in the region 'south'?", workspace, "--json"
    )
    assert asked.returncode == 0, asked.stderr
    events = [json.loads(line) for line in asked.stdout.splitlines()]
    kept = [event["sequence"] for event in events if event["type"] not in UNKEPT]
    assert kept == list(range(len(kept)))
    assert str(total) in events[-1]["text"].replace(",", "")
    assert any(event["type"] == "tool_finished" for event in events), "it looked at the file"
    finished = [event for event in events if event["type"] == "reply_finished"]
    assert finished[0]["tokens_per_second"] > 0


def test_a_greeting_is_greeted_back_without_a_program(workspace: Path) -> None:
    asked = ask("Hello", workspace, "--json")
    assert asked.returncode == 0, asked.stderr
    events = [json.loads(line) for line in asked.stdout.splitlines()]
    assert events[-1]["type"] == "answer"
    assert events[-1]["text"]
    assert not any(event["type"] == "tool_started" for event in events)


WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 40},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
    },
    "required": ["city", "unit", "days"],
    "additionalProperties": False,
}


def test_a_program_that_offers_a_tool_gets_the_call_and_then_the_answer(client: OpenAI) -> None:
    tool: Any = {
        "name": "get_weather",
        "description": "Tells the weather of the next days.",
        "parameters": WEATHER,
    }
    asked: Any = {"model": "local", "tools": [{"type": "function", "function": tool}]}
    question = "What will the weather in Skardu be over the next 3 days, in celsius?"
    messages: list[Any] = [{"role": "user", "content": question}]
    reply = client.chat.completions.create(**asked, messages=messages, max_tokens=120).choices[0]
    assert reply.finish_reason == "tool_calls"
    [call] = reply.message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    validate(arguments, WEATHER)
    assert arguments == {"city": "Skardu", "unit": "celsius", "days": 3}
    result = '{"forecast": "snow on all three days, -7 degrees"}'
    messages += [reply.message, {"role": "tool", "tool_call_id": call.id, "content": result}]
    answer = client.chat.completions.create(**asked, messages=messages, max_tokens=120).choices[0]
    assert answer.finish_reason == "stop"
    assert "snow" in (answer.message.content or "").lower()


class Mountain(BaseModel):
    """What a program wants to know of a text."""

    name: str
    metres: int
    range: Literal["Karakoram", "Himalaya", "Andes"]


def test_a_program_that_asks_for_a_form_gets_what_the_text_says(client: OpenAI) -> None:
    text = "At 8,611 metres, K2 is the highest peak of the Karakoram."
    completion = client.chat.completions.parse(
        model="local",
        messages=[{"role": "user", "content": f"Which mountain is meant? {text}"}],
        response_format=Mountain,
        max_tokens=60,
    )
    [choice] = completion.choices
    assert choice.finish_reason == "stop"
    assert choice.message.parsed == Mountain(name="K2", metres=8611, range="Karakoram")
