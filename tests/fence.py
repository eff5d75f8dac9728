"""What keeps tests to this machine and out of anybody's home. `conftest` puts it up."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

from chogori.presets.models import models_folder

MODELS = models_folder()
"""Where the developer's model files are: read before any test has a home of its own."""
HOMES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


class Fence:
    """An audit hook that, while it is up, lets no socket of this process reach beyond loopback.

    An audit hook stays for the life of the process, so there is one, and it is put up and down.
    """

    def __init__(self) -> None:
        self.is_up = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_up and event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            if isinstance(address, tuple) and not _is_loopback(str(address[0])):
                raise AssertionError(f"a test reached for {address}; only loopback is allowed")


def _is_loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


FENCE = Fence()
