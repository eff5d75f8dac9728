"""Options that several commands share, and how each command reads its settings."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chogori.apps.settings import Settings

MODELS = "local, smollm2, gguf:PATH, k2:PATH, k2:nano, scripted:FILE, or http(s)://HOST/v1#MODEL."
Model = Annotated[
    str | None,
    typer.Option(
        help=f"{MODELS} Default: $CHOGORI_MODEL, or else local.", show_default=False, metavar="SPEC"
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="What a model is shown of a long run: none, hide_tool_results, discard_all or "
        "summary, with :TOKENS for the length from which on.",
        show_default=False,
        metavar="POLICY",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Where runs are kept. Default: $XDG_DATA_HOME/chogori.",
        show_default=False,
        metavar="DIR",
    ),
]
Workspace = Annotated[
    Path, typer.Option(help="The folder the tools see; read-only.", metavar="DIR")
]
Write = Annotated[bool, typer.Option("--write", help="Let the tools change the workspace.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer alone.")]
Json = Annotated[bool, typer.Option("--json", help="Print events, one JSON object a line.")]
Reasoning = Annotated[bool, typer.Option("--reasoning", help="Show the reasoning whole.")]
Steps = Annotated[int, typer.Option(min=1, help="Replies the run may take.", metavar="N")]
Seconds = Annotated[
    float | None, typer.Option(min=0, help="Seconds the run may take.", metavar="N")
]
Temperature = Annotated[
    float | None, typer.Option(min=0, max=2, help="Default: the model's own.", metavar="T")
]
Files = Annotated[
    list[Path] | None, typer.Option("--file", "-f", help="Attach a text file.", metavar="PATH")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Allow every call without asking.")]
Web = Annotated[bool, typer.Option("--web", help="Let the agent fetch web pages.")]
AllowHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host", help="A host that may be fetched though it is local.", metavar="HOST"
    ),
]
Mcp = Annotated[
    list[str] | None,
    typer.Option(help="Use the tools of the MCP server that this starts.", metavar="COMMAND"),
]
AllowReadOnly = Annotated[
    bool, typer.Option("--allow-read-only", help="Do not ask about read-only MCP tools.")
]
Tools = Annotated[
    list[str] | None,
    typer.Option(
        "--tool", help="Give the agent this tool, and no other that is not named.", metavar="NAME"
    ),
]
Unsafe = Annotated[
    bool, typer.Option("--unsafe", help="Run tools WITHOUT a sandbox: they can do what you can.")
]


def settings_of(
    data: Path | None = None, model: str | None = None, memory_bytes: int | None = None
) -> Settings:
    """What the options and the environment say."""
    from chogori.apps.settings import read_settings

    return read_settings(os.environ, data=data, model=model, memory_bytes=memory_bytes)


def told(data: Path) -> AbstractContextManager[None]:
    """What goes wrong within becomes one message and an exit code."""
    from chogori.apps import failures

    return failures.told(data)
