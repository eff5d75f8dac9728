"""A file beside the database whose time of change tells every process that something was posted.

To look at it takes two microseconds; to look into the database, a turn of its thread. Only whether
the time is another one counts, not what it says, so no clock need be right.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

NAME = "chogori.bell"


class Bell:
    """That of one database."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(NAME)

    def ring(self) -> None:
        """Change the file, which is made if need be. Where that fails, what was posted is found
        later, in the transaction in which its driver appends."""
        now = time.time_ns()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.utime(descriptor, ns=(now, now))
            finally:
                os.close(descriptor)
        except OSError:
            return

    def rung(self) -> int | None:
        """Another number after each `ring`; None where it cannot be told."""
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:  # nobody has rung yet
            return 0
        except OSError:
            return None
