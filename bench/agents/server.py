"""A scripted chat-completions endpoint: it asks for tool calls, one a reply, and then answers.

    python bench/agents/server.py        # prints its port; serves until its input closes

    POST /n{CALLS}/l{MS}/v1/chat/completions    after CALLS results the answer; each reply takes MS
    GET  /tally                                 what was seen since the tally was last asked for

How far a conversation has come is read off the request: every result of the tool carries a mark.
Replies carry reasoning that is kept here; the last request of a conversation is read whole, to
see what came back of the reasoning, byte for byte, and whether results go by ids of calls.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
from passages import passage

MARK = b"@@OUT@@"
REASONING_CHARS, PIECES = 400, 40
MOST_BYTES = 64 * 1024 * 1024
"""What the reader may hold before it pauses the connection: more than any request here."""
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}

_PATH = re.compile(rb"/n(\d+)/l(\d+)/v1/chat/completions")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_STREAM = re.compile(rb'"stream": ?true')
_numbers = count()


@dataclass(slots=True)
class Tally:
    """What was asked and what came back, since the tally was last asked for."""

    requests: int = 0
    streamed: int = 0
    seconds: float = 0.0
    """Spent on requests, the time that the model pretends to think left out."""
    said_bytes: int = 0
    """Reasoning and arguments of all calls."""
    last_requests: int = 0
    turns: int = 0
    """Assistant messages with calls, in last requests; `kept` of them with their reasoning."""
    kept: int = 0
    results: int = 0
    """Messages of the tool, in last requests; `paired` of them with the id of a call before."""
    paired: int = 0
    reasoning: dict[str, str] = field(default_factory=dict[str, str])
    """What was sent, by the id of its call."""

    def told(self) -> bytes:
        names = (name for name in self.__slots__ if name != "reasoning")
        return orjson.dumps({name: getattr(self, name) for name in names})

    @contextmanager
    def timed(self) -> Generator[None]:
        """Count what passes within as the server's own."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    def audit(self, body: bytes) -> None:
        """Read the last request of a conversation."""
        self.last_requests += 1
        ids: set[str] = set()
        for message in orjson.loads(body)["messages"]:
            if calls := message.get("tool_calls"):
                self.turns += 1
                ids.update(call["id"] for call in calls)
                came = message.get("reasoning_content", message.get("reasoning"))
                self.kept += came is not None and came == self.reasoning.get(calls[0]["id"])
            elif message["role"] == "tool":
                self.results += 1
                self.paired += message.get("tool_call_id") in ids


def reply_after(results: int, calls: int, tally: Tally) -> dict[str, Any]:
    """The next message: a call, or after `calls` results the answer."""
    number = next(_numbers)
    # Quotes, a line separator and a pair of surrogates are what careless writers mangle.
    reasoning = f'Step {results}: "why"?\n\u2028é🗻 {passage(number, REASONING_CHARS)}'
    message: dict[str, Any] = {"role": "assistant", "reasoning_content": reasoning}
    if results >= calls:
        return message | {"content": "done"}
    id, arguments = f"call_{results}_{number}", f'{{"key": "k{results}"}}'
    tally.reasoning[id] = reasoning
    tally.said_bytes += len(reasoning.encode()) + len(arguments)
    function = {"name": "lookup", "arguments": arguments}
    call = {"id": id, "type": "function", "function": function}
    return message | {"content": None, "tool_calls": [call]}


def whole(message: dict[str, Any]) -> bytes:
    """The reply as one JSON object."""
    choice = {"index": 0, "message": message, "finish_reason": _finish(message)}
    return orjson.dumps(_envelope("chat.completion") | {"choices": [choice], "usage": USAGE})


def pieces(message: dict[str, Any]) -> Iterable[bytes]:
    """The reply as the events of a stream."""
    envelope = _envelope("chat.completion.chunk")
    for delta in _deltas(message):
        yield _event(envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    end = {"index": 0, "delta": {}, "finish_reason": _finish(message)}
    yield _event(envelope | {"choices": [end]})
    yield _event(envelope | {"choices": [], "usage": USAGE})
    yield b"data: [DONE]\n\n"


def _deltas(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for text in _cut(message["reasoning_content"], REASONING_CHARS // PIECES):
        yield {"reasoning_content": text}
    for call in message.get("tool_calls", ()):
        function = call["function"]
        yield {"tool_calls": [{"index": 0, **call, "function": {**function, "arguments": ""}}]}
        for text in _cut(function["arguments"], 4):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
    for text in _cut(message["content"] or "", 4):
        yield {"content": text}


def _cut(text: str, size: int) -> Iterable[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def _envelope(kind: str) -> dict[str, Any]:
    made = {"id": f"chatcmpl-{next(_numbers)}", "object": kind}
    return made | {"created": int(time.time()), "model": "scripted"}


def _finish(message: dict[str, Any]) -> str:
    return "tool_calls" if "tool_calls" in message else "stop"


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


class Server:
    """What the connections share."""

    def __init__(self) -> None:
        self.tally = Tally()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after another, until it closes."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                writer.write(await self.answer(head.split(b" ", 2)[1], body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # they have gone
        finally:
            writer.close()

    async def answer(self, path: bytes, body: bytes) -> bytes:
        """One response, head and body."""
        if path == b"/tally":
            told, self.tally = self.tally.told(), Tally()
            return _response(told)
        if (asked := _PATH.fullmatch(path)) is None:
            return _response(b'{"error": {"message": "no such path"}}', status=b"404 Not Found")
        calls, milliseconds = int(asked[1]), int(asked[2])
        with self.tally.timed():
            results, streamed = body.count(MARK), _STREAM.search(body) is not None
            self.tally.requests += 1
            self.tally.streamed += streamed
            if results >= calls:
                self.tally.audit(body)
        if milliseconds:
            await asyncio.sleep(milliseconds / 1000)
        with self.tally.timed():
            message = reply_after(results, calls, self.tally)
            if not streamed:
                return _response(whole(message))
            return _response(b"".join(pieces(message)), kind=b"text/event-stream")


def _response(
    body: bytes, *, status: bytes = b"200 OK", kind: bytes = b"application/json"
) -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (status, kind, len(body)) + body


async def main() -> None:
    server = await asyncio.start_server(
        Server().converse, "127.0.0.1", 0, limit=MOST_BYTES, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
