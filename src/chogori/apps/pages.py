"""The pages that come with a server: the chat at `/`, the documentation at `/docs`.

Plain files in `apps/web`, read once. They load nothing from anywhere else, and the policy that is
sent with them lets the browser load nothing else: no inline script, no other host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from chogori.errors import ConfigError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

WEB = Path(__file__).parent / "web"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
        # Nothing here writes HTML; where the browser can hold us to that, it does.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Asked for again each time, and answered with 304 where it is the same.
    "Cache-Control": "no-cache",
}
_NAMES = {"index.html": "/", "docs.html": "/docs"}


def page_routes() -> list[Route]:
    """A route for each file: `/`, `/docs`, and what these load under `/page/`. Raises `ConfigError`
    where the extra `serve` is not installed."""
    try:
        from starlette.routing import Route
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"serving needs {error.name}, which is not installed: pip install 'chogori[serve]'"
        ) from None
    return [
        Route(_NAMES.get(path.name, f"/page/{path.name}"), _serving(path), methods=["GET"])
        for path in sorted(WEB.iterdir())
        if path.suffix in _KINDS
    ]


def _serving(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that answers with one file."""
    from starlette.responses import Response

    body = path.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = _HEADERS | {"ETag": tag, "Content-Type": _KINDS[path.suffix]}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)

    return serve
