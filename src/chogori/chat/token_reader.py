"""Token ids of a reply, as they are generated, into deltas."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Container, Iterable, Sequence

from chogori.chat.markers import REPLY_MARKERS
from chogori.chat.messages import ReasoningDelta, TextDelta, ToolCallDelta, ToolSpec
from chogori.chat.reply_reader import ReplyReader
from chogori.chat.tokenizer import Tokenizer


class TokenReader:
    """Fed ids, it gives back deltas. Characters that span tokens wait until they are whole;
    special tokens that belong to no reply are left out."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        reasons: bool = False,
        tools: Sequence[ToolSpec] = (),
        taken: Container[str] = (),
        calls: int = 0,
    ) -> None:
        self._tokenizer = tokenizer
        self._reader = ReplyReader(reasons=reasons, tools=tools, taken=taken, calls=calls)
        self._markers = {tokenizer.id_of(marker): marker for marker in REPLY_MARKERS}
        self._decoder = getincrementaldecoder("utf-8")("replace")

    @property
    def has_calls(self) -> bool:
        """Whether a call has been told."""
        return self._reader.has_calls

    def feed(self, ids: Iterable[int]) -> list[ReasoningDelta | TextDelta | ToolCallDelta]:
        """What is certain now."""
        deltas: list[ReasoningDelta | TextDelta | ToolCallDelta] = []
        for id in ids:
            if marker := self._markers.get(id):
                deltas += self._reader.feed(self._decoder.decode(b"", final=True))
                deltas += self._reader.mark(marker)
            elif self._tokenizer.name_of(id) is None:
                deltas += self._reader.feed(self._decoder.decode(self._tokenizer.bytes_of(id)))
        return deltas

    def end(self, *, cut_short: bool = False) -> list[ReasoningDelta | TextDelta | ToolCallDelta]:
        """The rest; `cut_short`: a limit ended the reply, not the model."""
        rest = self._reader.feed(self._decoder.decode(b"", final=True))
        return rest + self._reader.end(cut_short=cut_short)
