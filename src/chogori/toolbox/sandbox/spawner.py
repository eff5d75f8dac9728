"""One thread that starts every sandbox and lives as long as the program.

A sandbox dies with its parent (PR_SET_PDEATHSIG), and to the kernel the parent is the *thread* that
started it. A thread of a pool may end at any time and would take its sandboxes with it.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import IO

from chogori.toolbox.sandbox.launcher import Command

Stream = int | IO[bytes]
_Order = tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]


class _Spawner:
    def __init__(self) -> None:
        self.process = os.getpid()
        self.orders: SimpleQueue[_Order] = SimpleQueue()
        threading.Thread(target=self._work, name="sandbox spawner", daemon=True).start()

    def _work(self) -> None:
        while True:
            start, future = self.orders.get()
            try:
                future.set_result(start())
            except OSError as error:
                future.set_exception(error)


_lock = threading.Lock()
_spawner: _Spawner | None = None


def spawn(
    command: Command,
    *,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    descriptors: Sequence[int] = (),
) -> Future[subprocess.Popen[bytes]]:
    """Start `command` from the long-lived thread; its own descriptors are closed afterwards."""
    global _spawner
    with _lock:
        if _spawner is None or _spawner.process != os.getpid():  # a fork takes no threads along
            _spawner = _Spawner()
        spawner = _spawner

    def start() -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command.argv,
                executable=command.program,
                env=command.env,
                cwd="/",
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(*command.descriptors, *descriptors),
                start_new_session=True,
            )
        finally:
            command.close()

    future: Future[subprocess.Popen[bytes]] = Future()
    spawner.orders.put((start, future))
    return future
