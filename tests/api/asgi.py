"""Asks an ASGI application without a socket, and can leave, stall or send late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Response:
    """What came back so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    is_over: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The events of a stream; [DONE] as None."""
        datas = [
            line.removeprefix("data: ")
            for line in self.body.decode().split("\n\n")
            if line.startswith("data: ")
        ]
        return [None if data == "[DONE]" else json.loads(data) for data in datas]

    @property
    def chunks(self) -> list[Any]:
        """The events but [DONE], which must be the last."""
        *events, end = self.events
        assert end is None
        assert None not in events
        return events


class Client:
    """One client of an application."""

    def __init__(self, app: Any, headers: Mapping[str, str] | None = None) -> None:
        self.app = app
        self.headers = dict(headers or {})

    async def ask(self, body: Mapping[str, Any] | bytes | None = None, **more: Any) -> Response:
        """POST /v1/chat/completions."""
        asked = {**HELLO, **(body or {})} if not isinstance(body, bytes) else body
        return await self.send("POST", "/v1/chat/completions", asked, **more)

    async def get(self, path: str, **more: Any) -> Response:
        return await self.send("GET", path, None, **more)

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        leaves: asyncio.Event | None = None,
        stalls: asyncio.Event | None = None,
        seen: Callable[[Response], None] = lambda response: None,
        extensions: Mapping[str, Any] | None = None,
    ) -> Response:
        """`leaves`: when it is set, the client goes away. `stalls`: until it is set, nothing of the
        body is read. `seen` is told of every piece."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        response, is_asked = Response(), False
        named = {**self.headers, **(headers or {})}
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": plain,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
            "client": ("127.0.0.1", 1),
            "extensions": dict(extensions or {}),
        }

        async def receive() -> dict[str, Any]:
            nonlocal is_asked
            if not is_asked:
                is_asked = True
                return {"type": "http.request", "body": data, "more_body": False}
            await (leaves or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                response.status = event["status"]
                response.headers = {k.decode(): v.decode() for k, v in event["headers"]}
                return
            if stalls is not None:
                await stalls.wait()
            response.body += event.get("body", b"")
            response.is_over = not event.get("more_body", False)
            seen(response)

        await self.app(scope, receive, send)
        return response
