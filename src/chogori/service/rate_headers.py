"""How limits stand, as headers, in the three forms that clients read.

OpenAI's (`x-ratelimit-limit-requests`, durations as in Go), Moonshot's (`X-RateLimit-Limit`, of
whichever is tightest) and the IETF's (draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy`,
`RateLimit`). A refusal says when to come back: `Retry-After` in whole seconds, `retry-after-ms`.
"""

from __future__ import annotations

from chogori.service.allowances import Quota, Standing
from chogori.service.sliding_log import SECOND_NS

_MS_NS = 1_000_000
NO_RETRY = {"x-should-retry": "false"}
"""Official SDKs would try a 429 twice more."""


def headers_of(standing: Standing) -> dict[str, str]:
    """The headers of an answer; none where nothing is limited."""
    headers: dict[str, str] = {}
    quotas = [quota for quota in (standing.requests, standing.tokens) if quota is not None]
    for of, quota in (("requests", standing.requests), ("tokens", standing.tokens)):
        if quota is not None:
            headers[f"x-ratelimit-limit-{of}"] = str(quota.limit)
            headers[f"x-ratelimit-remaining-{of}"] = str(quota.left)
            headers[f"x-ratelimit-reset-{of}"] = duration(quota.reset_ns)
    if quotas:
        tightest = min(quotas, key=lambda quota: quota.left / quota.limit)
        headers["x-ratelimit-limit"] = str(tightest.limit)
        headers["x-ratelimit-remaining"] = str(tightest.left)
        headers["x-ratelimit-reset"] = str(_seconds(tightest.reset_ns))
        headers["ratelimit-policy"] = ", ".join(map(_policy, quotas))
        headers["ratelimit"] = ", ".join(map(_left, quotas))
    return headers


def retry_headers(wait_ns: int | None) -> dict[str, str]:
    """When to come back; None: it is of no use."""
    if wait_ns is None:
        return dict(NO_RETRY)
    return {"retry-after": str(_seconds(wait_ns)), "retry-after-ms": str(-(-wait_ns // _MS_NS))}


def duration(span_ns: int) -> str:
    """As Go writes it: `12ms`, `600ms`, `1.5s`, `6m0s`, `1h0m30s`; rounded up to milliseconds."""
    ms = -(-span_ns // _MS_NS)
    if ms < 1_000:
        return f"{ms}ms"
    hours, ms = divmod(ms, 3_600_000)
    minutes, ms = divmod(ms, 60_000)
    seconds, ms = divmod(ms, 1_000)
    fraction = f".{ms:03d}".rstrip("0") if ms else ""
    text = f"{seconds}{fraction}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _policy(quota: Quota) -> str:
    return f'"{quota.name}";q={quota.limit};w={quota.span}'


def _left(quota: Quota) -> str:
    return f'"{quota.name}";r={quota.left};t={_seconds(quota.reset_ns)}'


def _seconds(span_ns: int) -> int:
    return -(-span_ns // SECOND_NS)
