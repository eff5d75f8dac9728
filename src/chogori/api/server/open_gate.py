"""The gate of a server without a platform: everybody may come in, nothing is counted.

For a model on one's own machine. Reasoning is kept in the memory of the process, the oldest
forgotten first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

from chogori.api.platform import (
    Admission,
    Balance,
    Caller,
    Credentials,
    Demand,
    Metered,
    Pricing,
    UsageQuery,
    UsageRow,
)

MOST_BYTES = 64 * 1024 * 1024
ANYBODY = Caller(
    "local",
    "local",
    "",
    frozenset({"models", "chat", "agent", "files", "batch", "usage", "admin"}),
)


class OpenGate:
    """A `Gate` that lets everybody in."""

    async def identify(self, credentials: Credentials) -> Caller:
        return ANYBODY

    async def admit(self, caller: Caller, demand: Demand) -> Admission:
        return _Admitted()

    async def balance(self, caller: Caller) -> Balance | None:
        return None

    def price(self, model: str, stands_for: str = "") -> Pricing | None:
        return None

    async def usage(self, caller: Caller, query: UsageQuery) -> list[UsageRow]:
        return []


class _Admitted:
    def __init__(self) -> None:
        self._revoked: asyncio.Event | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return {}

    @property
    def revoked(self) -> asyncio.Event:
        if self._revoked is None:
            self._revoked = asyncio.Event()
        return self._revoked

    async def settle(self, metered: Metered) -> int | None:
        return None


class RememberedReasoning:
    """A `ReasoningStore` in memory."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, str, bytes], str] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0

    async def keep(self, organisation: str, call_id: str, digest: bytes, reasoning: str) -> None:
        key = (organisation, call_id, digest)
        self._forget(key)
        self._kept[key] = reasoning
        self._bytes += _size(reasoning)
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))

    async def find(self, organisation: str, call_id: str, digest: bytes) -> str | None:
        key = (organisation, call_id, digest)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _forget(self, key: tuple[str, str, bytes]) -> None:
        if (old := self._kept.pop(key, None)) is not None:
            self._bytes -= _size(old)


def _size(text: str) -> int:
    return 4 * len(text) + 200
