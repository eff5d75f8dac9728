"""Addresses from which wrong keys come: after a burst of them each is told to wait.

Good keys are never held up: many share an address behind a proxy. What is kept is a time for each
address, for so many addresses at most; nothing is written anywhere.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from chogori.service.sliding_log import SECOND_NS

BURST = 30
"""Wrong keys in a row that are each told apart."""
_EACH_NS = 2 * SECOND_NS
"""One more is forgiven every so often."""
_MOST = 10_000
_NETWORK_BITS = 64
"""Whoever has one IPv6 address has a whole network of them."""


class Strangers:
    """By address, the time at which all is forgiven."""

    def __init__(self) -> None:
        self._forgiven: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._forgiven)

    def failed(self, address: str, now: int) -> int:
        """Count a wrong key; returns the nanoseconds to wait, 0 within the burst."""
        place = _place(address)
        at = max(self._forgiven.pop(place, now), now)
        wait = at + _EACH_NS - BURST * _EACH_NS - now
        if wait > 0:
            self._forgiven[place] = at
            return wait
        self._forgiven[place] = at + _EACH_NS  # popped and put back: the newest comes last
        if len(self._forgiven) > _MOST:
            del self._forgiven[next(iter(self._forgiven))]
        return 0


def _place(address: str) -> str:
    try:
        where = ip_address(address)
    except ValueError:
        return address[:_NETWORK_BITS]
    if isinstance(where, IPv6Address) and where.ipv4_mapped is None:
        return str(int(where) >> (128 - _NETWORK_BITS))
    return str(getattr(where, "ipv4_mapped", None) or where)
