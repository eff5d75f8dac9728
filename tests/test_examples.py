"""Every example and every Python block of the README runs, as a user would run it.

In place of `local` they get a script, or an endpoint on loopback.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.endpoint import reply, serving
from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox import choose

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
SECONDS = 60

Replies = Sequence[Mapping[str, Any]]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A reply that calls a tool."""
    return {"reasoning": "I look it up.", "calls": [{"name": name, "arguments": arguments}]}


def says(text: str, **more: Any) -> dict[str, Any]:
    """A reply that answers."""
    return {"content": text, **more}


READS = [{"name": "read_letter", "arguments": {"name": f"letter {n}"}} for n in (1, 2)]
SCRIPTED: dict[str, tuple[Replies, Sequence[str]]] = {
    "ask.py": ([says("A way over a ridge.")], ["A way over a ridge.", "tokens in"]),
    "tool.py": (
        [
            call("count_stock", item="plums"),
            call("count_stock", item="pears"),
            says("There are 12 pears."),
        ],
        ["There are 12 pears.", "12: supported"],
    ),
    "watch.py": (
        [call("add", first=8611, second=237), says("8848"), call("add", first=8848, second=1),
         says("8849")],
        ["> add", "< 8848", "< 8849", "8 messages"],
    ),
    "swarm.py": (
        [
            {"match": "^Who asks", "calls": [
                {"name": "create_subagent", "arguments": {"name": "w", "system_prompt": "Read."}},
                *({"name": "assign_task",
                   "arguments": {"agent": "w", "prompt": f"Read letter {n}: company, pounds"}}
                  for n in (1, 2)),
            ]},
            {"match": "^(Read|Who writes).*letter 1", "calls": [READS[0]]},
            {"match": "^(Read|Who writes).*letter 2", "calls": [READS[1]]},
            {"match": "12 pounds.$", "content": '{"company": "Rice & Sons", "pounds": 12}'},
            {"match": "30 pounds.$", "content": '{"company": "Tea Ltd", "pounds": 30}'},
            {"match": "Tea", "content": "Tea Ltd."},
        ],
        ["Tea Ltd.", "critical steps: 4", "letter 1,Rice & Sons,12", "letter 2,Tea Ltd,30"],
    ),
}  # fmt: skip
"""Each example: what the model says, and what is printed."""

README_BLOCKS: list[tuple[Replies, Sequence[str]]] = [
    ([call("height", peak="K2"), says("8611 metres")], ["8611 metres [('8611', 'supported')]"]),
    ([call("list_files"), says("A file called note.txt.")], ["A file called note.txt."]),
    (
        [
            {"match": "^Who wrote tea.txt", "calls": [
                {"name": "read_letter", "arguments": {"name": "tea.txt"}}
            ]},
            {"match": "30 pounds", "content": '{"company": "Tea Ltd", "amount": 30}'},
        ],
        ["item,company,amount", "tea.txt,Tea Ltd,30"],
    ),
]  # fmt: skip
NEEDS_SANDBOX = "assistant("
LETTER = Path("letters", "tea.txt")
"""What a block finds in its folder."""


def script(folder: Path, replies: Replies) -> str:
    """The spec of a model that says this."""
    path = folder / "script.jsonl"
    path.write_text("\n".join(json.dumps(reply) for reply in replies))
    return f"scripted:{path}"


def run(arguments: Sequence[str | Path], folder: Path) -> str:
    """What a Python program prints; it must end well, and say nothing to stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTED)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    replies, printed = SCRIPTED[name]
    out = run([EXAMPLES / name, script(tmp_path, replies)], tmp_path)
    assert [piece for piece in printed if piece not in out] == [], out


async def test_the_example_of_an_endpoint_runs(tmp_path: Path) -> None:
    async with serving(reply("A saddle."), models=[{"id": "m"}]) as endpoint:
        path, spec = EXAMPLES / "endpoint.py", f"{endpoint.url}#m"
        out = await asyncio.to_thread(run, [path, spec, "secret"], tmp_path)
        assert out == "A saddle.\n9 tokens read, 2 written\n"
        assert endpoint.headers[0]["Authorization"] == "Bearer secret"


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SCRIPTED, "endpoint.py"}


def test_every_python_block_of_the_readme_is_run_here() -> None:
    assert len(BLOCKS) == len(README_BLOCKS)


@pytest.mark.parametrize("number", range(len(README_BLOCKS)))
def test_a_python_block_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    block, (replies, printed) = BLOCKS[number], README_BLOCKS[number]
    assert 'chogori.load("local")' in block, "the test puts a script in its place"
    if NEEDS_SANDBOX in block:
        try:
            choose()
        except SandboxUnavailable as error:
            pytest.skip(f"no sandbox works here; see: chogori doctor ({error})")
    spec = script(tmp_path, replies)
    (tmp_path / LETTER.parent).mkdir()
    (tmp_path / LETTER).write_text("Tea Ltd asks for 30 pounds.")
    program = tmp_path / "block.py"
    program.write_text(block.replace('load("local")', f"load({spec!r})"))
    out = run([program], tmp_path)
    assert [piece for piece in printed if piece not in out] == [], out
