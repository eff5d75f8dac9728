"""The OpenAI package for Node, installed once into `.node` beside the sources."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / ".node"
WANTED = {"dependencies": {"openai": "7.59.0"}, "private": True, "type": "module"}
SECONDS = 60


@cache
def _install() -> str:
    """Why there is no package; nothing where there is."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"there is no {program}, which clients for Node need: apt-get install nodejs npm"
    manifest, made = FOLDER / "package.json", FOLDER / "made"
    wanted = json.dumps(WANTED)
    if made.exists() and made.read_text() == wanted:
        return ""
    FOLDER.mkdir(exist_ok=True)
    manifest.write_text(wanted)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    done = subprocess.run(npm, cwd=FOLDER, capture_output=True, text=True, timeout=300)
    if done.returncode:
        return f"the Node package cannot be installed: npm install openai ({done.stderr.strip()})"
    made.write_text(wanted)
    return ""


def run_node(program: str, key: str, folder: Path) -> str:
    """What a module prints. Skips where there is no Node or no package."""
    if why := _install():
        pytest.skip(why)
    link = folder / "node_modules"
    if not link.exists():
        link.symlink_to(FOLDER / "node_modules")
    file = folder / "program.mjs"
    file.write_text(program)
    done = subprocess.run(
        ["node", file],
        env=os.environ | {"CHOGORI_KEY": key, "NO_PROXY": "127.0.0.1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
