"""The tools a model is given: programs, files, search in them, web pages, other people's servers.

Each is made by a function that is told what it may reach (`Sandboxes`, `allow_hosts`), so a tool
holds no more than its maker was given. Whatever touches a user's files does so in the sandbox of
its run. What a tool tells the model is short; the whole of it is kept in /out. May import `chat`
and `errors`; HTTP libraries only in `web`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chogori.toolbox.files import file_tools
from chogori.toolbox.mcp import McpServer
from chogori.toolbox.places import Reach
from chogori.toolbox.programs import launcher_or_refusal, program_tools
from chogori.toolbox.sandboxes import Sandboxes

if TYPE_CHECKING:
    from chogori.toolbox.web import fetch_tool

__all__ = [
    "McpServer",
    "Reach",
    "Sandboxes",
    "fetch_tool",
    "file_tools",
    "launcher_or_refusal",
    "program_tools",
]


def __getattr__(name: str) -> Any:
    """`fetch_tool` on first use: who only wants the sandbox does not wait for aiohttp."""
    if name == "fetch_tool":
        from chogori.toolbox.web import fetch_tool

        return fetch_tool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
