"""Replies as clients read them: chunks of a stream, and whole completions.

Every chunk has the same id and time. The first says the role, with an empty content; a call's id
and name are said once; the last chunk of a choice has the finish reason, and the usage in the
choice as Kimi's API has it. `length` goes before `tool_calls`: a call that was cut off is no call
to make.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from chogori.api.fields import dump
from chogori.api.ids import unique_id
from chogori.chat import (
    Delta,
    Finished,
    FinishReason,
    Message,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from chogori.chat.token_ids import written_ids

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Heading:
    """What all chunks of one reply share."""

    model: str
    id: str
    created: int
    fingerprint: str = "fp_chogori"

    @classmethod
    def of(cls, model: str) -> Heading:
        """A new one."""
        return cls(model, f"chatcmpl-{secrets.token_hex(12)}", int(time.time()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a client wants to be told."""

    includes_usage: bool = False
    shows_reasoning: bool = True
    has_alias: bool = False
    logprobs: bool = False
    token_ids: bool = False


def usage_json(usage: Usage) -> dict[str, Any]:
    """Tokens, under OpenAI's names and Moonshot's."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "cached_tokens": usage.cached,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def reason_of(finished: Finished, calls: int) -> FinishReason:
    """Why it ended, as clients act on it."""
    if finished.reason in ("stop", "tool_calls"):
        return "tool_calls" if calls else "stop"
    return finished.reason


class ChunkWriter:
    """Writes the chunks of one choice. Ids of calls that are in `taken` are changed, and those that
    go out are added to it."""

    def __init__(
        self, heading: Heading, manner: Manner, taken: set[str] | None = None, index: int = 0
    ) -> None:
        self._manner = manner
        self._taken = set[str]() if taken is None else taken
        self._usage = b',"usage":null' if manner.includes_usage else b""
        top = dump(
            {
                "id": heading.id,
                "object": "chat.completion.chunk",
                "created": heading.created,
                "model": heading.model,
                "system_fingerprint": heading.fingerprint,
            }
        )
        self._top = b"data: " + top[:-1] + b',"choices":['
        self._choice = self._top + b'{"index":%d,"delta":' % index
        self._plain = b',"logprobs":null,"finish_reason":null}]'
        self._index = index
        self._said: list[str] = []
        self._heads: dict[int, tuple[str, str]] = {}
        """Ids and names of calls that were not told yet: they may come in pieces."""
        self.calls = 0
        self.first_call = ""
        """The id of the first call, as the client reads it."""

    def first(self) -> bytes:
        """The chunk that says who speaks."""
        return self._chunk(b'{"role":"assistant","content":""}')

    def write(self, delta: Delta, so_far: Usage | None = None) -> bytes:
        """What a delta adds: chunks, or nothing yet. `so_far`: the usage to tell with it."""
        match delta:
            case TextDelta(text):
                if self._manner.logprobs:
                    self._said.append(text)
                return self._heads_out() + self._chunk(b'{"content":' + dump(text) + b"}", so_far)
            case ReasoningDelta(text):
                return self._heads_out() + self._reasoning(text, so_far)
            case ToolCallDelta():
                return self._call(delta, so_far)
            case Finished():
                return self._heads_out()

    def finish(self, finished: Finished) -> bytes:
        """The last chunk of the choice, and the log-probabilities before it."""
        out = self._heads_out()
        said = "".join(self._said)
        if self._manner.logprobs and (logprobs := logprobs_json(finished, said)):
            told = b'{},"logprobs":' + dump(logprobs) + b',"finish_reason":null}]'
            out += self._choice + told + self._usage + b"}\n\n"
        last: dict[str, Any] = {
            "index": self._index,
            "delta": {},
            "logprobs": None,
            "finish_reason": reason_of(finished, self.calls),
            "usage": usage_json(finished.usage),
        }
        if self._manner.token_ids:
            last["token_ids"] = written_ids(finished.extra)
        return out + self._top + dump(last) + b"]" + self._usage + b"}\n\n"

    def usage(self, usage: Usage) -> bytes:
        """The chunk without choices that ends a stream with include_usage."""
        return self._top + b'],"usage":' + dump(usage_json(usage)) + b"}\n\n"

    def _chunk(self, delta: bytes, so_far: Usage | None = None) -> bytes:
        usage = self._usage if so_far is None else b',"usage":' + dump(usage_json(so_far))
        return self._choice + delta + self._plain + usage + b"}\n\n"

    def _reasoning(self, text: str, so_far: Usage | None) -> bytes:
        if not self._manner.shows_reasoning:
            return b""
        told = dump(text)
        alias = b',"reasoning":' + told if self._manner.has_alias else b""
        return self._chunk(b'{"reasoning_content":' + told + alias + b"}", so_far)

    def _call(self, delta: ToolCallDelta, so_far: Usage | None) -> bytes:
        index = delta.index
        head = self._heads.get(index)
        if head is None and (delta.id or delta.name):
            out = b"" if not self._heads else self._heads_out()
            self._heads[index] = (delta.id, delta.name)
        else:
            out = b""
            if head is not None:
                self._heads[index] = (head[0] + delta.id, head[1] + delta.name)
        if not delta.arguments:
            return out
        out += self._heads_out()
        told = dump({"index": index, "function": {"arguments": delta.arguments}})
        return out + self._chunk(b'{"tool_calls":[' + told + b"]}", so_far)

    def _heads_out(self) -> bytes:
        if not self._heads:
            return b""
        out = b""
        for index, (id, name) in self._heads.items():
            id = new_id(id, name, self._taken)
            self.calls += 1
            self.first_call = self.first_call or id
            call = {
                "index": index,
                "id": id,
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            out += self._chunk(b'{"tool_calls":[' + dump(call) + b"]}")
        self._heads.clear()
        return out


def new_id(id: str, name: str, taken: set[str]) -> str:
    """The id of a call as the client reads it, unlike any it knows; it is `taken` from now on."""
    unique = unique_id(id, name, taken.__contains__, len(taken))
    taken.add(unique)
    return unique


def with_new_ids(message: Message, taken: set[str]) -> Message:
    """A whole reply whose calls have ids that the client does not know."""
    if not message.tool_calls:
        return message
    calls = [replace(call, id=new_id(call.id, call.name, taken)) for call in message.tool_calls]
    return replace(message, tool_calls=tuple(calls))


def choice_json(message: Message, finished: Finished, index: int, manner: Manner) -> dict[str, Any]:
    """One choice of a whole completion."""
    told: dict[str, Any] = {
        "role": "assistant",
        "content": None if message.tool_calls and not message.content else message.text,
        "refusal": None,
    }
    if message.reasoning is not None and manner.shows_reasoning:
        told["reasoning_content"] = message.reasoning
        if manner.has_alias:
            told["reasoning"] = message.reasoning
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    told_choice: dict[str, Any] = {
        "index": index,
        "message": told,
        "logprobs": logprobs_json(finished, message.text) if manner.logprobs else None,
        "finish_reason": reason_of(finished, len(message.tool_calls)),
    }
    if manner.token_ids:
        told_choice["token_ids"] = written_ids(finished.extra)
    return told_choice


def completion_json(
    heading: Heading, choices: list[dict[str, Any]], usage: Usage
) -> dict[str, Any]:
    """A whole completion."""
    return {
        "id": heading.id,
        "object": "chat.completion",
        "created": heading.created,
        "model": heading.model,
        "system_fingerprint": heading.fingerprint,
        "choices": choices,
        "usage": usage_json(usage),
    }


def logprobs_json(finished: Finished, said: str) -> dict[str, Any] | None:
    """Log-probabilities in the form of the OpenAI API, of the tokens of the content that was
    `said`: those of reasoning, calls and markers are in the model's own report alone. None where
    the model told none."""
    found = finished.extra.get("logprobs")
    if not isinstance(found, list):
        return None
    tokens = [_token(entry) for entry in found if isinstance(entry, Mapping)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return {"content": _said_in(tokens, said.encode()), "refusal": None}


def _said_in(tokens: Sequence[dict[str, Any]], said: bytes) -> list[dict[str, Any]]:
    """The tokens that make up what was said; its end may have come from elsewhere."""
    pieces = [_bytes_of(token) for token in tokens]
    written = b"".join(pieces)
    begin = written.rfind(said) if said else len(written)
    if begin < 0:
        begins = (at for at in range(len(written)) if said.startswith(written[at:]))
        begin = next(begins, len(written))
    ends = accumulate(map(len, pieces))
    return [
        token
        for token, piece, end in zip(tokens, pieces, ends, strict=True)
        if end > begin and end - len(piece) < begin + len(said)
    ]


def _bytes_of(token: Mapping[str, Any]) -> bytes:
    return str(token["token"]).encode() if token["bytes"] is None else bytes(token["bytes"])


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "token": entry.get("token", ""),
        "bytes": entry.get("bytes"),
        "logprob": entry.get("logprob", 0.0),
    }
    alternatives: list[Any] = entry.get("top_logprobs") or []
    told["top_logprobs"] = [
        {
            "token": other.get("token", ""),
            "bytes": other.get("bytes"),
            "logprob": other.get("logprob", 0.0),
        }
        for other in alternatives
    ]
    return told
