"""Connections of the server: uvicorn's, with deadlines that it does not have.

A head that does not come in time, or is too long, ends its connection; so does a client that never
reads (`chogori.abort` among ASGI's extensions). Imported only where the server runs: it needs the
extra `serve`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 64 * 1024


class Connection(HttpToolsProtocol):
    """One connection."""

    head_seconds = 0.0
    """How long the head of a request may take."""
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()
        scope: dict[str, Any] = self.scope  # pyright: ignore[reportAssignmentType]
        scope["extensions"] = {"chogori.abort": self.transport.abort}

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._have_head()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._late)

    def _have_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def _late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()


def connection_with(head_seconds: float) -> type[Connection]:
    """Connections of that patience; uvicorn makes them, so it wants a class."""
    return type("Connection", (Connection,), {"head_seconds": head_seconds})
