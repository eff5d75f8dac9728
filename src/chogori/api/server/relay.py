"""A stream of an endpoint, event by event: what of it goes out as it came.

Read before it goes out, an event passes if it is what it must be: one choice with an index, text
or reasoning without a trace of markup, a finish_reason. At the first that is not, the rest of the
stream is `Repaired`. The last events are held back, for ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from chogori.api.endpoint import Endpoint
from chogori.api.fields import dump, listed, record
from chogori.api.repair import usage_of
from chogori.api.server.asking import Ask
from chogori.api.server.reading import Json
from chogori.api.server.repaired import Repaired
from chogori.api.server.replies import ChunkWriter, Heading
from chogori.api.server.restoring import ids_of
from chogori.api.sse import DONE, decode_all
from chogori.chat import Finished, Usage

_REASONS = ("stop", "length", "content_filter", "tool_calls")
Verdict = Literal["pass", "drop", "odd"]


class Relay:
    """Reads a stream and says what of it goes out."""

    def __init__(self, ask: Ask, endpoint: Endpoint) -> None:
        self._ask = ask
        self._endpoint = endpoint
        self._rest = b""
        self._writer: ChunkWriter | None = None
        self._id: Any = None
        self._their_model: Any = None
        self._said: list[str] = []
        self._thought: list[str] = []
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._repaired: Repaired | None = None
        self._whole: list[bytes] | None = None
        """The pieces of an answer that is one JSON object, though a stream was asked for."""
        self._is_begun = False
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        """What goes out for `data`: whole events. Raises `Failure` and `ValueError`."""
        if self._whole is not None:
            self._whole.append(data)
            return b""
        if self._repaired is not None:
            out = self._repaired.feed(data)
            self.is_over = self._repaired.is_over
            return out
        data = self._rest + data
        if self._writer is None and data.lstrip().startswith((b"{", b"[")):
            self._whole = [data]
            return b""
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            self._rest = data
            return b"" if b"\r" not in data else self._switch(self._take_rest())
        self._rest = data[end:]
        return self._pass(data[:end])

    def close(self) -> bytes:
        """What goes out when the endpoint has closed."""
        if self._whole is not None:
            out = self._switch(b"")
            assert self._repaired is not None
            return out + self._repaired.take([b"".join(self._whole)])
        if self._repaired is None and not self._rest.strip():
            return b""
        out = self._switch(self._take_rest()) if self._repaired is None else b""
        assert self._repaired is not None
        return out + self._repaired.close()

    def end(self, last: bytes) -> None:
        """The last events, after `last`, into the tally. Raises `Failure` where the reply has no
        end."""
        tally, writer = self._ask.tally, self._writer_for({})
        if self._repaired is not None:
            finished, reasoning = self._repaired.finished()
        elif self._reason is None and not self.is_over:
            raise self._endpoint.cut("ended its stream before the reply")
        else:
            reason = cast(Any, self._reason or "stop")
            finished, reasoning = Finished(reason, self._usage or tally.so_far), ""
        if not finished.usage.completion and not finished.usage.prompt:
            finished = Finished(finished.reason, tally.so_far, finished.extra)
        before = b"" if self._repaired is None else self._repaired.rest
        tally.usage = finished.usage
        tally.reasons.append(finished.reason)
        first = b"" if self._is_begun else writer.first()
        tally.tail = first + last + before + writer.finish(finished)
        if self._ask.request.includes_usage:
            tally.tail += writer.usage(finished.usage)
        if writer.first_call:
            tally.replies.append((writer.first_call, reasoning))

    def _take_rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    def _pass(self, block: bytes) -> bytes:
        """Whole events, as they are if they may be."""
        events = block[:-2].split(b"\n\n")
        if not all(event.startswith(b"data: ") and b"\n" not in event for event in events):
            return self._switch(block + self._take_rest())
        is_over = events[-1] == b"data: " + DONE
        told = [event[6:] for event in (events[:-1] if is_over else events)]
        chunks = decode_all(told)
        if chunks is None:
            return self._switch(block + self._take_rest())
        kept: list[bytes] = []
        is_same = not is_over
        for at, chunk in enumerate(chunks):
            verdict = "pass" if self._is_more_text(chunk) else self._vet(chunk)
            if verdict == "odd":
                out = self._renamed(b"".join(kept))
                rest = b"\n\n".join(events[at:]) + b"\n\n" + self._take_rest()
                return out + self._switch(rest)
            if not self._is_begun:
                self._is_begun = True
                first = self._first(chunk, events[at] if verdict == "pass" else b"")
                is_same = is_same and first == [events[at] + b"\n\n"]
                kept += first
            elif verdict == "pass":
                kept.append(events[at] + b"\n\n")
            else:
                is_same = False
        self.is_over = is_over
        out = block if is_same else b"".join(kept)
        if not self._ask.request.includes_usage and b"null}\n\n" in out:
            # We asked for the usage, so they say in each chunk that it is not known yet.
            for ending in (b',"usage":null}\n\n', b', "usage": null}\n\n'):
                out = out.replace(ending, b"}\n\n")
        return self._renamed(out)

    def _first(self, chunk: Json, event: bytes) -> list[bytes]:
        """The first chunk must have a content, be it empty; clients crash where it has none."""
        delta = record(record(listed(chunk.get("choices"))[0]).get("delta"))
        if event and "role" in delta and delta.get("content") == "":
            return [event + b"\n\n"]
        first = self._writer_for(chunk).first()
        says = delta.get("content") or delta.get("reasoning_content")
        return [first, event + b"\n\n"] if event and says else [first]

    def _renamed(self, data: bytes) -> bytes:
        """`data` with our name for the model. In JSON a quote within a text is escaped, so what is
        replaced is a field."""
        ours, theirs = self._ask.model, self._their_model
        if theirs == ours or not data or theirs is None:
            return data
        new = b'"model":' + dump(ours)
        for between in (b'"model":', b'"model": '):
            old = between + dump(theirs)
            if old in data:
                data = data.replace(old, new)
        return data

    def _is_more_text(self, chunk: Any) -> bool:
        """Whether a chunk is what nearly all are: a piece of text, and nothing else."""
        try:
            [choice] = chunk["choices"]
            [(name, value)] = choice["delta"].items()
            if (
                chunk["id"] != self._id
                or chunk["model"] != self._their_model
                or choice["finish_reason"] is not None
                or type(choice["index"]) is not int
                or choice["index"]
                or type(value) is not str
                or "<" in value
                or self._reason is not None
                or "error" in chunk
                or chunk.get("usage")
            ):
                return False
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        if name not in ("content", "reasoning_content"):
            return False
        (self._said if name == "content" else self._thought).append(value)
        self._ask.tally.count(len(value))
        return True

    def _vet(self, chunk: Any) -> Verdict:
        """Whether a chunk may go out as it came."""
        if type(chunk) is not dict or "error" in chunk:
            return "odd"
        fields = cast(Json, chunk)
        choices = fields.get("choices")
        if usage := fields.get("usage"):
            self._usage = usage_of(record(usage))
        if type(choices) is not list:
            return "odd"
        if not choices:
            return "drop" if self._writer is not None else "odd"
        found = cast(list[Any], choices)
        if len(found) != 1 or type(found[0]) is not dict:
            return "odd"
        choice = cast(Json, found[0])
        delta = choice.get("delta")
        if type(delta) is not dict or type(choice.get("index")) is not int or choice["index"]:
            return "odd"
        if not self._fits(fields) or "finish_reason" not in choice:
            return "odd"
        return self._vet_delta(cast(Json, delta), choice)

    def _fits(self, fields: Json) -> bool:
        """Whether a chunk is of the same reply as those before."""
        if self._writer is None:
            if not isinstance(fields.get("id"), str) or not isinstance(fields.get("created"), int):
                return False
            if fields.get("object") != "chat.completion.chunk" or not isinstance(
                fields.get("model"), str
            ):
                return False
            self._id, self._their_model = fields["id"], fields["model"]
            self._writer_for(fields)
            return True
        return fields.get("id") == self._id and fields.get("model") == self._their_model

    def _vet_delta(self, delta: Json, choice: Json) -> Verdict:
        for name, value in delta.items():
            if not value or name == "role":
                continue
            if name not in ("content", "reasoning_content") or type(value) is not str:
                return "odd"
            if "<" in value or self._reason is not None:
                return "odd"
            (self._said if name == "content" else self._thought).append(value)
            self._ask.tally.count(len(value))
        reason = choice["finish_reason"]
        if reason is None:
            return "pass" if self._reason is None else "drop"
        if reason not in _REASONS or any(delta.get(name) for name in delta if name != "role"):
            self._forget(delta)
            return "odd"
        self._reason = reason
        if usage := choice.get("usage"):
            self._usage = usage_of(record(usage))
        return "drop"

    def _forget(self, delta: Json) -> None:
        """A chunk that was taken note of goes through `Repair` after all."""
        for name, told in (("content", self._said), ("reasoning_content", self._thought)):
            if delta.get(name) and told and told[-1] == delta[name]:
                told.pop()

    def _writer_for(self, chunk: Mapping[str, Any]) -> ChunkWriter:
        if self._writer is None:
            heading = Heading.of(self._ask.model)
            if chunk:
                heading = Heading(
                    self._ask.model,
                    chunk["id"],
                    chunk["created"],
                    chunk.get("system_fingerprint") or heading.fingerprint,
                )
            taken = set(ids_of(self._ask.messages))
            self._writer = ChunkWriter(heading, self._ask.manner, taken)
        return self._writer

    def _switch(self, rest: bytes) -> bytes:
        """From here on everything is repaired and written anew."""
        out = b"" if self._is_begun else self._writer_for({}).first()
        self._is_begun = True
        self._repaired = Repaired(self._ask, self._endpoint, self._writer_for({}))
        self._repaired.told(self._said, self._thought)
        out += self._repaired.feed(rest)
        self.is_over = self._repaired.is_over
        return out
