"""What the tools of an agent may reach, and where their long outputs are kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chogori.toolbox.sandbox import Policy
from chogori.toolbox.sandbox.inside.names import FileProblem, cut
from chogori.toolbox.sandbox.inside.walk import Folders

MAX_CHARS = 8_000
"""How much of a result the model is told, unless a tool is made with another number."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which folders the tools of an agent may reach, in whatever run they are called."""

    workspace: Path | None
    """The user's folder: /work."""
    out: Callable[[str], Path]
    """A run's own folder, by the run's id: /out, unless a call names another."""
    write: bool = False
    """Whether /work may be written."""

    def policy(self, run_id: str, out: Path | None = None) -> Policy:
        """What the sandbox of one run shows."""
        return Policy(
            out=out or self.out(run_id),
            workspace=self.workspace,
            work_writable=self.write,
        )


async def tell(text: str, out: Path | None, *, limit: int, name: str) -> str:
    """`text`, or its beginning and where in /out the whole of it is kept, to be read there."""
    if len(text) <= limit:
        return text
    kept = await asyncio.to_thread(_keep, text, out, name) if out else ""
    shown = cut(text, limit)
    where = f"; the whole is in {kept}, which read_file reads" if kept else ""
    return f"{shown}\n[cut: {len(shown):,} of {len(text):,} characters are shown{where}]"


def _keep(text: str, out: Path, name: str) -> str:
    """Where it was kept, or "" where that failed.

    Programs write to /out, and may have laid a link there: the walk of the file tools is safe from
    them, on the host too.
    """
    data = text.encode("utf-8", "replace")
    path = f"/out/results/{name}-{hashlib.sha256(data).hexdigest()[:10]}.txt"
    try:
        out.mkdir(parents=True, exist_ok=True)
        folders = Folders({"out": str(out)}, write=False, home="/out")
        with folders.at(path, make_parents=True) as spot:
            spot.replace(data)
    except (FileProblem, OSError):
        return ""
    return path
