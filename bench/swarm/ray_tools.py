"""A tool that any node can import: it notes who called it, where, and takes a while.

On a node that is to be lost, one call of every subagent is noted and does not return: so whenever
that node is lost, work of its is under way.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import chogori
from chogori.chat import ChatModel, ToolContext, tool

NOTES = "CHOGORI_BENCH_NOTES"
"""The variable that names the file; every node sees the same one."""
KEY = "CHOGORI_BENCH_KEY"
"""The variable that holds the key of the endpoint, where there is one."""
HELD = "k1"
"""The key whose call does not return on the node that is to be lost."""


@tool(effect="idempotent")
async def look(key: str, context: ToolContext) -> str:
    """Look up a key."""
    await asyncio.sleep(0.02)
    note(run=context.run_id, key=key, idempotency=context.key, node=node())
    if key == HELD and node() == doomed():
        await asyncio.Event().wait()
    return f"{key} is there"


def load_model(spec: str) -> ChatModel:
    """A model, with the key that every node has in its environment."""
    return chogori.load(spec, api_key=os.environ.get(KEY))


def node() -> str:
    """The node of the Ray task that this is."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def doom(node_id: str) -> None:
    """Say which node is to be lost."""
    _doomed_path().write_text(node_id)


def doomed() -> str:
    """The node that is to be lost, or ""."""
    path = _doomed_path()
    return path.read_text() if path.exists() else ""


def _doomed_path() -> Path:
    return Path(os.environ[NOTES] + ".doomed")


def note(**what: Any) -> None:
    """Append a line."""
    file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, json.dumps(what).encode() + b"\n")
    finally:
        os.close(file)


def notes() -> list[dict[str, Any]]:
    """What was noted so far."""
    path = Path(os.environ[NOTES])
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
