"""`bench/agents.py` in its smallest form, and what its scripted server tells apart."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent / "bench"
SMALL = ("--quick", "--reps=1", "--steps=5", "--agents=3", "--calls=2")
SMALL_AND_WIDE = (*SMALL, "--wide-agents=4", "--wide-calls=2")


def bench(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCH / "agents.py"), *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a scripted server."""
    with subprocess.Popen(
        [sys.executable, str(BENCH / "agents" / "server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def ask(server: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{server}{path}", data, timeout=30) as response:
        return json.load(response)


def test_every_measure_is_taken_of_us_and_of_the_floor() -> None:
    table = bench(*SMALL_AND_WIDE).partition("\nmeasure ")[2].partition("\n\n")[0]
    rows = [re.split(r"  +", line) for line in table.splitlines()[1:]]
    assert len(rows) == 8
    assert [title for title, _, ours, floor, *_ in rows if "-" in (ours, floor)] == []
    assert rows[-1][2:] == ["5", "5", "-", "-", "met"], "all reasoning came back"


def test_a_measure_alone_runs_only_the_cases_that_it_needs() -> None:
    told = bench(*SMALL, "--only=wall")
    assert "\nchain " in told
    assert not any(f"\n{case} " in told for case in ("long chain", "fan", "wide fan"))


@pytest.mark.parametrize(("change", "kept"), [("", 1), (" ", 0)])
def test_reasoning_counts_as_kept_only_if_it_is_the_same(
    server: str, change: str, kept: int
) -> None:
    path, asked = "/n1/l0/v1/chat/completions", [{"role": "user", "content": "go"}]
    call = ask(server, path, {"messages": asked})["choices"][0]["message"]
    call["reasoning_content"] += change
    result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "@@OUT@@"}
    end = ask(server, path, {"messages": [*asked, call, result]})["choices"][0]["message"]
    assert end["content"] == "done"
    tally = ask(server, "/tally")
    assert (tally["turns"], tally["kept"], tally["results"], tally["paired"]) == (1, kept, 1, 1)
