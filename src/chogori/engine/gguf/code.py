"""Code that a small model wrote: whether it is worth running, and what can be mended in it."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from typing import Any, cast

import orjson

from chogori.chat import Conversation
from chogori.engine.gguf.reader import Block

RETRIES = 2
"""So many failures in a row are followed by another call; after one more the model may give up."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a piece of code is worth running."""

    language: str
    failed: frozenset[str]

    def __call__(self, code: str) -> bool:
        return code not in self.failed and (self.language != "python" or python_parses(code))


def mended(block: Block) -> str:
    """The code, its numbers without leading zeros where that is all that keeps it from parsing:
    dates are copied as 2010, 02, 09, and drawn again they come out the same."""
    if block.language != "python" or python_parses(block.body):
        return block.body
    plain = re.sub(r"(?<![\w.'\"])0+(?=[1-9]\d*\b(?!\.))", "", block.body)
    return plain if python_parses(plain) else block.body


def failed_lately(conversation: Conversation) -> list[str]:
    """The code of the calls that failed, one after another, up to now."""
    failed: list[str] = []
    for message in reversed(conversation[-2 * RETRIES - 2 :]):
        if message.role == "assistant" and message.tool_calls:
            failed.append(_first_value(message.tool_calls[-1].arguments))
        elif message.role != "tool" or not message.extra.get("failed"):
            break
    return failed


def _first_value(arguments: str) -> str:
    try:
        values: Any = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(values, dict):
        return ""
    return str(next(iter(cast(dict[str, Any], values).values()), ""))


def python_parses(code: str) -> bool:
    """Whether `code` is a Python program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
