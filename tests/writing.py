"""Writes by a grammar at random, with the llguidance that is inside llama.cpp: a model that knows
nothing, one byte at a time."""

from __future__ import annotations

import random
from typing import Any

import llguidance
import llguidance.numpy

from chogori.chat.schema import Compiled
from chogori.engine.gguf import lark

END = 256


class _Bytes:
    """A vocabulary of single bytes."""

    eos_token_id = END
    bos_token_id = None
    tokens = [*(bytes([byte]) for byte in range(256)), b"<end>"]  # noqa: RUF012
    special_token_ids = [END]  # noqa: RUF012

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


_TOKENS: Any = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()))


def lines_of(held: Compiled) -> str:
    """The grammar as llama.cpp would get it."""
    return "\n".join([f"start: {held.start.name}", *lark.rules(held.rules), ""])


def write(grammar: str, chance: random.Random, *, limit: int = 200) -> tuple[str, bool]:
    """A text by the grammar, and whether it came to its end within `limit` bytes. It leans towards
    closing, and towards signs that mean something."""
    matcher: Any = llguidance.LLMatcher(_TOKENS, llguidance.LLMatcher.grammar_from_lark(grammar))
    assert not matcher.is_error(), f"llguidance refuses {grammar}: {matcher.get_error()}"
    written = bytearray()
    while len(written) < limit:
        if matcher.is_stopped():
            return written.decode(), True
        mask = matcher.compute_bitmask()
        allowed = [n for n in range(END + 1) if mask[n >> 3] >> (n & 7) & 1]
        assert allowed, f"a dead end after {written!r}"
        if END in allowed and (len(allowed) == 1 or chance.random() < 0.5):
            return written.decode(), True
        plain = [n for n in allowed if n < 128] or [n for n in allowed if n != END]
        closing = [n for n in plain if n in b'"}]']
        marks = [n for n in plain if n in b'\\/:,.-0"']
        pool = closing if closing and chance.random() < 0.35 else plain
        if marks and chance.random() < 0.2:
            pool = marks
        elif chance.random() < 0.05:
            pool = [n for n in allowed if n != END]
        byte = chance.choice(pool)
        assert matcher.consume_token(byte), f"{byte} was allowed after {written!r}"
        written.append(byte)
    return written.decode(errors="ignore"), False
