"""Runs cells of Python, one after another, in a process that was forked for them.

A cell is {"code", "name", "replay"}; its answer is {"error", "figures"}. What the code
prints goes to the output descriptor, which is also its stdout and stderr, so that the protocol
never shares a descriptor with user code; children that the code forks lose the channel.
"""

# Importing pathlib would be most of this module's start.
# ruff: noqa: PTH123

import ast
import builtins
import io
import linecache
import os
import signal
import sys
import traceback
import types
from contextlib import suppress
from socket import socket as Socket
from typing import Any, Protocol

_ERROR_CHARACTERS = 6_000


class Lines(Protocol):
    """The zygote's channel: lines of JSON on a socket."""

    socket: Socket

    def send(self, message: dict[str, Any]) -> None: ...

    def receive(self) -> Any: ...


class Worker:
    """Serve it, and it runs cells until the host closes the channel."""

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
    frames = [frame for frame in report.stack if frame.filename != _OURS]
    cells = [at for at, frame in enumerate(frames) if frame.filename.startswith("<cell ")]
    last = cells[-1] if cells else len(frames)
    report.stack[:] = [frames[at] for at in cells] + frames[last + 1 :][-1:]
    for frame in report.stack:
        for marker in ("site-packages/", "dist-packages/", "/lib/python"):
            frame.filename = frame.filename.rpartition(marker)[2]
    for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
        shorten(other, seen)


_OURS = shorten.__code__.co_filename
