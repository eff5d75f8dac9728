"""The embedded model for real, through the command: a handful of questions that it must answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chogori.errors import ModelFileError
from chogori.presets.models import KNOWN_MODELS, find_model
from fence import MODELS

CHOGORI = Path(sys.executable).with_name("chogori")

pytestmark = pytest.mark.real_home

UNKEPT = ("text_delta", "reasoning_delta", "tool_call_delta", "finished", "model_loaded")
"""They bear the number of the event before them."""


@pytest.fixture(scope="module", autouse=True)
def _local() -> None:  # pyright: ignore[reportUnusedFunction]
    try:
        find_model(KNOWN_MODELS["local"], MODELS)
    except ModelFileError as error:
        pytest.skip(f"{error}; these tests need: chogori models pull local")


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
