"""The platform of `chogori serve` and `chogori keys`: the store, the peppers and the service of a
data folder."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chogori.api.platform import Gate, ReasoningStore
from chogori.errors import StoreError
from chogori.service import SCHEMA, Administration, Peppers, open_peppers, serving
from chogori.service.peppers import read
from chogori.store import SqliteStore, open_store

_CHECKPOINT_PAGES = 4_096
"""The log of writes is carried into the database every 16 MB: a request in a thousand waits."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What a server is handed."""

    gate: Gate
    reasoning: ReasoningStore
    administration: Administration
    first_key: str | None
    """To be shown, once; None where there are keys already."""


@asynccontextmanager
async def open_platform(data: Path, *, pepper: str = "") -> AsyncGenerator[Platform]:
    """Everything in the data folder that a server needs, made if need be; there is a key then.

    `pepper` takes the place of the file (`chogori.service.peppers` says its form). Raises
    `ConfigError`, `StoreError`, and `LeaseHeld` while another process serves this folder."""
    async with _opened(data, pepper) as (store, peppers):
        administration = Administration(store, peppers, f"serve ({_user()})")
        async with serving(store, peppers) as service:
            made = await administration.first_key()
            await service.refresh()
            yield Platform(
                service.gate, service.reasoning, administration, made.text if made else None
            )


@asynccontextmanager
async def open_administration(data: Path, *, pepper: str = "") -> AsyncGenerator[Administration]:
    """For changing keys, limits, prices and balances, also while a server runs. Raises
    `ConfigError` and `StoreError`."""
    async with _opened(data, pepper) as (store, peppers):
        yield Administration(store, peppers, f"command ({_user()})")


@asynccontextmanager
async def _opened(data: Path, pepper: str) -> AsyncGenerator[tuple[SqliteStore, Peppers]]:
    async with open_store(data, {"service": SCHEMA}, checkpoint_pages=_CHECKPOINT_PAGES) as store:
        if store.is_read_only:
            raise StoreError(
                f"{store.path} is read-only, so nothing can be metered or changed: make it and its "
                "folder writable, or name another with --data DIR"
            )
        if pepper:
            yield store, read(pepper, "CHOGORI_PEPPER")
            return
        keys = await store.read(lambda tx: tx.execute("select 1 from keys limit 1"))
        yield store, open_peppers(data, may_make=not keys)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without a name
        return str(os.getuid())
