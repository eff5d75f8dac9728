"""What no model can do is refused where the options are made, not where they are used."""

from __future__ import annotations

from typing import Any

import pytest

from chogori.chat import Options
from chogori.errors import ConfigError


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_tokens": 0}, "max_tokens is 0; it must be 1 or more"),
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"seed": 2**63}, "it must be a whole number of 64 bits"),
        ({"seed": -(2**63) - 1}, "it must be a whole number of 64 bits"),
    ],
)
def test_what_no_model_can_do_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Options(**wrong)


def test_the_ends_of_the_ranges_are_in_them() -> None:
    assert Options(max_tokens=1, seed=2**63 - 1).max_tokens == 1
    assert Options(seed=-(2**63)).seed == -(2**63)
