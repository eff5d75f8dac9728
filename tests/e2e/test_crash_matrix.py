"""`bench/crash_matrix.py` in its smaller form: some sixty kills of real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent.parent / "bench" / "crash_matrix.py"


def test_runs_that_are_killed_and_resumed_end_as_if_they_had_not_been() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--quick"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MISSED" not in done.stdout
