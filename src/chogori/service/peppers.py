"""The peppers: secrets of the server without which nothing in the database tells a key.

The database keeps HMAC-SHA256(pepper, key) and the version of the pepper. Peppers lie in a file of
the data folder, for its owner alone, or are handed in by whoever reads the environment; never in
the database. New keys take the newest; an older one must stay as long as keys of it are used.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chogori.errors import ConfigError

FILE = "peppers"
_BYTES = 32
_LINE = re.compile(rf"([1-9]\d{{0,8}}):([0-9a-f]{{{2 * _BYTES}}})")


@dataclass(frozen=True, slots=True)
class Peppers:
    """Every pepper by its version."""

    by_version: Mapping[int, bytes] = field(repr=False)

    @property
    def newest(self) -> int:
        """The version that new keys take."""
        return max(self.by_version)

    def digest(self, key: str, version: int) -> bytes:
        """What the database knows of a key. An unknown version takes as long, and fits nothing."""
        pepper = self.by_version.get(version, b"\0" * _BYTES)
        return hmac.digest(pepper, key.encode(errors="replace"), "sha256")


def read(text: str, where: str) -> Peppers:
    """The peppers that `text` lists, `VERSION:64 hexadecimal digits` each, on lines or between
    commas. Raises `ConfigError`; `where` names the place, and no message shows the text."""
    found = [_LINE.fullmatch(item.strip()) for item in re.split(r"[\n,]", text) if item.strip()]
    peppers = {int(line[1]): bytes.fromhex(line[2]) for line in found if line}
    if not peppers or len(peppers) != len(found):
        raise ConfigError(
            f"{where} does not list peppers: expected VERSION:HEX for each, with {2 * _BYTES} "
            "hexadecimal digits, every version once; put it back from a backup"
        )
    return Peppers(peppers)


def open_peppers(folder: Path, *, may_make: bool) -> Peppers:
    """The peppers in the file of `folder`. One is made only where there are no keys yet
    (`may_make`): a new one would fit none of them. Raises `ConfigError`."""
    path = folder / FILE
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(
                f"{path} can be read by others, and it protects every key: chmod 600 {path}"
            )
        return read(path.read_text(encoding="ascii", errors="replace"), str(path))
    except FileNotFoundError:
        if not may_make:
            raise ConfigError(
                f"{path} is missing: without it no key can be told; put it back from a backup, or "
                "give what was in it in CHOGORI_PEPPER"
            ) from None
        return _make(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _make(path: Path) -> Peppers:
    """A first pepper, whole and safe on disk under its name, or the one that another process made
    meanwhile."""
    line = f"1:{secrets.token_hex(_BYTES)}\n"
    draft = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600), "w") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return open_peppers(path.parent, may_make=False)
        finally:
            draft.unlink()
        _sync(path.parent)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    return read(line, str(path))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
