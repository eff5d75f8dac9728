"""The token ids of a reply, as an engine of ours leaves them in its `extra`.

With the opening they go back into the next prompt as they are; those that the model wrote itself
are what a client asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

TOKENS = "tokens"
"""In a reply's `extra`: {"vocabulary": a tokenizer's fingerprint, "ids": the reply's ids,
"opening": how many of these were there before the model wrote}."""


def tokens_told(vocabulary: str, opening: Sequence[int], written: Sequence[int]) -> dict[str, Any]:
    """An `extra` that tells the ids of a reply."""
    ids = [*opening, *written]
    return {TOKENS: {"vocabulary": vocabulary, "ids": ids, "opening": len(opening)}}


def written_ids(extra: Mapping[str, Any]) -> list[int] | None:
    """Of the ids that a reply's `extra` tells, those that the model wrote; None where it tells
    none."""
    told = extra.get(TOKENS)
    if not isinstance(told, Mapping):
        return None
    told = cast(Mapping[str, Any], told)
    return list(told["ids"][told.get("opening", 0) :])
