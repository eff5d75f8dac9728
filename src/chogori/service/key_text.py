"""How a key is written: `sk-chg-PUBLICID-SECRET-CHECK`, all of fixed length.

PUBLICID  12 letters and digits: what the key is called in lists, logs and the database
SECRET    32 random bytes as 43 letters and digits
CHECK     the CRC-32 of all before it as 6 letters and digits, so that whoever looks for lost
          keys can tell one offline
"""

from __future__ import annotations

import re
import secrets
import zlib
from dataclasses import dataclass, field

PREFIX = "sk-chg-"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS, _SECRET_CHARS, _CHECK_CHARS = 12, 43, 6
_SECRET_BYTES = 32
_FORM = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{_ID_CHARS}}})-[0-9A-Za-z]{{{_SECRET_CHARS}}}", re.ASCII
)
_BODY_CHARS = len(PREFIX) + _ID_CHARS + 1 + _SECRET_CHARS


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key as it is shown, once."""

    id: str
    text: str = field(repr=False)


def make() -> KeyText:
    """A new key."""
    id = "".join(secrets.choice(_DIGITS) for _ in range(_ID_CHARS))
    return write(id, secrets.token_bytes(_SECRET_BYTES))


def write(id: str, secret: bytes) -> KeyText:
    """The key of that public id and secret."""
    body = f"{PREFIX}{id}-{_in_digits(int.from_bytes(secret), _SECRET_CHARS)}"
    return KeyText(id, f"{body}-{_check(body)}")


def parse(text: str) -> str | None:
    """The public id of what has the form of a key and the right checksum, or None.

    The checksum is reckoned whatever the text looks like, so that each takes as long."""
    body, check = text[:_BODY_CHARS], text[_BODY_CHARS:]
    is_right = check == f"-{_check(body)}"
    found = _FORM.fullmatch(body)
    return found[1] if found and is_right else None


def redacted(id: str) -> str:
    """How a key is named where it must not be shown."""
    return f"{PREFIX}{id}-…"


def _check(body: str) -> str:
    return _in_digits(zlib.crc32(body.encode(errors="replace")), _CHECK_CHARS)


def _in_digits(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    assert number == 0, "the length was chosen so that it fits"
    return digits
