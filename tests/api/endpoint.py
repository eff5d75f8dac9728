"""A real server on loopback that says what it was told to say, cut where it was told to cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

SSE = {"Content-Type": "text/event-stream"}


@dataclass(frozen=True)
class Answer:
    """One response. What follows the pieces: the end, a drop of the connection, or silence."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: SSE)
    then: Literal["end", "drop", "hang"] = "end"


Respond = Callable[[dict[str, Any]], Answer]
"""Makes the answer to a body."""


class ScriptedEndpoint:
    """Answers requests in order, the last answer for ever, or as `respond` says; and remembers what
    it was asked."""

    def __init__(
        self,
        *answers: Answer,
        models: Sequence[Mapping[str, Any]] = (),
        respond: Respond | None = None,
    ) -> None:
        self.answers = list(answers)
        self.respond = respond
        self.models = models
        self.bodies: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.peers: list[Any] = []
        self.left = asyncio.Event()
        """A client went away before its answer ended."""
        self.url = ""

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies, decoded."""
        return [json.loads(body) for body in self.bodies]

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.headers.append(request.headers)
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername"))
        if self.respond:
            answer = self.respond(self.requests[-1])
        else:
            answer = self.answers[min(len(self.bodies), len(self.answers)) - 1]
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        await response.prepare(request)
        try:
            for piece in answer.pieces:
                await response.write(piece)
                await asyncio.sleep(0)
            if answer.then == "drop":
                request.transport.abort()
            if answer.then == "hang":
                await asyncio.Event().wait()
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise
        return response

    async def list_models(self, request: web.Request) -> web.Response:
        self.headers.append(request.headers)
        return web.json_response({"object": "list", "data": list(self.models)})


@asynccontextmanager
async def serving(
    *answers: Answer,
    models: Sequence[Mapping[str, Any]] = (),
    port: int = 0,
    respond: Respond | None = None,
) -> AsyncGenerator[ScriptedEndpoint]:
    """The endpoint, at `url`, which ends in /v1."""
    endpoint = ScriptedEndpoint(*answers, models=models, respond=respond)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", endpoint.complete)
    app.router.add_get("/v1/models", endpoint.list_models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


def chunk(delta: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    """One chunk of a stream; `rest` goes into the choice."""
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta} | rest],
    }


def event(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def reply(text: str = "four", usage: Mapping[str, Any] | None = None) -> Answer:
    """A well-behaved answer."""
    last: dict[str, Any] = {
        "choices": [],
        "usage": usage or {"prompt_tokens": 9, "completion_tokens": 2},
    }
    return Answer(
        [
            event(chunk({"role": "assistant", "content": ""})),
            event(chunk({"content": text})),
            event(chunk({}, finish_reason="stop")),
            event(last),
            DONE,
        ]
    )


def refusal(status: int, body: object = None, **headers: str) -> Answer:
    """An answer that is an error. Underscores in names of headers stand for hyphens."""
    text = (
        body
        if isinstance(body, bytes)
        else json.dumps(body or {"error": {"message": "no"}}).encode()
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer([text], status, {"Content-Type": "application/json"} | named)
