"""The processes below a process: who they are, what memory they hold, how they end.

Descendants are found through /proc on the host's side, where the sandbox's own process ids do not
matter. Bubblewrap's process 1 and the Landlock supervisor adopt orphans, so that whatever a program
leaves behind stays below the process we started.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
_INTERVAL_SECONDS = 0.1


def _tasks(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (asked ten times a second)


def descendants(root: int) -> list[int]:
    """The ids of all processes below `root`, parents before children."""
    found: list[int] = []
    ahead = [root]
    while ahead:
        pid = ahead.pop()
        with suppress(OSError):
            for task in _tasks(pid):
                with suppress(OSError):
                    listed = Path(f"/proc/{pid}/task/{task}/children").read_text()
                    children = [int(word) for word in listed.split()]
                    found += children
                    ahead += children
    return found


def kill(root: int) -> None:
    """End `root`, which must be an unreaped child of ours, and all below it.

    All are stopped before any is killed, so that none can fork away meanwhile; `root` goes last,
    since it adopts the orphans.
    """
    for _ in range(100):
        below = descendants(root)
        living = [pid for pid in below if not _is_dead(pid)]
        if not living:
            break
        for kind in (signal.SIGSTOP, signal.SIGKILL):
            for pid in living:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, kind)
    with suppress(ProcessLookupError):
        os.kill(root, signal.SIGKILL)


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@dataclass(frozen=True, slots=True)
class Held:
    """What a tree of processes holds."""

    memory_bytes: int
    tasks: int


def held_by(root: int) -> Held:
    """Resident memory and tasks of `root` and all below it; shared pages count in every process."""
    memory = tasks = 0
    for pid in (root, *descendants(root)):
        with suppress(OSError, ValueError, IndexError):
            memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
            tasks += len(_tasks(pid))
    return Held(memory, tasks)


def shared_fairly(root: int) -> int:
    """Resident memory with shared pages divided among those who share them (PSS). Slower."""
    total = 0
    for pid in (root, *descendants(root)):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
        except (OSError, IndexError, ValueError):
            with suppress(OSError, IndexError, ValueError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return total


@dataclass(frozen=True, slots=True)
class Watch:
    """One tree under the watchdog's eyes."""

    root: int
    memory_bytes: int
    tasks: int
    on_excess: Callable[[str], None]
    """Told what was exceeded, from the watchdog's thread, just before the tree is killed."""


class Watchdog:
    """A thread that looks at every watched tree ten times a second while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        with self._lock:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name="sandbox watchdog", daemon=True
                )
                self._thread.start()

    def remove(self, watch: Watch) -> None:
        """To be called before the root is reaped: until then its id cannot be another's."""
        with self._lock:
            self._watches.discard(watch)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._watches:
                    self._thread = None
                    return
                for watch in list(self._watches):
                    self._look(watch)
            time.sleep(_INTERVAL_SECONDS)

    def _look(self, watch: Watch) -> None:
        held = held_by(watch.root)
        memory = held.memory_bytes
        if memory > watch.memory_bytes:
            memory = shared_fairly(watch.root)
        if memory > watch.memory_bytes:
            watch.on_excess("memory")
        elif held.tasks > watch.tasks:
            watch.on_excess("processes")
        else:
            return
        self._watches.discard(watch)
        kill(watch.root)


watchdog = Watchdog()
