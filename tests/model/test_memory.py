"""A checkpoint in a quarter of its size: the same tokens, in less memory.

`bench/k2_memory.py` does the work; each of its runs is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "k2_memory.py"
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="Linux counts memory in /proc"
)


def measured(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCH), *options], capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_quarter_of_the_memory_gives_the_same_tokens_and_is_not_exceeded(tmp_path: Path) -> None:
    told = measured("--small", "--folder", str(tmp_path))
    assert "measured the same tokens" in told
    about = json.loads(told.splitlines()[-1])
    little, whole = about["resident"]
    # Of the three quarters that it may not keep, at least one is gone; memory comes in steps.
    assert little < whole - about["bytes"] // 4


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--without-compiler",)], ids=["kernel", "torch alone"])
def test_so_it_is_with_more_than_four_gigabytes(tmp_path: Path, options: tuple[str, ...]) -> None:
    told = measured("--folder", str(tmp_path), *options)
    assert json.loads(told.splitlines()[-1])["bytes"] >= 4e9
