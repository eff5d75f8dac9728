"""The keys of a running server, in memory: telling whose a key is writes nothing and looks nothing
up elsewhere.

Every text costs the same: it is parsed, looked up, digested under a pepper, and the digest is
compared, with that of nobody where there is no such key. So neither a clock nor the disk tells a
stranger which ids exist. Only whoever holds the whole key is told more, such as that it expired.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from chogori.api.platform import Caller
from chogori.service import key_text
from chogori.service.keys import Key
from chogori.service.peppers import Peppers

_MOST_CHARS = 256
"""Of a text that claims to be a key; the rest is not even digested."""


@dataclass(frozen=True, slots=True)
class Held:
    """A key on the ring."""

    key: Key
    caller: Caller
    networks: tuple[IPv4Network | IPv6Network, ...]
    revoked: asyncio.Event
    """The same for as long as the key is on a ring: requests under way wait for it."""

    def allows(self, address: str) -> bool:
        """Whether it may be used from there."""
        if not self.networks:
            return True
        try:
            where = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(where, "ipv4_mapped", None) or where
        return any(mapped in network for network in self.networks)


class KeyRing:
    """All keys, by their public ids."""

    def __init__(self, peppers: Peppers) -> None:
        self._peppers = peppers
        self._held: dict[str, Held] = {}
        self._nobody = (secrets.token_bytes(32), peppers.newest)

    def update(self, keys: Iterable[Key]) -> None:
        """Take what was added or changed; ends the requests of keys that are revoked."""
        for key in keys:
            old = self._held.get(key.id)
            held = _held(key, old.revoked if old else asyncio.Event())
            self._held[key.id] = held
            if key.revoked is not None:
                held.revoked.set()

    def find(self, text: str) -> Held | None:
        """The key that `text` is, in whatever state, or None."""
        text = text[:_MOST_CHARS]
        held = self._held.get(key_text.parse(text) or "")
        digest, pepper = (held.key.digest, held.key.pepper) if held else self._nobody
        fits = hmac.compare_digest(self._peppers.digest(text, pepper), digest)
        return held if fits else None

    @property
    def keys(self) -> Iterable[str]:
        """Their public ids."""
        return self._held

    def __getitem__(self, id: str) -> Held:
        return self._held[id]


def _held(key: Key, revoked: asyncio.Event) -> Held:
    grant = key.grant
    caller = Caller(
        organisation=grant.organisation,
        project=grant.project,
        key_id=key.id,
        scopes=grant.scopes,
        models=None if grant.models is None else frozenset(grant.models),
        shows_reasoning=grant.shows_reasoning,
    )
    return Held(key, caller, tuple(ip_network(each) for each in grant.networks), revoked)
