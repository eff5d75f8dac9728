"""What a reply was made of, for whoever keeps it: the ids of its prompt, the seed, the weights.

The prompt of a step begins with the prompt and the reply of the step before, so only what follows
these is told, and a journal grows by what is said. Whoever wants a prompt whole goes back from
reply to reply: its first `after` ids are those of the prompt and the reply before it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from chogori.chat import Conversation

PROMPT = "prompt"


def prompt_told(
    conversation: Conversation, prompt: Sequence[int], reply: Sequence[int]
) -> dict[str, Any]:
    """The ids of `prompt` that follow those of the reply before in `conversation`; and how long it
    and `reply` are together, with a hash of both, for the reply that comes after."""
    before = _before(conversation)
    length = before.get("length", 0)
    after = length if length and before["hash"] == _hash(prompt[:length]) else 0
    whole = [*prompt, *reply]
    told = {"after": after, "ids": list(prompt[after:])}
    return {PROMPT: {**told, "length": len(whole), "hash": _hash(whole)}}


def weights_of(folder: Path) -> str:
    """Which weights answer: the folder's name, and how much lies in it."""
    files = sorted(folder.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    return f"{folder.name} ({len(files)} files, {size} bytes)"


def _before(conversation: Conversation) -> Mapping[str, Any]:
    """What the latest reply in `conversation` told, if it was ours."""
    for message in reversed(conversation[-_LOOK_BACK:]):
        if message.role == "assistant":
            told = message.extra.get(PROMPT)
            return cast(Mapping[str, Any], told) if isinstance(told, Mapping) else {}
    return {}


_LOOK_BACK = 64
"""Messages: a step that made more calls than this tells its prompt whole."""


def _hash(ids: Sequence[int]) -> str:
    return sha256(array("q", ids).tobytes()).hexdigest()
