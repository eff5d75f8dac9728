"""chogori: a thinking agent that answers with real tools.

    agent = chogori.Agent(chogori.load("local"), tools=[...])
    print(agent.ask("What is new?").text)

What stands here is imported on first use, so that `import chogori` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chogori.agent import Agent as Agent
    from chogori.api import connect as connect
    from chogori.api import create_app as create_app
    from chogori.chat import ToolError as ToolError
    from chogori.chat import tool as tool
    from chogori.presets import load as load
    from chogori.swarm import Swarm as Swarm

    __version__: str

_HOME = {
    "Agent": "agent",
    "Swarm": "swarm",
    "ToolError": "chat",
    "connect": "api",
    "create_app": "api",
    "load": "presets",
    "tool": "chat",
}
"""The room each public name lives in."""

__all__ = [
    "Agent",
    "Swarm",
    "ToolError",
    "__version__",
    "connect",
    "create_app",
    "load",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("chogori")
    if name not in _HOME:
        raise AttributeError(f"module 'chogori' has no attribute {name!r}")
    return getattr(import_module(f"chogori.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
