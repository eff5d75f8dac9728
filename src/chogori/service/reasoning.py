"""The reasoning that clients lose between turns, kept for a while: a `ReasoningStore`.

Kept by organisation, tool-call id and digest of what came before, so that nobody meets another's.
What is older than `KEPT_SECONDS` is deleted: a conversation that rests for longer goes on without.
"""

from __future__ import annotations

from chogori.store import Store, Transaction

KEPT_SECONDS = 7 * 86_400.0


class KeptReasoning:
    """A `ReasoningStore` in the store of the service."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, organisation: str, call_id: str, digest: bytes, reasoning: str) -> None:
        """See `ReasoningStore`."""

        def write(tx: Transaction) -> None:
            tx.execute(
                "insert into reasoning (organisation, call, digest, content, at) "
                "values (?, ?, ?, ?, ?) on conflict (organisation, call, digest) "
                "do update set content = excluded.content, at = excluded.at",
                (organisation, call_id, digest, reasoning, tx.now),
            )

        await self._store.write(write, synced=False)

    async def find(self, organisation: str, call_id: str, digest: bytes) -> str | None:
        """See `ReasoningStore`."""
        found = await self._store.read(
            lambda tx: tx.execute(
                "select content from reasoning where organisation = ? and call = ? and digest = ?",
                (organisation, call_id, digest),
            )
        )
        return found[0][0] if found else None

    async def forget(self) -> None:
        """Delete what is too old."""
        await self._store.write(
            lambda tx: tx.execute("delete from reasoning where at < ?", (tx.now - KEPT_SECONDS,)),
            synced=False,
        )
