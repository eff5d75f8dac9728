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
GUIDE = re.findall(
    r"^```(python|js)\n(.*?)^```$",
    (ROOT / "docs" / "api.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)
SHOWN = {"Hello": "Hello! How can I help?", "17 times": "391", "weather": "21 degrees"}
"""What is printed where a program asks about this."""


def run(kind: str, program: str, server: Served, folder: Path) -> str:
    """What a program prints that ends well."""
    program = program.replace(WRITTEN, server.url)
    if kind in ("node", "js"):
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
    ("kind", "source"),
    [(kind, html.unescape(source)) for kind, source in PAGE] + GUIDE,
    ids=[f"page-{n}" for n in range(len(PAGE))] + [f"guide-{n}" for n in range(len(GUIDE))],
)
def test_a_program_of_the_documents_runs(
    kind: str, source: str, scripted: Served, tmp_path: Path
) -> None:
    out = run(kind, source, scripted, tmp_path)
    assert out.strip()
    assert '"error"' not in out
    if "chat/completions" in source or "completions.create" in source:
        shown = [text for asked, text in SHOWN.items() if asked in source]
        assert [text for text in shown if text not in out] == []


def test_the_page_shows_every_kind_of_client() -> None:
    assert {kind for kind, _ in PAGE} == {"sh", "python", "node"}
    assert len(PAGE) >= 12
    assert {kind for kind, _ in GUIDE} == {"python", "js"}
