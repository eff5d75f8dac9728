"""The roles of a swarm name tools that the toolbox has, and get those of them that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from chogori.chat import ScriptedModel, Tool
from chogori.presets import swarm
from chogori.swarm import ROLES, Role


def names(tools: Sequence[Tool]) -> list[str]:
    return [tool.spec.name for tool in tools]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
async def test_a_role_names_only_tools_that_there_are(tmp_path: Path, role: Role) -> None:
    assert role.tools
    async with swarm(ScriptedModel([]), runs=tmp_path, unsafe=True, web=True) as whole:
        assert set(role.tools) == set(names(whole.subagent(role).tools))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
async def test_a_tool_that_is_not_given_is_left_out(tmp_path: Path, role: Role) -> None:
    async with swarm(ScriptedModel([]), runs=tmp_path, unsafe=True) as whole:
        given = names(whole.subagent(role).tools)
    assert "fetch" not in given
    assert set(given) == {*(role.tools or ())} - {"fetch"}
