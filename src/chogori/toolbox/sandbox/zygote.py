"""The Python inside a sandbox: a warm process that forks the worker which runs the cells.

Runs inside, standard library only, as `python -I -c SOURCE FD OPTIONS`. FD is a socket to the host.
On it come lines of JSON:

  {"op": "worker"} with two descriptors (its channel, its output): fork a worker -> {"worker": pid}
  {"op": "warm", "modules": [...]}: import these when there is nothing else to do -> {"warm": name}
  {"op": "interrupt" | "kill", "pid": pid}
  and to the host, when a worker ends -> {"dead": pid, "status": exit code or minus the signal}

A worker answers {"code", "number", "name", "replay"} on its own channel with {"error", "figures"}.
What the code prints goes to the output descriptor, which is also its stdout and stderr, so that the
protocol never shares a descriptor with user code; forked children lose the channel.
"""

# Importing pathlib would be most of this script's start.
# ruff: noqa: PTH108, PTH123, PTH208

import ast
import builtins
import io
import json
import linecache
import os
import select
import shutil
import signal
import socket
import sys
import traceback
import types
from contextlib import suppress
from importlib import import_module
from typing import Any

_ERROR_CHARACTERS = 6_000


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
            case "worker":
                self.fork()
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

    def fork(self) -> None:
        """A new worker meets nothing of the one before: no process, no temporary file."""
        if self.forked and self.options["own_processes"]:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # all of this sandbox but this process and process 1
        if self.forked and self.options["own_tmp"]:
            self.empty_tmp()
        self.forked += 1
        channel, output = self.lines.descriptors.pop(0), self.lines.descriptors.pop(0)
        if pid := os.fork():
            os.close(channel)
            os.close(output)
            self.lines.send({"worker": pid})
            return
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (self.lines.socket.detach(), self.wake, self.woken):
                os.close(descriptor)
            os.setsid()
            Worker(Lines(socket.socket(fileno=channel)), output, self.options).serve()
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


class Worker:
    def __init__(self, lines: Lines, output: int, options: dict[str, Any]) -> None:
        self.lines = lines
        self.output = output
        self.options = options
        self.pid = os.getpid()
        # What the cells define is in the module named __main__, where pickle looks for it.
        self.module = types.ModuleType("__main__")
        self.zygote = sys.modules["__main__"]
        sys.modules["__main__"] = self.module
        self.namespace = self.module.__dict__
        os.register_at_fork(after_in_child=self.let_go)

    def let_go(self) -> None:
        os.close(self.lines.socket.detach())
        os.close(self.output)

    def serve(self) -> None:
        builtins.input = _no_input
        while (cell := self.lines.receive()) is not None:
            self.connect_output()
            error, figures = self.run(cell)
            if os.getpid() != self.pid:
                os._exit(0)  # the code forked, and this is the child that came back
            self.lines.send({"error": error, "figures": figures})

    def connect_output(self) -> None:
        """stdout and stderr are made anew for each cell: the one before may have closed them."""
        for descriptor in (1, 2):
            os.dup2(self.output, descriptor)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            raw = io.FileIO(descriptor, "w", closefd=False)
            buffer = io.BufferedWriter(raw)
            text = io.TextIOWrapper(buffer, "utf-8", errors="replace", line_buffering=True)
            setattr(sys, name, text)

    def run(self, cell: dict[str, Any]) -> tuple[str | None, list[str]]:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return self.execute(cell)
        except KeyboardInterrupt:  # it came between the code and the report on it
            return "KeyboardInterrupt", []

    def execute(self, cell: dict[str, Any]) -> tuple[str | None, list[str]]:
        name, source = cell["name"], cell["code"]
        try:
            tree = ast.parse(source, name)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            body = compile(tree, name, "exec")
            value = None if last is None else compile(ast.Expression(last.value), name, "eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return "".join(traceback.format_exception_only(error)).rstrip(), []
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        error = None
        try:
            exec(body, self.namespace)
            if value is not None:
                result = eval(value, self.namespace)
                if result is not None:
                    print(repr(result))
        except BaseException as caught:
            error = describe(caught)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getpid() != self.pid:
            return error, []
        figures, failure = self.save_figures(replay=cell["replay"])
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        return error or failure, figures

    def save_figures(self, *, replay: bool) -> tuple[list[str], str | None]:
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        saved: list[str] = []
        failure = None
        try:
            numbers: list[int] = pyplot.get_fignums() if pyplot else []
            for number in numbers:
                if not replay:
                    saved.append(self.save(pyplot.figure(number)))
                pyplot.close(number)
        except BaseException as caught:
            failure = describe(caught)
            with suppress(Exception):
                pyplot.close("all")
        return saved, failure

    def save(self, figure: Any) -> str:
        number = 1
        while True:
            name = f"figure-{number}.png"
            with suppress(FileExistsError), open(f"{self.options['out']}/{name}", "xb") as file:
                figure.savefig(file, format="png", bbox_inches="tight")
                return name
            number += 1


def _no_input(prompt: object = "") -> str:
    raise EOFError("input() has nobody to ask here; write the value into the code")


def describe(error: BaseException) -> str:
    """A short traceback: the cells' own lines, and the library's last one without its folder."""
    try:
        report = traceback.TracebackException.from_exception(error, compact=True)
        shorten(report, set())
        text = "".join(report.format()).rstrip()
    except BaseException:
        text = type(error).__name__
    for folder in sorted({sys.prefix, sys.base_prefix}, key=len, reverse=True):
        text = text.replace(folder, "<python>")
    half = _ERROR_CHARACTERS // 2
    return text if len(text) <= 2 * half else f"{text[:half]}\n[...]\n{text[-half:]}"


def shorten(report: traceback.TracebackException | None, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    frames = [frame for frame in report.stack if frame.filename != "<string>"]  # this script's own
    cells = [at for at, frame in enumerate(frames) if frame.filename.startswith("<cell ")]
    last = cells[-1] if cells else len(frames)
    report.stack[:] = [frames[at] for at in cells] + frames[last + 1 :][-1:]
    for frame in report.stack:
        for marker in ("site-packages/", "dist-packages/", "/lib/python"):
            frame.filename = frame.filename.rpartition(marker)[2]
    for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
        shorten(other, seen)


def main() -> None:
    control, options = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    sys.argv = [""]
    Zygote(Lines(control), options).serve()


if __name__ == "__main__":
    main()
