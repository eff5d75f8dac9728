"""The Python inside a sandbox: a warm process that forks whoever does the work.

Runs inside, standard library only, as `python -I -c SOURCE FD CODE OPTIONS`. CODE is a descriptor
with the package `inside` as JSON, a text for each module, so that no file of ours need be visible;
what is needed of it is imported here, once for all who are forked. FD is a socket to the host. On
it come lines of JSON:

  {"op": "cells", "number": n} with two descriptors (its channel, its output): fork a worker
  {"op": "files", "number": n} with one (its channel): fork a worker for requests about files
     -> {"number": n, "worker": pid}; the pid is 0 where there is no room for another process
  {"op": "warm", "modules": [...]}: import these when there is nothing else to do -> {"warm": name}
  {"op": "interrupt" | "kill", "pid": pid}
  and to the host, when a worker ends -> {"dead": pid, "status": exit code or minus the signal}
"""

# Importing pathlib would be most of this script's start.
# ruff: noqa: PTH108, PTH123, PTH208

import json
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = "chogori_inside"


class Lines:
    """JSON lines on a socket, with descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffer = b""
        self.descriptors: list[int] = []

    def send(self, message: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Any:
        """The next message; None once the other side is gone."""
        while b"\n" not in self.buffer:
            data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 16, 4)
            self.descriptors += descriptors
            if not data:
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)


class Inside(MetaPathFinder, Loader):
    """Imports the modules that the host handed over as text."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != _PACKAGE or (module or "__init__") not in self.texts:
            return None
        return ModuleSpec(fullname, self, is_package=not module)

    def exec_module(self, module: ModuleType) -> None:
        text = self.texts[module.__name__.partition(".")[2] or "__init__"]
        exec(compile(text, f"<{module.__name__}>", "exec"), module.__dict__)


class Zygote:
    def __init__(self, lines: Lines, options: dict[str, Any]) -> None:
        self.lines = lines
        self.options = options
        self.to_warm: list[str] = []
        self.forked = 0
        self.woken, self.wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        self.fill_caches()
        while True:
            more = b"\n" in self.lines.buffer
            timeout = 0 if self.to_warm or more else None
            ready, _, _ = select.select([self.lines.socket, self.woken], [], [], timeout)
            if self.woken in ready:
                with suppress(BlockingIOError):
                    os.read(self.woken, 4096)
                self.reap()
            if self.lines.socket in ready or more:
                message = self.lines.receive()
                if message is None:
                    return
                self.obey(message)
            elif self.to_warm:
                self.warm(self.to_warm.pop(0))

    def obey(self, message: dict[str, Any]) -> None:
        match message["op"]:
            case "cells":
                self.fork_for_cells(message["number"])
            case "files":
                self.fork_for_files(message["number"])
            case "warm":
                self.to_warm += message["modules"]
            case "interrupt":
                with suppress(ProcessLookupError):
                    os.kill(message["pid"], signal.SIGINT)
            case _:
                self.kill(message["pid"])

    def warm(self, name: str) -> None:
        with suppress(Exception):
            import_module(name)
            self.lines.send({"warm": name})

    def fork_for_cells(self, number: int) -> None:
        """A new worker meets nothing of the one before: no process, no temporary file."""
        if self.forked and self.options["own_processes"]:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # all of this sandbox but this process and process 1
        if self.forked and self.options["own_tmp"]:
            self.empty_tmp()
        self.forked += 1
        channel, output = self.lines.descriptors.pop(0), self.lines.descriptors.pop(0)
        worker = import_module(f"{_PACKAGE}.cells").Worker

        def work() -> None:
            worker(Lines(socket.socket(fileno=channel)), output, self.options).serve()

        self.fork(number, work, channel, output)

    def fork_for_files(self, number: int) -> None:
        channel = self.lines.descriptors.pop(0)
        answer = import_module(f"{_PACKAGE}.files").answer

        def work() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            lines = Lines(socket.socket(fileno=channel))
            while (request := lines.receive()) is not None:
                lines.send(answer(request))

        self.fork(number, work, channel)

    def fork(self, number: int, work: Callable[[], None], *descriptors: int) -> None:
        """Start a child that does `work` and holds nothing but its own descriptors."""
        try:
            pid = os.fork()
        except OSError:  # there are as many processes as may be
            pid = -1
        if pid != 0:
            for descriptor in descriptors:
                os.close(descriptor)
            self.lines.send({"number": number, "worker": max(pid, 0)})
            return
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            ours = (self.lines.socket.detach(), self.wake, self.woken, *self.lines.descriptors)
            for descriptor in ours:
                os.close(descriptor)
            os.setsid()
            work()
        finally:
            os._exit(0)

    def kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.killpg(pid, signal.SIGKILL)

    def reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self.lines.send({"dead": pid, "status": os.waitstatus_to_exitcode(status)})

    def empty_tmp(self) -> None:
        for name in os.listdir("/tmp"):
            path = f"/tmp/{name}"
            shutil.rmtree(path, ignore_errors=True)  # leaves files and links
            with suppress(OSError):
                os.unlink(path)
        self.fill_caches()

    def fill_caches(self) -> None:
        """matplotlib wants a font list it can write to: it gets a copy of the one that was made."""
        if self.options["fonts"]:
            with suppress(OSError):
                config = os.environ["MPLCONFIGDIR"]
                shutil.copytree(self.options["fonts"], config, dirs_exist_ok=True)


def main() -> None:
    control, options = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[3])
    with open(int(sys.argv[2]), "rb") as code:
        sys.meta_path.insert(0, Inside(json.load(code)))
    sys.argv = [""]
    Zygote(Lines(control), options).serve()


if __name__ == "__main__":
    main()
