"""One request and its response, over ASGI.

A request is looked after while it is answered (`watch`): the client may leave, its key may be
revoked, it may stop reading, it may take longer than anything may. Each of these cancels the task
that answers; `ended_by` says which it was. While a stream is idle, comments keep it alive; the
first of them begins the response, and whatever fails after that is told in the stream.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Literal

from chogori.api.platform import Admission, Credentials, Refused
from chogori.api.server.refusals import told

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
EndedBy = Literal["gone", "revoked", "stalled", "late"]

KEEP_ALIVE = b": keep-alive\n\n"
SSE = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
JSON = [(b"content-type", b"application/json")]
_ID_LENGTH = 128


class Exchange:
    """A request, and what was answered so far."""

    __slots__ = (
        "_body_seconds",
        "_most_body",
        "_ping",
        "_receive",
        "_send",
        "_watcher",
        "admission",
        "client_id",
        "ended_by",
        "has_failed",
        "headers",
        "is_over",
        "keeps_alive",
        "key_id",
        "last_sent",
        "model",
        "more_headers",
        "overhead",
        "path",
        "recorded",
        "request_id",
        "route",
        "scope",
        "sending_since",
        "started",
        "status",
        "task",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        most_body: int,
        body_seconds: float,
    ) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = f"req_{secrets.token_hex(12)}"
        """Ours: requests are billed by it."""
        said = self.headers.get(b"x-request-id", b"")
        self.client_id = (
            said.decode()
            if 0 < len(said) <= _ID_LENGTH and said.isascii() and said.decode().isprintable()
            else self.request_id
        )
        """What the response carries: the client's own, where it gave one."""
        self.started = time.perf_counter()
        self.status = 0
        """Of the response; 0 before it begins."""
        self.task = asyncio.current_task()
        self.ended_by: EndedBy | None = None
        self.admission: Admission | None = None
        self.keeps_alive = False
        self.last_sent = self.started
        self.sending_since: float | None = None
        self.is_over = False
        self.key_id = self.model = self.route = ""
        self.more_headers: dict[str, str] = {}
        self.overhead: float | None = None
        self.recorded: list[bytes] | None = None
        """What was sent, where it may be asked for again."""
        self.has_failed = False
        """Whether the stream ended in an error."""
        self._receive = receive
        self._send = send
        self._most_body = most_body
        self._body_seconds = body_seconds
        self._watcher: asyncio.Task[None] | None = None
        self._ping: asyncio.Task[None] | None = None

    @property
    def method(self) -> str:
        """GET, POST, ..."""
        return self.scope["method"]

    @property
    def credentials(self) -> Credentials:
        """Who says it is asking."""
        said = self.headers.get(b"authorization", b"")
        kind, _, key = said.partition(b" ")
        if kind.lower() != b"bearer" or not key:
            key = self.headers.get(b"x-api-key", b"")
        client = self.scope.get("client")
        key_text = key.strip().decode("latin-1")
        return Credentials(key_text or None, client[0] if client else "")

    async def body(self) -> bytes:
        """The body. Raises `Refused` where it is too long or comes too slowly."""
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 12 or int(length) > self._most_body):
            raise self._too_large()
        try:
            async with asyncio.timeout(self._body_seconds) as limit:
                return await self._whole_body(limit)
        except TimeoutError:
            raise Refused(
                408, "invalid_request_error", "request_timeout", "The body came too slowly."
            ) from None

    async def _whole_body(self, limit: asyncio.Timeout) -> bytes:
        pieces: list[bytes] = []
        size = 0
        begun = asyncio.get_running_loop().time()
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                self.ended_by = "gone"
                raise asyncio.CancelledError
            piece: bytes = event.get("body", b"")
            size += len(piece)
            if size > self._most_body:
                raise self._too_large()
            pieces.append(piece)
            if not event.get("more_body"):
                return b"".join(pieces)
            # A second more for every 100 kB that came.
            limit.reschedule(begun + self._body_seconds + size / 100_000)

    def _too_large(self) -> Refused:
        self.more_headers["connection"] = "close"
        return Refused(
            413,
            "invalid_request_error",
            "request_too_large",
            f"The body may take {self._most_body} bytes at most.",
        )

    async def respond(
        self, body: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] = JSON
    ) -> None:
        """The whole response."""
        self.is_over = True
        await self._begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._write(body, more=False)

    async def begin_stream(self) -> None:
        """Begin a stream of events, if that was not done yet."""
        if not self.status:
            await self._begin(200, SSE)

    async def stream(self, data: bytes) -> None:
        """More of the stream: whole events."""
        if self._ping is not None:
            await self._ping
        if not self.status:
            await self._begin(200, SSE)
        await self._write(data, more=True)

    async def end_stream(self, data: bytes) -> None:
        """The last of it."""
        self.is_over = True
        if self._ping is not None:
            await self._ping
        if not self.status:
            await self._begin(200, SSE)
        await self._write(data, more=False)

    async def hand_over(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Let another application answer."""

        async def send(event: MutableMapping[str, Any]) -> None:
            if event["type"] == "http.response.start":
                self.status = event["status"]
                event["headers"] = [*event["headers"], (b"x-request-id", self.client_id.encode())]
            await self._send(event)

        self.is_over = True  # the client's leaving is the other's affair
        await app(self.scope, self._receive, send)

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        every = [*headers, (b"x-request-id", self.client_id.encode())]
        if self.admission is not None:
            every += told(self.admission.headers)
        if self.more_headers:
            every += told(self.more_headers)
        await self._send({"type": "http.response.start", "status": status, "headers": every})

    async def _write(self, data: bytes, *, more: bool) -> None:
        if self.recorded is not None:
            self.recorded.append(data)
        self.sending_since = time.perf_counter()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self.last_sent, self.sending_since = time.perf_counter(), None

    def watch_client(self) -> None:
        """From now on, notice when the client leaves."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end("gone")

    def end(self, by: EndedBy) -> None:
        """Cancel the task that answers, once."""
        if self.ended_by is None and not self.is_over and self.task is not None:
            self.ended_by = by
            self.task.cancel()
        elif by == "stalled":
            self.abort()

    def abort(self) -> None:
        """Drop the connection with all that waits to be sent, where the server lets us."""
        extensions: Mapping[str, Any] = self.scope.get("extensions") or {}
        if drop := extensions.get("chogori.abort"):
            drop()

    def keep_alive(self) -> None:
        """Send a comment, so that nobody between takes the stream for dead."""
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._say_alive())

    async def _say_alive(self) -> None:
        await self.begin_stream()
        await self._write(KEEP_ALIVE, more=True)

    def leave(self) -> None:
        """Nobody need look after it any more."""
        self.is_over = True
        if self._watcher is not None:
            self._watcher.cancel()
        if self._ping is not None:
            self._ping.cancel()
