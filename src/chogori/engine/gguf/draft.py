"""What the chunks of a reply, and of its redraws, add up to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from chogori.chat import Finished, FinishReason, Usage
from chogori.engine.gguf.ending import Guard


@dataclass(frozen=True, slots=True)
class Piece:
    """More of a reply, and what had been written when it came."""

    text: str
    tokens: int
    """Of this reply so far."""
    prompt: int
    """Tokens of the prompt."""


class Draft:
    """Adds up what the chunks of a reply, and of its redraws, report."""

    def __init__(self, extra: dict[str, Any]) -> None:
        self.extra = extra
        self.was_ended = False
        """Whether the last reply was ended before its tokens ran out."""
        self._usage = Usage()
        self._reason = "stop"
        self._logprobs: list[Any] = []

    @property
    def ran_out(self) -> bool:
        """Whether the last reply ended because its tokens had run out."""
        return self._reason == "length"

    async def pieces(self, chunks: AsyncIterator[Any]) -> AsyncGenerator[Piece]:
        """The text of a reply as it comes. Closed early, what came counts all the same."""
        so_far = Usage()
        async with aclosing(cast(AsyncGenerator[Any], chunks)):
            try:
                async for chunk in chunks:
                    so_far = _usage(chunk) or so_far
                    for choice in chunk.get("choices", ()):
                        self._reason = choice.get("finish_reason") or self._reason
                        if logprobs := choice.get("logprobs"):
                            self._logprobs += logprobs.get("content") or []
                        if text := choice.get("delta", {}).get("content"):
                            yield Piece(text, so_far.completion, so_far.prompt)
                    if timings := chunk.get("timings"):
                        self.extra["timings"] = timings
            finally:
                self._usage += so_far

    async def guarded(
        self, chunks: AsyncIterator[Any], guard: Guard | None, room: int, context: int
    ) -> AsyncGenerator[str]:
        """The text of a reply, ended by `guard` before `room` or the context is used up."""
        pieces = self.pieces(chunks)
        kept, refused = 0, False  # log-probabilities, and whether a piece was refused
        async with aclosing(pieces):
            async for piece in pieces:
                left = min(room, context - piece.prompt)
                if guard is None or await guard.admit(piece.text, piece.tokens, left):
                    kept = len(self._logprobs)
                    yield piece.text
                else:
                    refused = True
                    break
        if refused:
            self._reason = "length"
        if guard is None or not guard.can_end or not self.ran_out:
            return
        self.was_ended = True
        written = guard.used + await guard.told()
        del self._logprobs[kept:]
        self._usage = Usage(self._usage.prompt, written, 0, self._usage.cached)
        if guard.ending:
            yield guard.ending

    def finished(self, reason: FinishReason | None) -> Finished:
        """The last delta."""
        if self._logprobs:
            self.extra["logprobs"] = self._logprobs
        why = reason or ("length" if self.ran_out else "stop")
        return Finished(why, self._usage, self.extra)


def _usage(chunk: Any) -> Usage | None:
    """What was read and written when the chunk came."""
    if usage := chunk.get("usage"):
        details: Any = usage.get("prompt_tokens_details") or {}
        cached: int = details.get("cached_tokens", 0)
        return Usage(usage["prompt_tokens"], usage["completion_tokens"], cached=cached)
    if timings := chunk.get("timings"):
        cached = timings["cache_n"]
        return Usage(cached + timings["prompt_n"], timings["predicted_n"], cached=cached)
    return None
