"""`chogori serve`: the models, the platform in the data folder, the pages, one process.

The first start makes a key and shows it, once, with a line that can be copied to try it.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import orjson

from chogori.api import create_app
from chogori.api.server.running import run
from chogori.apps.pages import page_routes
from chogori.apps.settings import Settings
from chogori.errors import ConfigError
from chogori.presets.serving import models_to_serve

if TYPE_CHECKING:
    from chogori.api.platform import Gate, ReasoningStore

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the command says."""

    models: Sequence[str]
    host: str = "127.0.0.1"
    port: int = 8000
    is_open: bool = False
    """Whether anybody may ask, without a key."""
    json: bool = False
    access_log: bool = False
    origins: Sequence[str] = ()


def serve(settings: Settings, wanted: Serving) -> None:
    """Serve until told to stop. Raises `ConfigError`, `ModelFileError` and `StoreError`."""
    if wanted.is_open and wanted.host not in _LOOPBACK:
        raise ConfigError(
            f"--open lets anybody who reaches {wanted.host} ask without a key; it is for "
            "127.0.0.1 alone"
        )
    _log_to_stderr(access=wanted.access_log)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, wanted))


async def _serve(settings: Settings, wanted: Serving) -> None:
    settings.make_data()
    upstreams = models_to_serve(
        wanted.models,
        data=settings.data,
        environ=settings.environ,
        memory_bytes=settings.memory_bytes,
    )
    async with _platform(settings, wanted) as (gate, reasoning, key):
        app = create_app(
            upstreams,
            gate=gate,
            reasoning=reasoning,
            routes=page_routes(),
            origins=wanted.origins,
            tracer=_tracer(settings),
        )
        say = _Started(wanted, next(iter(upstreams)), key)
        await run(app, host=wanted.host, port=wanted.port, on_start=say)


@asynccontextmanager
async def _platform(
    settings: Settings, wanted: Serving
) -> AsyncGenerator[tuple[Gate | None, ReasoningStore | None, str | None]]:
    if wanted.is_open:
        yield None, None, None
        return
    from chogori.presets.platform import open_platform

    pepper = settings.environ.get("CHOGORI_PEPPER", "")
    async with open_platform(settings.data, pepper=pepper) as platform:
        yield platform.gate, platform.reasoning, platform.first_key


@dataclass(frozen=True, slots=True)
class _Started:
    """Says that the server answers, and where."""

    wanted: Serving
    model: str
    key: str | None

    def __call__(self, url: str) -> None:
        base = f"{url}/v1"
        if self.wanted.json:
            print(orjson.dumps({"url": base, "key": self.key}).decode(), flush=True)
            return
        print(f"serving at {base}", flush=True)
        if self.key:
            print(f"\nYour first key, shown this once:\n\n  {self.key}\n")
        if self.key or self.wanted.is_open:
            print(f"Try it:\n\n  {_curl(base, self.model, self.key)}\n", flush=True)


def _curl(base: str, model: str, key: str | None) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}]}
    authorization = f" -H 'Authorization: Bearer {key}'" if key else ""
    return (
        f"curl {base}/chat/completions{authorization} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(orjson.dumps(body).decode())}"
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # not on Windows
        return None
    return uvloop.new_event_loop


def _tracer(settings: Settings) -> Any:
    """A tracer that exports, where the environment names a collector."""
    if not settings.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    try:
        exporting: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        tracing: Any = import_module("opentelemetry.sdk.trace")
        batching: Any = import_module("opentelemetry.sdk.trace.export")
        resources: Any = import_module("opentelemetry.sdk.resources")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and {error.name} is not installed: "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        ) from None
    named = resources.Resource.create({"service.name": "chogori"})
    provider = tracing.TracerProvider(resource=named)
    provider.add_span_processor(batching.BatchSpanProcessor(exporting.OTLPSpanExporter()))
    return provider.get_tracer("chogori")


def _log_to_stderr(*, access: bool) -> None:
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours = logging.getLogger("chogori")
    ours.addHandler(log)
    ours.setLevel(logging.WARNING)
    if access:
        logging.getLogger("chogori.api.server.access").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addHandler(log)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
