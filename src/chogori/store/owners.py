"""Who holds a lease: a process, so described that another can tell whether it is still there."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, and which of its holders."""

    host: str
    boot: str
    """Differs after every start of the host; "" where the host does not say."""
    pids: str
    """The namespace that `pid` belongs to: containers of one host number their own."""
    pid: int
    started: str
    """When the process began, so that a number given anew is not taken for it; "" if unknown."""
    token: str
    """Random, so that two holders in one process are two owners."""

    def to_text(self) -> str:
        """One line, for `from_text`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Owner:
        """The owner that `to_text` wrote."""
        return cls(**json.loads(text))


def this_process() -> Owner:
    """A new owner in this process."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(),
        boot=_boot(),
        pids=_namespace(),
        pid=pid,
        started=_started(pid) or "",
        token=secrets.token_hex(8),
    )


def may_live(owner: Owner) -> bool:
    """Whether `owner` still runs, or whether that cannot be told from here."""
    if owner.host != socket.gethostname():
        return True
    if owner.boot != _boot():
        return False
    if owner.pids != _namespace():
        return True
    started = _started(owner.pid)
    return _exists(owner.pid) and (started is None or started == owner.started)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process (proc(5), stat, field 22).

    "" for one that has ended and waits to be buried; None where it cannot be known.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
