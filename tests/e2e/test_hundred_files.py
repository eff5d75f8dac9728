"""`bench/hundred_files.py` with a handful of files: the embedded model, killed and resumed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chogori.errors import ModelFileError
from chogori.presets.models import KNOWN_MODELS, find_model
from fence import MODELS

BENCH = Path(__file__).parent.parent.parent / "bench" / "hundred_files.py"

pytestmark = pytest.mark.real_home


def test_a_chain_of_files_is_read_to_its_end_though_its_reader_is_killed() -> None:
    try:
        find_model(KNOWN_MODELS["local"], MODELS)
    except ModelFileError as error:
        pytest.skip(f"{error}; this test needs: chogori models pull local")
    done = subprocess.run(
        [sys.executable, str(BENCH), "--files=5", "--kills=1", "--tokens=600"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MISSED" not in done.stdout
