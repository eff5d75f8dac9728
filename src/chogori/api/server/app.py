"""The server: an ASGI application for any `ChatModel`, or several by name.

It is handed a gate (who may come in, what it costs) and a store of reasoning; without them it lets
everybody in, which is right for a model on one's own machine. Whatever goes wrong is told in one
form, and the log holds neither keys nor what was said.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chogori.api.platform import Gate, ReasoningStore, Refused
from chogori.api.server.chat import Chat, refusal_of_end
from chogori.api.server.exchange import Exchange, Receive, Scope, Send
from chogori.api.server.idempotency import Repeats
from chogori.api.server.metrics import Metrics
from chogori.api.server.open_gate import OpenGate, RememberedReasoning
from chogori.api.server.openapi import openapi
from chogori.api.server.platform_routes import PlatformRoutes
from chogori.api.server.refusals import (
    envelope,
    in_stream,
    internal,
    not_found,
    stopping,
    wrong_method,
)
from chogori.api.server.spans import Spans
from chogori.api.server.upstreams import Models, served_models
from chogori.api.server.watch import Watch

MOST_BODY = 10_000_000
"""Bytes."""
BODY_SECONDS = 15.0
_AZURE = "/openai/deployments/"
_HEADERS = ("authorization", "content-type", "idempotency-key", "x-api-key", "x-request-id")
"""Those of a request that a page of a named origin may set."""
_log = logging.getLogger("chogori.api.server")
_access = logging.getLogger("chogori.api.server.access")
Endpoint = Callable[[Exchange], Awaitable[None]]


def create_app(
    models: Models,
    *,
    gate: Gate | None = None,
    reasoning: ReasoningStore | None = None,
    routes: Sequence[Any] = (),
    origins: Sequence[str] = (),
    most_body: int = MOST_BODY,
    body_seconds: float = BODY_SECONDS,
    watch: Watch | None = None,
    tracer: Any = None,
    on_shutdown: Callable[[], Awaitable[None]] | None = None,
) -> App:
    """An OpenAI-compatible server as an ASGI application.

    `models` is one model, served under its profile's name, or a mapping from names to models or to
    several upstreams each. `routes` are more routes, of Starlette, that anybody may ask, such as
    pages; `origins` may use it from a web page (none may, by default); `most_body`
    bytes are the longest body; `tracer` is OpenTelemetry's. The models are closed with the server.
    Raises `ConfigError`.
    """
    return App(
        models,
        gate=OpenGate() if gate is None else gate,
        reasoning=RememberedReasoning() if reasoning is None else reasoning,
        routes=routes,
        origins=frozenset(origins),
        most_body=most_body,
        body_seconds=body_seconds,
        watch=Watch() if watch is None else watch,  # an empty one is false
        tracer=tracer,
        on_shutdown=on_shutdown,
    )


class App:
    """The ASGI application. Made by `create_app`."""

    def __init__(
        self,
        models: Models,
        *,
        gate: Gate,
        reasoning: ReasoningStore,
        routes: Sequence[Any],
        origins: frozenset[str],
        most_body: int,
        body_seconds: float,
        watch: Watch,
        tracer: Any,
        on_shutdown: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.models = served_models(models)
        self.is_draining = False
        """Whether no more requests are wanted: /readyz says so, and models are asked no more."""
        self._more = _router(routes)
        self._origins = origins
        self._most_body = most_body
        self._body_seconds = body_seconds
        self._watch = watch
        self._on_shutdown = on_shutdown
        self._metrics = Metrics(self.models, lambda: len(watch))
        self._chat = Chat(
            models=self.models,
            gate=gate,
            reasoning=reasoning,
            repeats=Repeats(),
            metrics=self._metrics,
            spans=Spans(tracer),
        )
        platform = PlatformRoutes(self.models, gate, self._metrics)
        self._platform = platform
        self._routes: dict[str, dict[str, Endpoint]] = {
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/models": {"GET": platform.list_models},
            "/v1/tokenizers/estimate-token-count": {"POST": platform.count_tokens},
            "/v1/users/me/balance": {"GET": platform.balance},
            "/v1/organization/usage/completions": {"GET": platform.usage},
            "/v1/organization/costs": {"GET": platform.costs},
            "/metrics": {"GET": platform.metrics},
            "/healthz": {"GET": self._health},
            "/readyz": {"GET": self._readiness},
            "/openapi.json": {"GET": _document(openapi(list(self.models)))},
            "/openapi-3.0.json": {"GET": _document(openapi(list(self.models), "3.0.3"))},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, in ASGI's words."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        exchange = Exchange(
            scope, receive, send, most_body=self._most_body, body_seconds=self._body_seconds
        )
        self._watch.enter(exchange)
        try:
            await self._answer(exchange)
        finally:
            self._watch.leave(exchange)
            self._metrics.finished(exchange)
            if _access.isEnabledFor(logging.INFO):
                _log_access(exchange)

    async def _answer(self, exchange: Exchange) -> None:
        """Answer, and tell what goes wrong."""
        try:
            endpoint = self._endpoint(exchange)
            if self.is_draining and exchange.method == "POST":
                raise stopping()
            await endpoint(exchange)
        except Refused as refused:
            await self._refuse(exchange, refused)
        except asyncio.CancelledError:
            if exchange.ended_by is None:
                raise  # the server stops
            if exchange.task is not None:
                exchange.task.uncancel()
            if refused := refusal_of_end(exchange):
                await self._refuse(exchange, refused)
        except Exception as error:
            _log_failure(exchange, error)
            await self._refuse(exchange, internal())

    def _endpoint(self, exchange: Exchange) -> Endpoint:
        """Who answers. Raises `Refused`."""
        path, method = exchange.path, exchange.method
        exchange.route = path
        if self._origins and (answer := self._cross_origin(exchange)):
            return answer
        methods = self._routes.get(path)
        if methods is None:
            methods = self._variable(exchange)
        if endpoint := methods.get("GET" if method == "HEAD" else method):
            return endpoint
        raise wrong_method(method, ", ".join(methods))

    def _variable(self, exchange: Exchange) -> dict[str, Endpoint]:
        """Routes that hold a name, and pages."""
        path = exchange.path
        if self._more is not None and (found := self._more(exchange)):
            return {exchange.method: found}
        if path.startswith("/v1/models/") and len(path) > len("/v1/models/"):
            exchange.route = "/v1/models/{model}"
            name = path.removeprefix("/v1/models/")
            return {"GET": lambda exchange: self._platform.show_model(exchange, name)}
        if path.startswith(_AZURE) and path.endswith("/chat/completions"):
            exchange.route = f"{_AZURE}{{model}}/chat/completions"
            name = path.removeprefix(_AZURE).removesuffix("/chat/completions")
            return {"POST": lambda exchange: self._chat(exchange, name)}
        exchange.route = ""
        raise not_found(path)

    def _cross_origin(self, exchange: Exchange) -> Endpoint | None:
        """Tell a browser that a page of this origin may; answers what it asks beforehand."""
        origin = exchange.headers.get(b"origin", b"").decode("latin-1")
        if origin not in self._origins:
            return None
        exchange.more_headers |= {"access-control-allow-origin": origin, "vary": "Origin"}
        if exchange.method != "OPTIONS":
            exposed = "x-request-id, retry-after, x-reasoning-restored"
            exchange.more_headers["access-control-expose-headers"] = exposed
            return None
        exchange.more_headers |= {
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": _allowed_headers(exchange),
            "access-control-max-age": "600",
        }
        return _nothing

    async def _refuse(self, exchange: Exchange, refused: Refused) -> None:
        self._metrics.refused(refused.code)
        if exchange.is_over:
            return
        exchange.has_failed = True
        if exchange.status:
            await exchange.end_stream(in_stream(refused, exchange.client_id))
            return
        exchange.more_headers |= refused.headers
        body = envelope(refused, exchange.client_id)
        await exchange.respond(body, refused.status)

    async def _health(self, exchange: Exchange) -> None:
        await exchange.respond(b'{"status":"ok"}')

    async def _readiness(self, exchange: Exchange) -> None:
        is_full = all(served.is_full for served in self.models.values())
        if self.is_draining or is_full:
            why = b"stopping" if self.is_draining else b"full"
            await exchange.respond(b'{"status":"%s"}' % why, 503)
        else:
            await exchange.respond(b'{"status":"ready"}')

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif event["type"] == "lifespan.shutdown":
                self.is_draining = True
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def drain(self) -> None:
        """Take no more requests of models, and wait until none is under way."""
        self.is_draining = True
        await self._watch.all_left()

    async def aclose(self) -> None:
        """Close the models, and what else was handed in to be closed."""
        for served in self.models.values():
            for member in served.members:
                await member.model.aclose()
        if self._on_shutdown is not None:
            await self._on_shutdown()


def _router(routes: Sequence[Any]) -> Callable[[Exchange], Endpoint | None] | None:
    """Who answers among routes of Starlette; the response is theirs."""
    if not routes:
        return None
    from starlette.routing import Match, Router

    router = Router(routes=list(routes), redirect_slashes=False)

    def find(exchange: Exchange) -> Endpoint | None:
        matches = (route.matches(exchange.scope)[0] for route in router.routes)
        if all(match is Match.NONE for match in matches):
            return None
        exchange.route = "pages"
        return lambda exchange: exchange.hand_over(router)

    return find


def _document(content: bytes) -> Endpoint:
    async def show(exchange: Exchange) -> None:
        await exchange.respond(content)

    return show


async def _nothing(exchange: Exchange) -> None:
    await exchange.respond(b"", 204, [])


def _log_access(exchange: Exchange) -> None:
    _access.info(
        "%s %s %d %.1f ms %s key=%s model=%s%s",
        exchange.method,
        exchange.route or "-",
        exchange.status or 499,
        (time.perf_counter() - exchange.started) * 1e3,
        exchange.request_id,
        exchange.key_id or "-",
        exchange.model or "-",
        f" ended by: {exchange.ended_by}" if exchange.ended_by else "",
    )


def _log_failure(exchange: Exchange, error: Exception) -> None:
    """Where it happened, without the error's own words: they could hold what was said."""
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    _log.error(
        "%s failed unexpectedly: %s in %s",
        exchange.request_id,
        type(error).__name__,
        " > ".join(places[-6:]),
    )


def _allowed_headers(exchange: Exchange) -> str:
    """What a page may send: what we read, and what clients say of themselves, which `*` does not
    cover beside `authorization`."""
    asked = exchange.headers.get(b"access-control-request-headers", b"").decode("latin-1").lower()
    names = [name.strip() for name in asked.split(",")]
    told = [name for name in names if re.fullmatch(r"x-stainless-[a-z-]{1,40}", name)]
    return ", ".join((*_HEADERS, *told[:20]))
