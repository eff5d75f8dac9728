"""What a sandbox may touch and how much it may use.

`Policy` names folders, `Limits` amounts. Both are values: how they are enforced is a launcher's
business. The folder at `/work` belongs to the user: it is read-only unless `work_writable`, and its
owner and mode are never changed. The folder at `/out` is the run's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chogori.toolbox.sandbox.interpreter import Interpreter

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Amounts for one sandbox; `None` leaves cpu time to the caller's own timeout."""

    cpu_seconds: int | None = 60
    """Per process (RLIMIT_CPU)."""
    memory_bytes: int = 1024 * MIB
    """Per process, private memory (RLIMIT_DATA): beyond it an allocation fails."""
    tree_memory_bytes: int = 2048 * MIB
    """Resident memory of all processes together: beyond it the sandbox is killed."""
    processes: int = 64
    """Processes and threads together."""
    file_bytes: int = 100 * MIB
    """The largest file that can be written."""
    open_files: int = 256
    tmp_bytes: int = 256 * MIB
    """Size of the private /tmp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is visible inside."""

    out: Path
    """Bound at /out, always writable; created when it is not there."""
    workspace: Path | None = None
    """Bound at /work."""
    work_writable: bool = False
    python: Interpreter | None = field(default_factory=Interpreter.running)
    """The interpreter on PATH inside; None for the system's own."""
    readable: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """More to show read-only, by its name below /opt/chogori."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Places:
    """Where the folders are, as a program inside sees them."""

    work: str
    out: str
    python: str
    readable: Mapping[str, str]
