"""When an endpoint is asked again, and how long to wait before.

Only what may pass is tried again (a refusal for now, a server's own trouble, no connection), and
only while nothing of the reply has been passed on. Waits grow exponentially, with jitter, and are
never shorter than what the endpoint asks for. An endpoint that asks for more patience than is left
is not waited for: the error says how long it wanted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

RETRIED = (408, 409, 425, 429)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How patient a client is."""

    tries: int = 6
    """Requests in all."""
    total_seconds: float = 180.0
    """Waiting in all."""
    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    random: Callable[[], float] = random.random
    """Jitter: a number from 0 to 1."""

    def wait_seconds(
        self, tried: int, waited: float, after_seconds: float | None = None
    ) -> float | None:
        """How long to wait after `tried` requests and `waited` seconds; None to give up."""
        if tried >= self.tries:
            return None
        grown = min(self.longest_seconds, self.first_seconds * 2 ** (tried - 1))
        wait = grown * (0.5 + self.random() / 2)
        if after_seconds is not None:
            # Not all at once, when the time has come.
            wait = max(wait, after_seconds + self.first_seconds * self.random())
        return wait if waited + wait <= self.total_seconds else None


def may_retry(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a refusal may pass. `x-should-retry` has the last word."""
    match headers.get("x-should-retry", "").lower():
        case "false":
            return False
        case "true":
            return True
        case _:
            return status in RETRIED or (status >= 500 and status != 501)


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """How long the endpoint asks to wait: `retry-after-ms`, or Retry-After in seconds or as a date.

    `now` is the time of day, in seconds since 1970; None where nothing that can be read was said.
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, date.timestamp() - now)
