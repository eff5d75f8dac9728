"""Spans in the form of OpenTelemetry's GenAI conventions: `chat MODEL`, with tokens, times and
reasons, never with what was said. Off unless a tracer is handed in, which needs opentelemetry-api
and no more; who asked for the trace is read from `traceparent`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chogori.api.server.asking import Ask, Tally
    from chogori.api.server.exchange import Exchange


class Spans:
    """Writes one span for each request that a model was asked for."""

    def __init__(self, tracer: Any = None) -> None:
        """`tracer`: an `opentelemetry.trace.Tracer`; None: no spans."""
        self._tracer = tracer

    def answered(self, exchange: Exchange, ask: Ask, tally: Tally) -> None:
        """The request is over."""
        if self._tracer is None:
            return
        from opentelemetry import propagate, trace

        now, ended = time.perf_counter(), time.time_ns()
        began = ended - int((now - exchange.started) * 1e9)
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in exchange.headers.items()
            if name in (b"traceparent", b"tracestate")
        }
        usage = tally.so_far
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "chogori",
            "gen_ai.request.model": ask.model,
            "gen_ai.request.stream": ask.request.streams,
            "gen_ai.response.id": exchange.request_id,
            "gen_ai.response.finish_reasons": tally.reasons,
            "gen_ai.usage.input_tokens": usage.prompt,
            "gen_ai.usage.output_tokens": usage.completion,
            "gen_ai.usage.cache_read.input_tokens": usage.cached,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        }
        if tally.first_token is not None:
            first = tally.first_token - exchange.started
            attributes["gen_ai.response.time_to_first_chunk"] = first
        span = self._tracer.start_span(
            f"chat {ask.model}",
            context=propagate.extract(carrier),
            kind=trace.SpanKind.SERVER,
            start_time=began,
            attributes=attributes,
        )
        if exchange.ended_by is not None or not tally.reasons:
            span.set_status(trace.Status(trace.StatusCode.ERROR, exchange.ended_by or "failed"))
            span.set_attribute("error.type", exchange.ended_by or "failed")
        span.end(ended)
