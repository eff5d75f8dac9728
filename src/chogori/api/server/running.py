"""Runs the application: uvicorn with httptools, in one process, until it is told to stop.

A stop is graceful: what runs may end within `grace_seconds`, and meanwhile whoever looks is told
that nothing more is taken. Ctrl-C once more does not wait for it.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from chogori.api.server.app import App
from chogori.errors import ConfigError

GRACE_SECONDS = 30
KEEP_ALIVE_SECONDS = 75
_STOPS = (signal.SIGINT, signal.SIGTERM)
HEAD_SECONDS = 15.0
"""How long the head of a request may take."""


async def run(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    grace_seconds: int = GRACE_SECONDS,
    on_start: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve until SIGINT or SIGTERM. `on_start` is told the address once it answers; port 0 is any
    that is free. Raises `ConfigError` where the port cannot be had, or the extra `serve` is not
    installed."""
    with _listen(host, port) as listening:
        server = _server(app, grace_seconds, lambda: on_start(_url(listening)))
        # Uvicorn's own way would raise the signal again at the end, and so cut off whoever called;
        # and it hangs up at once, though whoever balances the load has not looked yet.
        loop = asyncio.get_running_loop()
        stop = _Stop(app, server, grace_seconds)
        for number in _STOPS:
            loop.add_signal_handler(number, stop, number)
        try:
            await server.serve_quietly([listening])
        finally:
            for number in _STOPS:
                loop.remove_signal_handler(number)


@asynccontextmanager
async def serving(
    app: Any, *, host: str = "127.0.0.1", port: int = 0, head_seconds: float = HEAD_SECONDS
) -> AsyncGenerator[str]:
    """The application served beside what else this event loop does, at the address that comes. It
    minds no signals, and ends at once. Raises `ConfigError`."""
    started = asyncio.Event()
    with _listen(host, port) as listening:
        server = _server(app, 1, started.set, head_seconds)
        task = asyncio.create_task(server.serve_quietly([listening]))
        waiting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not started.is_set():
                await task
            yield _url(listening)
        finally:
            waiting.cancel()
            server.should_exit = True
            await task


class _Stop:
    """What a signal does."""

    def __init__(self, app: App, server: Any, grace_seconds: float) -> None:
        self._app = app
        self._server = server
        self._grace_seconds = grace_seconds
        self._draining: asyncio.Task[None] | None = None

    def __call__(self, number: int) -> None:
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        elif number == signal.SIGINT:
            self._server.should_exit = self._server.force_exit = True

    async def _drain(self) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + self._grace_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._app.drain()
        self._server.config.timeout_graceful_shutdown = max(0.0, until - clock())
        self._server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{host}:{port} cannot be listened on: {why}; name another with --host and --port"
        ) from error
    listening.setblocking(False)
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server(
    app: Any,
    grace_seconds: int,
    on_start: Callable[[], object],
    head_seconds: float = HEAD_SECONDS,
) -> Any:
    try:
        import uvicorn

        from chogori.api.server.connections import connection_with
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"serving needs {error.name}, which is not installed: pip install 'chogori[serve]'"
        ) from None

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_start()

        async def serve_quietly(self, sockets: list[socket.socket]) -> None:
            await self._serve(sockets)

    config = uvicorn.Config(
        app,
        http=connection_with(head_seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
        backlog=2048,
    )
    return Server(config)
