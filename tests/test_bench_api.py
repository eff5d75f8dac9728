"""`bench/api_faults.py` in small: upstreams, clients, keys and the server itself go wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"


def rows(program: str, *options: str) -> list[list[str]]:
    """The table that it prints: what is measured, wanted and found, and whether that will do."""
    done = subprocess.run(
        [sys.executable, str(BENCH / program), *options],
        capture_output=True,
        text=True,
        timeout=180,
    )
    table = done.stdout.partition("\nmeasure ")[2].partition("\n\n")[0]
    assert table, done.stdout + done.stderr
    return [re.split(r"  +", line.strip()) for line in table.splitlines()[1:]]


@pytest.mark.parametrize(
    ("check", "measures"),
    [
        ("upstreams", 3),
        ("fallback", 2),
        ("weights", 2),
        ("leavers", 9),
        ("kills", 4),
        ("keys", 4),
        ("minute", 3),
        ("race", 2),
    ],
)
def test_what_goes_wrong_is_borne(check: str, measures: int) -> None:
    told = rows("api_faults.py", "--small", "--only", check)
    assert [row for row in told if row[-1] != "met" and "µs" not in row[1]] == []
    assert len(told) == measures
