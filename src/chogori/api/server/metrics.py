"""What Prometheus reads at /metrics: requests, tokens, time, and above all what the server itself
adds to each request, so that it is never a matter of belief."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from chogori.errors import ConfigError

if TYPE_CHECKING:
    from chogori.api.server.asking import Tally
    from chogori.api.server.exchange import Exchange
    from chogori.api.server.upstreams import Member, Served

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 7200)
_OVERHEAD = (0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
_NO_MODEL = "-"


class Metrics:
    """The figures of one server. Raises `ConfigError` where prometheus-client is not installed."""

    def __init__(self, models: Mapping[str, Served], running: Callable[[], int]) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the server needs {error.name}, which is not installed: pip install "
                "'chogori[serve]'"
            ) from None
        self._registry = CollectorRegistry(auto_describe=True)
        held: Any = {"registry": self._registry}
        self._requests = Counter(
            "chogori_requests", "Requests answered.", ("route", "status"), **held
        )
        self._refusals = Counter(
            "chogori_refusals", "Requests refused, by error code.", ("code",), **held
        )
        self._ended = Counter(
            "chogori_ended_early",
            "Requests that ended before their reply: the client left (gone), its key was revoked, "
            "it stopped reading (stalled), or it took too long (late).",
            ("by",),
            **held,
        )
        self._tokens = Counter("chogori_tokens", "Tokens.", ("model", "kind"), **held)
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From the request to the end of its reply.",
            ("model",),
            buckets=_SECONDS,
            **held,
        )
        self._first = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the request to the first token.",
            ("model",),
            buckets=_SECONDS,
            **held,
        )
        self._each = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "From one token to the next.",
            ("model",),
            buckets=_OVERHEAD,
            **held,
        )
        self._overhead = Histogram(
            "chogori_overhead_seconds",
            "What the server added: the whole request, less the time in which a model was waited "
            "for.",
            buckets=_OVERHEAD,
            **held,
        )
        self._upstream = Counter(
            "chogori_upstream_failures", "Upstreams that failed.", ("model",), **held
        )
        gauge = Gauge("chogori_requests_running", "Requests being answered.", **held)
        gauge.set_function(running)
        queue = Gauge("chogori_queue_waiting", "Requests in line for a model.", ("model",), **held)
        for name, served in models.items():
            queue.labels(name).set_function(
                lambda served=served: sum(member.turns.waiting for member in served.members)
            )

    def text(self) -> bytes:
        """As Prometheus reads it."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def finished(self, exchange: Exchange) -> None:
        """A request is over."""
        self._requests.labels(exchange.route or "none", exchange.status or 499).inc()
        if exchange.ended_by is not None:
            self._ended.labels(exchange.ended_by).inc()

    def refused(self, code: str) -> None:
        """A request was refused."""
        self._refusals.labels(code).inc()

    def upstream_failed(self, member: Member) -> None:
        """An upstream did not answer."""
        self._upstream.labels(member.name).inc()

    def answered(self, exchange: Exchange, tally: Tally) -> None:
        """A model was asked."""
        model = exchange.model or _NO_MODEL
        now = time.perf_counter()
        usage = tally.so_far
        for kind, count in (
            ("prompt", usage.prompt),
            ("cached", usage.cached),
            ("completion", usage.completion),
            ("reasoning", usage.reasoning),
        ):
            if count:
                self._tokens.labels(model, kind).inc(count)
        self._duration.labels(model).observe(now - exchange.started)
        if exchange.overhead is not None and exchange.ended_by is None:
            self._overhead.observe(exchange.overhead)
        if tally.first_token is not None:
            self._first.labels(model).observe(tally.first_token - exchange.started)
            if usage.completion > 1:
                each = (now - tally.first_token) / (usage.completion - 1)
                self._each.labels(model).observe(each)
