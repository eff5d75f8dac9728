"""What a key, a project or an organisation may take, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from types import MappingProxyType
from typing import Literal

from chogori.errors import ConfigError
from chogori.store import Transaction

Kind = Literal["key", "project", "organisation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None: without limit. Tokens are those of the prompt and all that may be written."""

    requests_per_minute: int | None = None
    """In any 60 seconds."""
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent_requests: int | None = None

    def __post_init__(self) -> None:
        for field, value in zip(fields(self), astuple(self), strict=True):
            if value is not None and value < 1:
                raise ConfigError(
                    f"{field.name} is {value}, which would let nothing through: give 1 or more, or "
                    "revoke the key"
                )


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose limits."""

    kind: Kind
    id: str
    """Of a key its public id; of a project `ORGANISATION/PROJECT`."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


TIERS: Mapping[str, Limits] = MappingProxyType(
    {
        "none": Limits(),
        "free": Limits(requests_per_minute=100),
        "tier0": Limits(
            concurrent_requests=1,
            requests_per_minute=3,
            tokens_per_minute=500_000,
            tokens_per_day=1_500_000,
        ),
        "tier1": Limits(
            concurrent_requests=50, requests_per_minute=200, tokens_per_minute=2_000_000
        ),
        "tier2": Limits(
            concurrent_requests=100, requests_per_minute=500, tokens_per_minute=3_000_000
        ),
        "tier3": Limits(
            concurrent_requests=200, requests_per_minute=5_000, tokens_per_minute=3_000_000
        ),
        "tier4": Limits(
            concurrent_requests=400, requests_per_minute=5_000, tokens_per_minute=4_000_000
        ),
        "tier5": Limits(
            concurrent_requests=1_000, requests_per_minute=10_000, tokens_per_minute=5_000_000
        ),
    }
)
"""Presets. Those with numbers are the tiers of the Moonshot API as its documents list them."""

_COLUMNS = "requests_per_minute, tokens_per_minute, tokens_per_day, concurrent_requests"


def write(tx: Transaction, subject: Subject, limits: Limits) -> None:
    """Give `subject` these limits in place of those it had."""
    tx.execute("delete from limits where subject = ?", (str(subject),))
    tx.execute(
        f"insert into limits (subject, {_COLUMNS}) values (?, ?, ?, ?, ?)",
        (str(subject), *astuple(limits)),
    )


def read(tx: Transaction) -> dict[str, Limits]:
    """The limits of every subject that was given some, by its name."""
    rows = tx.execute(f"select subject, {_COLUMNS} from limits")
    names = [field.name for field in fields(Limits)]
    return {row[0]: Limits(**dict(zip(names, row[1:], strict=True))) for row in rows}
