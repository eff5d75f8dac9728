"""Roles: agents that tasks can be assigned to without creating them, each with tools that suit it.

Their system prompts are the files in `prompts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chogori.chat import Tool


@dataclass(frozen=True, slots=True)
class Role:
    """An agent configuration: one of the ready ones, or what `create_subagent` made."""

    name: str
    system_prompt: str
    what: str = ""
    """What it is for, in a few words, as the orchestrator reads it."""
    tools: tuple[str, ...] | None = None
    """Names of the tools it is given, of those that there are; None: all."""

    def of(self, tools: Sequence[Tool]) -> list[Tool]:
        """Its tools."""
        return [tool for tool in tools if self.tools is None or tool.spec.name in self.tools]


def prompt(name: str) -> str:
    """The text that is kept under `name`."""
    return (Path(__file__).parent / "prompts" / f"{name}.md").read_text(encoding="utf-8").strip()


def _ready(name: str, what: str, *tools: str) -> Role:
    return Role(name, prompt(name), what, tools)


_READ = ("read_file", "list_files", "grep")
_PAGES = ("fetch",)
ROLES = (
    _ready("researcher", "finds things out from pages and files", *_PAGES, *_READ),
    _ready("reader", "reads files or pages, whole", *_PAGES, *_READ),
    _ready(
        "coder",
        "writes and runs programs",
        *("python", "shell", "write_file", "edit_file", *_READ),
    ),
    _ready("analyst", "computes from data", "python", *_READ),
    _ready("fact_checker", "checks statements against sources", *_PAGES, "python", *_READ),
    _ready("writer", "writes a text from given material", *_READ),
)
ORCHESTRATOR = prompt("orchestrator")


def listed(roles: Sequence[Role]) -> str:
    """For the orchestrator: who is there already."""
    if not roles:
        return ""
    told = "\n".join(f"- {role.name}: {role.what}" for role in roles)
    return f"\n\nThese agents are there already; assign tasks to them by name:\n{told}"
