"""Takes a reply apart as it streams: reasoning, answer, call.

The text before a fenced block is reasoning; the text after `Answer:` is the answer. Neither a fence
nor the yes or no before them leaks into either, however the stream is cut. A block is handed on
when it is complete, and a block that the token limit cut short is no call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chogori.chat import ReasoningDelta, TextDelta
from chogori.engine.gguf.grammar import ANSWER, REASONING_LIMIT

_FENCE = re.compile(r"```(\w+)\n")
_PARTIAL = re.compile(r"`{1,3}\w*$")
"""What may yet become a fence."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, without its fences."""

    language: str
    body: str


class Reader:
    """Fed text, it gives back deltas; afterwards `block` holds the call, if there was one."""

    def __init__(self, *, has_tools: bool, is_judged: bool = False) -> None:
        self.block: Block | None = None
        self.before_block = ""
        """Everything up to and with the opening fence: what a redraw continues from."""
        self._text = ""
        self._told = 0
        self._kind: type[ReasoningDelta] | type[TextDelta] | None = None if has_tools else TextDelta
        self._judges = is_judged
        """Whether a yes or no comes first and has not come yet."""
        self._language: str | None = None

    def feed(self, piece: str) -> list[ReasoningDelta | TextDelta]:
        """More of the reply."""
        self._text += piece
        return self._tell(whole=False)

    def end(self) -> list[ReasoningDelta | TextDelta]:
        """The reply is over: what was held back in case it was a fence is text after all, and
        reasoning that led to no block is told again as the answer."""
        told = self._tell(whole=True)
        if self._kind is ReasoningDelta and self._language is None and not self.ran_on:
            told.append(TextDelta(self._text.strip()))
        return told

    @property
    def ran_on(self) -> bool:
        """Whether reasoning was cut at its limit without coming to a block."""
        is_reasoning = self._kind is ReasoningDelta and self._language is None
        return is_reasoning and len(self._text) >= REASONING_LIMIT

    def _tell(self, *, whole: bool) -> list[ReasoningDelta | TextDelta]:
        if self._language is not None:
            self._read_block()
            return []
        if self._judges:
            _, said, rest = self._text.partition("\n")
            self._judges, self._text = not said, rest if said or whole else self._text
            if self._judges:
                return []
        if self._kind is None and not self._choose(whole=whole):
            return []
        stop = len(self._text)
        if self._kind is ReasoningDelta:
            opened = _FENCE.search(self._text, self._told)
            if opened:
                stop, self._language = opened.start(), opened[1]
                self.before_block = self._text[: opened.end()]
            elif not whole:
                held = _PARTIAL.search(self._text, self._told)
                stop = held.start() if held else stop
        told, self._told = self._text[self._told : stop], stop
        if self._language is not None:
            self._read_block()
        return [self._kind(told)] if told and self._kind else []

    def _choose(self, *, whole: bool) -> bool:
        after = len(ANSWER)
        if self._text.startswith(ANSWER) and (whole or len(self._text) > after):
            self._told = after + (self._text[after : after + 1] == " ")
            self._kind = TextDelta
        elif whole or not ANSWER.startswith(self._text):
            self._kind = ReasoningDelta
        return self._kind is not None

    def _read_block(self) -> None:
        # In code every backtick ends it; a JSON string may hold some, but no line end.
        fence = "\n```" if self._language == "json" else "```"
        body, closed, _ = self._text[len(self.before_block) :].partition(fence)
        if closed:
            self.block = Block(self._language or "", body.removesuffix("\n"))
