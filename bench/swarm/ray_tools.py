"""A tool that any node can import: it notes who called it, where, and takes a while."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from chogori.chat import ToolContext, tool

NOTES = "CHOGORI_BENCH_NOTES"
"""The variable that names the file; every node sees the same one."""


@tool(effect="idempotent")
async def look(key: str, context: ToolContext) -> str:
    """Look up a key."""
    await asyncio.sleep(0.02)
    note(run=context.run_id, key=key, idempotency=context.key, node=node())
    return f"{key} is there"


def node() -> str:
    """The node of the Ray task that this is."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


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
