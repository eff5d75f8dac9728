"""What the server needs of a platform: who asks, whether they may, and what it took.

Declared here and implemented in `service`, so that the wire knows nothing of keys, limits, ledgers
and databases. A request goes through it in this order: `identify` (before its body is read),
`admit` (when its size is known), and `settle`, once, however it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from chogori.chat import Usage

Scope = Literal["models", "chat", "agent", "files", "batch", "usage", "admin"]
Outcome = Literal["finished", "cut", "failed"]
"""How a request ended: whole, left by its client or revoked in the middle, or by an error."""


class Refused(Exception):
    """The platform says no. Told to the client as it is, in the shape of OpenAI's errors."""

    def __init__(
        self,
        status: int,
        kind: str,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        """The `type` of the error body, in Moonshot's names."""
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of who sends it."""

    key: str | None = field(repr=False)
    """From `Authorization: Bearer` or `x-api-key`."""
    address: str
    """The IP address of the client."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, once the key was found good."""

    organisation: str
    project: str
    key_id: str
    """The public part of the key."""
    scopes: frozenset[Scope]
    models: frozenset[str] | None = None
    """The models it may ask; None: all."""
    shows_reasoning: bool = True
    """Whether replies carry their reasoning."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request may take, at most."""

    request_id: str
    model: str
    prompt_tokens: int
    """As estimated."""
    completion_tokens: int
    """The most that may be written, in all of the replies that are asked for."""
    stands_for: str = ""
    """The model's own name, by which it is priced where `model`, as it is served, has no price."""


@dataclass(frozen=True, slots=True)
class Metered:
    """What a request took."""

    usage: Usage
    outcome: Outcome
    seconds: float
    first_token_seconds: float | None = None
    """None where no token came."""
    upstream_seconds: float = 0.0
    """The part of `seconds` in which a model was waited for."""


class Admission(Protocol):
    """A request that was let in: it holds what it may take, until it is settled."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The rate-limit headers of the response."""
        ...

    @property
    def revoked(self) -> asyncio.Event:
        """Set when the key is revoked: the request must end within a second."""
        ...

    async def settle(self, metered: Metered) -> int | None:
        """Bill what was taken and give back the rest; microdollars, or None where no price is
        known. It is recorded when this returns; call it before the last byte is sent. Again, it
        does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Balance:
    """What an organisation can spend, in microdollars."""

    cash: int
    voucher: int = 0


@dataclass(frozen=True, slots=True)
class Pricing:
    """What tokens of a model cost, in microdollars for a million: 600,000 is $0.60."""

    input: int
    cached: int
    """Of prompt tokens that were read from a cache."""
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which usage is asked for: [start, end) in seconds since the epoch, in buckets."""

    start: int
    end: int | None = None
    bucket_seconds: int = 86_400
    group_by: tuple[Literal["project_id", "api_key_id", "model"], ...] = ()
    projects: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    limit: int = 7
    """Buckets."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one bucket and one group; a name is None where it is not grouped by."""

    start: int
    end: int
    usage: Usage
    requests: int
    microdollars: int
    project: str | None = None
    key_id: str | None = None
    model: str | None = None


class Gate(Protocol):
    """Lets requests in. Everything it refuses is a `Refused`."""

    async def identify(self, credentials: Credentials) -> Caller:
        """Whose key it is (401), and whether it may be used from there (403)."""
        ...

    async def admit(self, caller: Caller, demand: Demand) -> Admission:
        """Take what `demand` may need from every limit and from the balance: all of it, or none
        of it and a refusal (429) that names the tightest."""
        ...

    async def balance(self, caller: Caller) -> Balance | None:
        """What the caller's organisation can spend; None where nothing is prepaid."""
        ...

    def price(self, model: str, stands_for: str = "") -> Pricing | None:
        """What a model costs now, named as in `Demand`; None where no price is known, and nothing
        is billed."""
        ...

    async def usage(self, caller: Caller, query: UsageQuery) -> list[UsageRow]:
        """What the caller's organisation used."""
        ...


class ReasoningStore(Protocol):
    """Keeps what clients lose between turns."""

    async def keep(self, organisation: str, call_id: str, digest: bytes, reasoning: str) -> None:
        """Remember the reasoning of the reply that made the call `call_id`; `digest` is of the
        messages before that reply."""
        ...

    async def find(self, organisation: str, call_id: str, digest: bytes) -> str | None:
        """That reasoning, or None where nothing matches all three."""
        ...
