"""The rest of a stream, put right by `Repair` and written anew."""

from __future__ import annotations

from collections.abc import Sequence

from chogori.api.endpoint import Endpoint
from chogori.api.repair import Repair
from chogori.api.server.asking import Ask
from chogori.api.server.replies import ChunkWriter
from chogori.api.server.restoring import ids_of
from chogori.api.sse import EventReader
from chogori.chat import Delta, Finished, ReasoningDelta, TextDelta


class Repaired:
    """The rest of a stream, put right and written anew."""

    def __init__(self, ask: Ask, endpoint: Endpoint, writer: ChunkWriter) -> None:
        self._ask = ask
        self._endpoint = endpoint
        self._writer = writer
        self._events = EventReader()
        self._repair = Repair(
            taken=ids_of(ask.messages), tools=ask.request.tools, endpoint=endpoint.url
        )
        self._reasoning: list[str] = []
        self._skips = 0
        """Characters of text that went out before."""
        self.is_over = False
        self.rest = b""
        """What goes out at the end, before the last events."""

    def told(self, said: Sequence[str], thought: Sequence[str]) -> None:
        """What went out before, so that what follows is read in its light."""
        if not said and not thought:
            return
        delta = {"reasoning_content": "".join(thought), "content": "".join(said)}
        deltas = self._repair.read(
            {"choices": [{"index": 0, "delta": {k: v for k, v in delta.items() if v}}]}
        )
        known = sum(len(each.text) for each in deltas if isinstance(each, TextDelta))
        self._skips = len(delta["content"]) - known
        self._reasoning += thought

    def feed(self, data: bytes) -> bytes:
        """What goes out for more of the stream. Raises `Failure` and `ValueError`."""
        return self.take(self._events.feed(data))

    def close(self) -> bytes:
        """What goes out when the endpoint has closed."""
        return self.take(self._events.close())

    def take(self, events: list[bytes]) -> bytes:
        """What goes out for events."""
        out = b""
        for chunk in self._endpoint.chunks_of(events):
            if chunk is None:
                self.is_over = True
                break
            for delta in self._repair.read(chunk):
                out += self._tell(delta)
        return out

    def _tell(self, delta: Delta) -> bytes:
        if isinstance(delta, ReasoningDelta):
            self._reasoning.append(delta.text)
        if isinstance(delta, TextDelta) and self._skips:
            skipped, self._skips = self._skips, max(0, self._skips - len(delta.text))
            delta = TextDelta(delta.text[skipped:])
            if not delta.text:
                return b""
        text = getattr(delta, "text", None) or getattr(delta, "arguments", "")
        self._ask.tally.count(len(text))
        return self._writer.write(delta)

    def finished(self) -> tuple[Finished, str]:
        """How it ended, and its reasoning. Raises `Failure`."""
        if self._repair.is_broken or not (self.is_over or self._repair.is_over):
            raise self._endpoint.cut("ended its stream before the reply")
        *deltas, last = self._repair.end()
        self.rest = b"".join(map(self._tell, deltas))
        assert isinstance(last, Finished), "the last delta of a reply is its end"
        return last, "".join(self._reasoning)
