"""Which key goes to which host. A key is never sent to any other.

In order:
  1. DATA/endpoint_keys.json, {"HOST" or "HOST:PORT": "KEY"}; refused if others can read it
  2. CHOGORI_API_KEY, to the host that CHOGORI_API_HOST names (HOST, or HOST:PORT)
  3. MOONSHOT_API_KEY, to api.moonshot.ai and api.moonshot.cn; OPENAI_API_KEY, to api.openai.com

Key 3 leaves the machine through TLS only; the hosts of 1 and 2 were named by a person. The
environment comes as an argument: it is read in `apps` alone. Most local servers want no key; so no
key is no error until an endpoint asks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from chogori.api.fields import record
from chogori.errors import ConfigError

FILE = "endpoint_keys.json"
_OWN = {
    "api.moonshot.ai": "MOONSHOT_API_KEY",
    "api.moonshot.cn": "MOONSHOT_API_KEY",
    "api.openai.com": "OPENAI_API_KEY",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """A key source: asked for the key of an address, it answers with one or with None."""

    data: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def __call__(self, url: str) -> str | None:
        """See `key_for`."""
        return key_for(url, self.data, self.environ)

    def advice(self, url: str) -> str:
        """How to give `url` a key. Raises `ConfigError` where a key waits for its host's name."""
        host, name, _ = _parts(url)
        if self.environ.get("CHOGORI_API_KEY") and not self.environ.get("CHOGORI_API_HOST"):
            raise ConfigError(
                f"{url} wants a key. CHOGORI_API_KEY is set, but CHOGORI_API_HOST is not, and a "
                f"key goes only to the host it is for; set CHOGORI_API_HOST={host}"
            )
        ways = [f'put {{"{host}": "KEY"}} into {self.data / FILE}'] if self.data else []
        if name in _OWN:
            ways.append(f"set {_OWN[name]}")
        else:
            ways.append(f"set CHOGORI_API_KEY and CHOGORI_API_HOST={host}")
        return "to give it a key, " + ", or ".join(ways)


def key_for(url: str, data: Path | None, environ: Mapping[str, str]) -> str | None:
    """The key for the host of `url`, or None. Raises `ConfigError` about a file it must not use."""
    host, name, is_tls = _parts(url)
    kept = _read_file(data / FILE) if data else {}
    for place in (host, name):
        if place in kept:
            return kept[place]
    own = environ.get("CHOGORI_API_KEY")
    if own and environ.get("CHOGORI_API_HOST", "").strip().lower() in (host, name):
        return own.strip()
    if is_tls and host in (name, f"{name}:443") and name in _OWN:
        return environ.get(_OWN[name], "").strip() or None
    return None


def _parts(url: str) -> tuple[str, str, bool]:
    """Host with the port, if one is written; host; and whether the way there is TLS."""
    parts = urlsplit(url)
    name = (parts.hostname or "").rstrip(".")
    shown = f"[{name}]" if ":" in name else name
    host = f"{shown}:{parts.port}" if parts.port else shown
    return host, name, parts.scheme == "https"


def _read_file(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(
                    f"{path} holds keys, and others on this machine can read it; "
                    f"make it yours alone: chmod 600 {path}"
                )
            found: object = orjson.loads(file.read())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        # The error's own text could show a piece of a key.
        raise ConfigError(f"{path}, line {error.lineno}: this is not JSON") from None
    kept = record(found)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in kept.values()):
        raise ConfigError(f'{path} must hold an object such as {{"api.moonshot.ai": "KEY"}}')
    return {host.lower(): key.strip() for host, key in kept.items()}
