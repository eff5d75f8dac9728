"""Every program that /docs and the guide to the API show runs, as a user would run it."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chogori.apps.pages import WEB
from e2e.node import run_node
from served import Served

ROOT = Path(__file__).parent.parent.parent
WRITTEN = "http://127.0.0.1:8000"
PAGE = re.findall(
    r'<code data-run="(\w+)"[^>]*>(.*?)</code>',
    (WEB / "docs.html").read_text(encoding="utf-8"),
    re.DOTALL,
)
SHOWN = {"Hello": "Hello! How can I help?", "17 times": "391", "weather": "21 degrees"}
"""What is printed where a program asks about this."""


def run(kind: str, program: str, server: Served, folder: Path) -> str:
    """What a program prints that ends well."""
    program = program.replace(WRITTEN, server.url)
    if kind == "node":
        return run_node(program, server.key, folder)
    command = ["sh", "-ec", program] if kind == "sh" else [sys.executable, "-c", program]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"CHOGORI_KEY": server.key, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "number", range(len(PAGE)), ids=lambda number: f"{number}-{PAGE[number][0]}"
)
def test_a_program_of_the_page_runs(number: int, scripted: Served, tmp_path: Path) -> None:
    kind, source = PAGE[number]
    program = html.unescape(source)
    out = run(kind, program, scripted, tmp_path)
    assert out.strip()
    assert '"error"' not in out
    if "chat/completions" in program or "completions.create" in program:
        shown = [text for asked, text in SHOWN.items() if asked in program]
        assert all(text in out for text in shown), out


def test_the_page_shows_every_kind_of_client() -> None:
    assert {kind for kind, _ in PAGE} == {"sh", "python", "node"}
    assert len(PAGE) >= 12
