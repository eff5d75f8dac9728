"""How the entries of a log hold each other: every hash covers the one before, and a seal the last.

    first  = SHA-256("chogori log 1" | kind | parent | name), each with its length before it
    hash   = SHA-256(hash before | number of addresses | addresses of its blobs | body)
    seal   = HMAC-SHA256(key, count | hash of the last | name)

Numbers are eight bytes, big end first. Changing, adding, dropping or reordering entries changes the
last hash; the seal, which takes the key, counts them, so that a cut tail shows too. Whoever has the
key, or puts back an older copy of everything, can deceive this; a head noted elsewhere tells.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

ADDRESS_BYTES = 32
_FORMAT = "chogori log 1"


def first(name: str, kind: str, parent: str | None) -> bytes:
    """The head of a log that has no entries."""
    said = [_FORMAT, kind, *([] if parent is None else [parent]), name]
    return sha256(b"".join(_number(len(text.encode())) + text.encode() for text in said)).digest()


def link(before: bytes, body: bytes, addresses: Sequence[bytes]) -> bytes:
    """The hash of the entry that follows `before`."""
    return sha256(b"".join((before, _number(len(addresses)), *addresses, body))).digest()


def split(addresses: bytes) -> list[bytes]:
    """Addresses that were joined."""
    size = ADDRESS_BYTES
    return [addresses[at : at + size] for at in range(0, len(addresses), size)]


def seal(key: bytes, name: str, count: int, head: bytes) -> bytes:
    """What only the owner of `key` can say of a log."""
    return hmac.digest(key, _number(count) + head + name.encode(), "sha256")


def is_sealed(key: bytes, name: str, count: object, head: object, said: object) -> bool:
    """Whether `said` is the seal of just this. The values may be of any type."""
    if not (isinstance(count, int) and isinstance(head, bytes) and isinstance(said, bytes)):
        return False
    return count >= 0 and hmac.compare_digest(seal(key, name, count, head), said)


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")
