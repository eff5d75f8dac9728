"""Text of any length that never comes twice, so that no store can keep two of them as one."""

from __future__ import annotations

import random

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_POOL_CHARS = 200_000


def _pool() -> str:
    rng = random.Random(2)
    words = ["".join(rng.choices(_LETTERS, k=rng.randint(2, 9))) for _ in range(4_000)]
    return " ".join(rng.choices(words, k=_POOL_CHARS // 4))[:_POOL_CHARS]


_TEXT = _pool()


def passage(number: int, chars: int) -> str:
    """Passage `number`: a cut from one long text of random words, so that it costs next to nothing
    to make and compresses like prose."""
    start = number * 7_919 % (_POOL_CHARS - chars)
    return f"{number} {_TEXT[start : start + chars]}"[:chars]
