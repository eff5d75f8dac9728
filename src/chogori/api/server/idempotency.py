"""`Idempotency-Key`: a request that is sent again under the same key gets the response that the
first one got, and costs nothing. The same key with another body is refused, and so is a second
request while the first still runs.

Responses that went well are kept in memory, for a day at most and within a bound of bytes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from chogori.api.platform import Refused
from chogori.api.server.exchange import JSON, Exchange

KEPT_SECONDS = 86_400.0
MOST_BYTES = 64 * 1024 * 1024
_LONGEST_KEY = 255


@dataclass(slots=True)
class Kept:
    """A response that was given."""

    digest: bytes
    until: float
    body: bytes = b""
    is_stream: bool = False
    is_done: bool = False
    headers: dict[str, str] = field(default_factory=dict[str, str])

    async def send(self, exchange: Exchange) -> None:
        """Give it again."""
        exchange.more_headers["idempotency-replayed"] = "true"
        if self.is_stream:
            await exchange.end_stream(self.body)
        else:
            await exchange.respond(self.body, headers=JSON)


class Claim:
    """A key that this request holds."""

    def __init__(self, repeats: Repeats, place: tuple[str, bytes], entry: Kept, *, is_new: bool):
        self._repeats = repeats
        self._place = place
        self._entry = entry
        self._is_new = is_new

    @property
    def kept(self) -> Kept | None:
        """The response to give again; None where this is the first request."""
        return None if self._is_new else self._entry

    def keep(self, exchange: Exchange) -> None:
        """The response went well."""
        if exchange.status == 200 and exchange.recorded is not None and not exchange.has_failed:
            self._entry.body = b"".join(exchange.recorded)
            self._entry.is_stream = exchange.keeps_alive
            self._entry.is_done = True
            self._repeats.bound(len(self._entry.body))

    def release(self) -> None:
        """Without a response to give again the key is free."""
        if self._is_new and not self._entry.is_done:
            self._repeats.forget(self._place)


class Repeats:
    """The responses that may be asked for again."""

    def __init__(
        self, *, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: OrderedDict[tuple[str, bytes], Kept] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0
        self._clock = clock

    def claim(self, exchange: Exchange, key_id: str, body: bytes) -> Claim | None:
        """The claim of a request by the API key `key_id`; None without an Idempotency-Key. What
        one API key was shown is not shown to another. Raises `Refused`."""
        key = exchange.headers.get(b"idempotency-key")
        if not key:
            return None
        if len(key) > _LONGEST_KEY:
            raise Refused(
                400,
                "invalid_request_error",
                "invalid_value",
                f"An Idempotency-Key has at most {_LONGEST_KEY} characters.",
            )
        self._forget_old()
        place, digest = (key_id, key), sha256(exchange.path.encode() + b"\n" + body).digest()
        entry = self._entries.get(place)
        if entry is None:
            entry = self._entries[place] = Kept(digest, self._clock() + KEPT_SECONDS)
            exchange.recorded = []
            return Claim(self, place, entry, is_new=True)
        if entry.digest != digest:
            raise Refused(
                409,
                "invalid_request_error",
                "conflict",
                "This Idempotency-Key was used with another request.",
                headers={"x-should-retry": "false"},
            )
        if not entry.is_done:
            raise Refused(
                409,
                "invalid_request_error",
                "conflict",
                "The first request with this Idempotency-Key still runs.",
                headers={"retry-after": "1", "x-should-retry": "true"},
            )
        return Claim(self, place, entry, is_new=False)

    def bound(self, added: int) -> None:
        """Forget the oldest, until what is kept is within the bound."""
        self._bytes += added
        for place in list(self._entries):
            if self._bytes <= self._most_bytes:
                break
            if self._entries[place].is_done:
                self.forget(place)

    def forget(self, place: tuple[str, bytes]) -> None:
        """The key is free."""
        if (entry := self._entries.pop(place, None)) is not None:
            self._bytes -= len(entry.body)

    def _forget_old(self) -> None:
        now = self._clock()
        while self._entries:
            place, entry = next(iter(self._entries.items()))
            if entry.until > now:
                break
            self.forget(place)
