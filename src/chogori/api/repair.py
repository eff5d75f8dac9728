"""Chunks of an endpoint's stream, put right and told as our deltas.

What endpoints get wrong, and what becomes of it:

  reasoning under either name, or in <think> tags      reasoning; `extra["reasoning_field"]` says
                                                       under which name it came
  Kimi's markers in the content                        calls; no marker is ever text
  calls in the reasoning                               a draft, if anything follows; meant, if the
                                                       reply ends with them (`markers`)
  calls numbered, named or identified badly            one call each, with its own id (`calls`)
  arguments that are not quite JSON, or an object      mended where unambiguous (`arguments`)
  content as parts, a whole message for a stream       read as if streamed
  finish_reason absent, "stop" beside calls            inferred; "length" goes before all others
  usage at the top, in the choice, in the last chunk   read wherever it is; the last one counts
  fields we do not know                                kept in `extra["fields"]`, to be sent back

However the stream is cut into chunks, the message is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from chogori.api.calls import Calls
from chogori.api.fields import listed, merge_field, record
from chogori.api.ids import Taken
from chogori.api.markers import ContentReader, Piece, ReasoningReader, Said, Thought, Written
from chogori.api.sse import Halves
from chogori.chat import (
    Delta,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolSpec,
    Usage,
)

_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
}
_BROKEN = ("error", "abort")
_REASONING_FIELDS = ("reasoning_content", "reasoning")
_KNOWN = {"role", "content", *_REASONING_FIELDS, "tool_calls", "function_call", "refusal", "name"}


class Repair:
    """Reads the chunks of one reply.

    `taken` are the ids of the conversation's calls; `endpoint` names where fields that are kept
    may go back to; `may_begin_thinking`: see `markers`.
    """

    def __init__(
        self,
        *,
        taken: Taken = (),
        tools: Sequence[ToolSpec] = (),
        endpoint: str = "",
        may_begin_thinking: bool = False,
    ) -> None:
        self._content = ContentReader(may_begin_thinking=may_begin_thinking)
        self._reasoning = ReasoningReader()
        self._calls = Calls(taken, tools)
        self._offered = frozenset(tool.name for tool in tools)
        self._endpoint = endpoint
        self._written: list[Written] = []
        self._text_halves, self._reasoning_halves = Halves(), Halves()
        self._has_text = False
        self._has_reasoned = False
        self._reason: str | None = None
        self._usage = Usage()
        self._fields: dict[str, Any] = {}
        self._logprobs: list[Any] = []
        self.reasoning_field: str | None = None
        """The name under which reasoning came apart from the content."""
        self.is_over = False
        """Whether the endpoint said that the reply is done."""

    @property
    def is_broken(self) -> bool:
        """Whether the endpoint said that the reply failed."""
        return self._reason in _BROKEN

    def read(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """What one chunk adds."""
        self._count(chunk.get("usage"))
        choices = [record(choice) for choice in listed(chunk.get("choices"))]
        if not choices:
            # Endpoints that report usage do so last, with no choice.
            self.is_over = self.is_over or bool(record(chunk.get("usage")))
            return []
        deltas: list[Delta] = []
        for choice in choices:
            if not choice.get("index"):
                deltas += self._read_choice(choice)
        return deltas

    def end(self) -> list[Delta]:
        """The rest, and `Finished`."""
        cut_short = _REASONS.get(self._reason or "") == "length"
        deltas = self._tell(self._content.end())
        written = [call for call in self._written if not self._calls.holds(call)]
        if self._has_text or self._calls or written or cut_short:
            rest = self._reasoning.flush()
        else:
            rest, written = self._reasoning.end(self._offered)
        if rest or (self.reasoning_field and not self._has_reasoned):
            deltas.append(ReasoningDelta(rest))
        for call in written:
            deltas += self._calls.write(call)
        deltas += self._calls.end(cut_short=cut_short)
        return [*deltas, Finished(self._finish_reason(), self._usage, self._extra())]

    def _read_choice(self, choice: Mapping[str, Any]) -> list[Delta]:
        self._count(choice.get("usage"))
        message = record(choice["delta"] if "delta" in choice else choice.get("message"))
        deltas = self._read_reasoning(message)
        for text, is_reasoning in _texts(message.get("content")):
            deltas += self._think(text) if is_reasoning else self._say(text)
        if isinstance(refusal := message.get("refusal"), str):
            deltas += self._say(refusal)
        for fragment in _fragments(message):
            added = self._calls.add(fragment)
            if added:
                deltas += self._flush_reasoning()
            deltas += added
        for name, value in message.items():
            if name not in _KNOWN and value not in (None, "", [], {}):
                merge_field(self._fields, name, value)
        self._logprobs += listed(record(choice.get("logprobs")).get("content"))
        if choice.get("finish_reason"):
            self._reason, self.is_over = str(choice["finish_reason"]), True
        return deltas

    def _read_reasoning(self, message: Mapping[str, Any]) -> list[Delta]:
        present = [name for name in _REASONING_FIELDS if isinstance(message.get(name), str)]
        if not present:
            return []
        # Endpoints on their way from one name to the other send both: the same text twice.
        name = next((name for name in present if message[name]), present[0])
        if self.reasoning_field is None or message[name]:
            self.reasoning_field = name
        if message[name]:
            self._content.separate()
        return self._think(cast(str, message[name]))

    def _think(self, text: str) -> list[Delta]:
        certain = self._reasoning.feed(self._reasoning_halves.feed(text))
        self._has_reasoned = self._has_reasoned or bool(certain)
        return [ReasoningDelta(certain)] if certain else []

    def _say(self, text: str) -> list[Delta]:
        return self._tell(self._content.feed(self._text_halves.feed(text)))

    def _tell(self, pieces: list[Piece]) -> list[Delta]:
        deltas: list[Delta] = []
        for piece in pieces:
            match piece:
                case Thought(text):
                    deltas += self._think(text)
                case Said(text):
                    if text.strip():
                        self._has_text = True
                        deltas += self._flush_reasoning()
                    deltas.append(TextDelta(text))
                case Written():
                    self._written.append(piece)
        return deltas

    def _flush_reasoning(self) -> list[Delta]:
        draft = self._reasoning.flush()
        self._has_reasoned = self._has_reasoned or bool(draft)
        return [ReasoningDelta(draft)] if draft else []

    def _count(self, usage: object) -> None:
        if found := record(usage):
            self._usage = usage_of(found)

    def _finish_reason(self) -> FinishReason:
        reason = _REASONS.get(self._reason or "", "stop")
        if reason in ("length", "content_filter"):
            return reason
        return "tool_calls" if self._calls else "stop"

    def _extra(self) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if self.reasoning_field:
            extra["reasoning_field"] = self.reasoning_field
        if self._fields:
            extra["fields"] = self._fields
        if extra and self._endpoint:
            extra["endpoint"] = self._endpoint
        if self._logprobs:
            extra["logprobs"] = self._logprobs
        return extra


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Tokens, from an endpoint's own account of them."""
    prompt_details = record(usage.get("prompt_tokens_details"))
    completion_details = record(usage.get("completion_tokens_details"))
    return Usage(
        prompt=_number(usage.get("prompt_tokens")),
        completion=_number(usage.get("completion_tokens")),
        reasoning=_number(
            completion_details.get("reasoning_tokens") or usage.get("reasoning_tokens")
        ),
        cached=_number(
            usage.get("cached_tokens")
            or prompt_details.get("cached_tokens")
            or usage.get("prompt_cache_hit_tokens")
        ),
    )


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 1e12 else 0


def _texts(content: object) -> list[tuple[str, bool]]:
    """The texts of content, and whether each is reasoning."""
    if isinstance(content, str):
        return [(content, False)]
    texts: list[tuple[str, bool]] = []
    for part in listed(content):
        match part:
            case {"type": "thinking" | "reasoning", "text": str(text)} | {"thinking": str(text)}:
                texts.append((text, True))
            case {"type": "thinking", "thinking": inner}:
                texts += [(text, True) for text, _ in _texts(inner)]
            case {"text": str(text)} | str(text):
                texts.append((text, False))
            case _:
                pass
    return texts


def _fragments(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = [record(call) for call in listed(message.get("tool_calls"))]
    if old := record(message.get("function_call")):
        calls.append({"index": 0, "function": old})
    return calls
