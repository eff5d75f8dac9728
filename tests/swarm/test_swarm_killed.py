"""A swarm that is killed with a hundred subagents in flight goes on, and comes to the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from swarm_child import SUBAGENTS, steps

CHILD = Path(__file__).with_name("swarm_child.py")
NEVER = 10**6
ALL = sum(steps(f"item {number}") for number in range(SUBAGENTS))


def run(folder: Path, most: int, *more: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(CHILD), str(folder), str(most), *more]
    environ = {"PYTHONPATH": str(CHILD.parent), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environ
    )


def deeds(folder: Path) -> Counter[str]:
    return Counter((folder / "deeds").read_text().splitlines())


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole")
    done = run(folder, NEVER)
    assert done.returncode == 0, done.stderr
    assert sum(deeds(folder).values()) == ALL
    return done.stdout


@pytest.mark.parametrize("kills", [[30], [95, 180]], ids=["once", "in each stage"])
def test_a_killed_swarm_comes_to_what_one_comes_to_that_was_never_killed(
    tmp_path: Path, never_killed: str, kills: list[int]
) -> None:
    folder = tmp_path / "killed"
    for number, most in enumerate(kills):
        done = run(folder, most, *(["resume"] if number else []))
        assert done.returncode == -signal.SIGKILL, done.stderr
    done = run(folder, NEVER, "resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout == never_killed
    made = deeds(folder)
    assert set(made.values()) == {1}, "nothing was done twice"
    assert len(made) >= ALL - 2 * SUBAGENTS, "of what was done, only calls in flight were lost"
