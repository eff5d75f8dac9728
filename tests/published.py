"""Where the published test data of the Kimi family is: beside the project, never in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).parent.parent.parent / "shared" / "data" / "kimi"


def published(name: str) -> Path:
    """A published file; the test that asks for one is skipped where there is none."""
    path = Path(os.environ.get("CHOGORI_TEST_DATA") or _BESIDE) / name
    if not path.exists():
        pytest.skip(f"{path} is not here; name its folder with CHOGORI_TEST_DATA")
    return path


def published_cases(name: str, key: str = "cases") -> list[dict[str, Any]]:
    """The cases of a published JSON file."""
    cases = json.loads(published(name).read_text(encoding="utf-8"))[key]
    assert cases, f"{name} holds no {key}"
    return cases
