"""Where the command keeps runs: the store in the data folder. Looking for a run makes none."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from chogori.agent import kept
from chogori.apps.settings import Settings
from chogori.errors import RunNotFound, StoreError
from chogori.store import Store, open_store
from chogori.store.database import NAME


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncGenerator[Store]:
    """A store to keep runs in, made if need be. Raises `ConfigError` and `StoreError`."""
    settings.make_data()
    async with open_store(settings.data) as store:
        if store.is_read_only:
            raise StoreError(
                f"{store.path} is read-only, so no run can be kept or go on: make it and its "
                "folder writable, or name another with --data DIR"
            )
        yield store


def has_store(settings: Settings) -> bool:
    """Whether any run was ever kept in the data folder."""
    return (settings.data / NAME).exists()


@asynccontextmanager
async def found(settings: Settings, wanted: str) -> AsyncGenerator[tuple[Store, str]]:
    """The store, perhaps read-only, and the id that `wanted` means: an id, its beginning, or
    "last". Raises `RunNotFound` and `StoreError`."""
    if not has_store(settings):
        raise RunNotFound(f"there is no run {wanted!r} here; see: chogori runs list")
    async with open_store(settings.data) as store:
        yield store, await kept.find(store, wanted)


async def find_run(settings: Settings, wanted: str) -> str:
    """The id that `wanted` means; raises as `found` does."""
    async with found(settings, wanted) as (_, id):
        return id
