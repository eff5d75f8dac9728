"""What entries carry besides their bodies: content that can be deleted while the chain stays valid.

The chain holds a blob's address, BLAKE2b-256 of its content, keyed with a random nonce that lies
beside the content and is deleted with it. So an address proves the content while it is there, and
afterwards tells nothing, not even to somebody who guesses the content right. Equal contents of one
log are kept once. A removed blob leaves an empty row, which tells removing from losing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b

from chogori.errors import StoreError
from chogori.store.chain import ADDRESS_BYTES
from chogori.store.store import Transaction, Value, insert

_NONCE_BYTES = 16
_LONG_BYTES = 256 * 1024
_PIECE_BYTES = 2_047
"""The most for which hashlib keeps the interpreter's lock."""


def address_of(content: bytes, nonce: bytes) -> bytes:
    """What stands in the chain for `content`."""
    return _hash(content, nonce)


def is_at(address: bytes, nonce: object, content: object) -> bool:
    """Whether this, as somebody may have changed it, is what the address stands for."""
    if not (isinstance(nonce, bytes) and isinstance(content, bytes)):
        return False
    return len(nonce) == _NONCE_BYTES and address_of(content, nonce) == address


def keep_all(tx: Transaction, contents: Sequence[tuple[int, bytes]]) -> list[bytes]:
    """Keep contents, each with the log of the id before it; returns their addresses."""
    nonces = os.urandom(_NONCE_BYTES * len(contents))
    addresses: list[bytes] = []
    rows: list[tuple[Value, ...]] = []
    for number, (log, content) in enumerate(contents):
        nonce = nonces[_NONCE_BYTES * number : _NONCE_BYTES * (number + 1)]
        addresses.append(address_of(content, nonce))
        rows.append((log, addresses[-1], _digest(content), nonce, content))
    added = insert(tx, "blobs", rows, "on conflict (log, digest) do nothing returning address")
    if len(added) == len(contents):
        return addresses
    new = {address for (address,) in added}  # the others were there before
    return [
        address if address in new else _address(tx, log, content)
        for address, (log, content) in zip(addresses, contents, strict=True)
    ]


def _address(tx: Transaction, log: int, content: bytes) -> bytes:
    found = tx.execute(
        "select address from blobs where log = ? and digest = ?", (log, _digest(content))
    )
    return found[0][0]


def _digest(content: bytes) -> bytes:
    return _hash(content)


def _hash(content: bytes, key: bytes = b"") -> bytes:
    """BLAKE2b, of what is not long in pieces: for longer ones hashlib lets other threads run, and
    beside a busy event loop it takes five milliseconds to come to the turn again."""
    if len(content) > _LONG_BYTES:
        return blake2b(content, digest_size=ADDRESS_BYTES, key=key).digest()
    hash = blake2b(digest_size=ADDRESS_BYTES, key=key)
    for at in range(0, len(content), _PIECE_BYTES):
        hash.update(content[at : at + _PIECE_BYTES])
    return hash.digest()


def content_of(tx: Transaction, log: str, address: bytes) -> bytes | None:
    """The content of a blob, or None if it was removed. Raises `StoreError` if there is none."""
    found = tx.execute(
        "select content from blobs where log = (select id from logs where name = ?) "
        "and address = ?",
        (log, address),
    )
    if not found:
        raise StoreError(f"{log} has no blob {address.hex()}")
    return found[0][0]


def contents_of(tx: Transaction, log: str) -> dict[bytes, bytes]:
    """Every content of a log, by its address; without those that were removed."""
    rows = tx.execute(
        "select address, content from blobs "
        "where log = (select id from logs where name = ?) and content is not null",
        (log,),
    )
    return dict(rows)


def remove(tx: Transaction, log: str, address: bytes) -> None:
    """Delete one content, in every file of the store. Once more does no harm."""
    content_of(tx, log, address)
    tx.execute(
        "update blobs set digest = null, nonce = null, content = null "
        "where log = (select id from logs where name = ?) and address = ?",
        (log, address),
    )
    tx.scrub()


def remove_all(tx: Transaction, log: str) -> None:
    """Delete every content of a log, and what waits for its driver; see `remove`."""
    ids = tx.execute("select id from logs where name = ?", (log,))
    tx.executemany(
        "update blobs set digest = null, nonce = null, content = null where log = ?", ids
    )
    tx.executemany("delete from messages where log = ?", ids)
    tx.scrub()
