"""Runs one program in a sandbox, from start to the last of its processes.

Whatever ends it (its own end, the time limit, the watchdog, a cancelled task) ends all of it: when
`run` returns or raises, no process of the sandbox is left.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox import tree
from chogori.toolbox.sandbox.choose import choose
from chogori.toolbox.sandbox.launcher import Command, Launcher
from chogori.toolbox.sandbox.output import Output
from chogori.toolbox.sandbox.policy import Limits, Policy
from chogori.toolbox.sandbox.spawner import spawn

_BLOCK = 1 << 16
_LAST_WORDS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    exit_code: int
    """128 + N when signal N ended it."""
    output: str
    """stdout and stderr as they came; head and tail if it was long."""
    whole_output: Path | None
    """On the host, when `output` was cut; None otherwise."""
    timed_out: bool
    killed_by_memory: bool
    """The watchdog found the processes together over `Limits.tree_memory_bytes`."""
    killed_by_processes: bool
    """The watchdog found more than `Limits.processes`."""
    seconds: float


async def run(
    argv: Sequence[str],
    policy: Policy,
    limits: Limits,
    timeout_seconds: float,
    *,
    stdin: bytes = b"",
    launcher: Launcher | None = None,
    head: int = 8_000,
    tail: int = 8_000,
) -> Outcome:
    """Run `argv` in a sandbox and wait for it. Raises SandboxUnavailable where there is none."""
    launcher = launcher or await asyncio.to_thread(choose)
    began = time.monotonic()
    output = Output(
        policy.out,
        head=head,
        tail=tail,
        file_bytes=limits.file_bytes,
        shown_as=launcher.places(policy).out,
    )
    running = await Running.start(launcher, argv, policy, limits, stdin=bool(stdin))
    timed_out = False
    try:
        async with asyncio.timeout(timeout_seconds):
            await _talk(running, stdin, output)
    except TimeoutError:
        timed_out = True
    finally:
        await running.end()
        await _drain(running, output)
        running.close()
        printed = output.close()
    return Outcome(
        exit_code=running.exit_code,
        output=printed.text,
        whole_output=printed.whole,
        timed_out=timed_out,
        killed_by_memory=running.excess == "memory",
        killed_by_processes=running.excess == "processes",
        seconds=time.monotonic() - began,
    )


class Running:
    """A started sandbox: it is over when `end` has returned, and must be closed."""

    def __init__(self, process: subprocess.Popen[bytes], command: Command, limits: Limits) -> None:
        self.process = process
        self.excess: str | None = None
        """What the watchdog killed it for."""
        self._command = command
        self._watch = tree.Watch(
            process.pid,
            limits.tree_memory_bytes,
            limits.processes + 4,  # bubblewrap twice, or the supervisor, and who is about to exec
            self._exceeded,
        )
        tree.watchdog.add(self._watch)

    @classmethod
    async def start(
        cls,
        launcher: Launcher,
        argv: Sequence[str],
        policy: Policy,
        limits: Limits,
        *,
        stdin: bool = False,
        descriptors: Sequence[int] = (),
    ) -> "Running":
        """`descriptors` are handed to the program, under the same numbers."""
        if policy.workspace is not None and not policy.workspace.is_dir():
            raise SandboxUnavailable(
                f"there is no folder {policy.workspace} to show as /work; name one that exists"
            )
        policy.out.mkdir(parents=True, exist_ok=True)
        command = launcher.command(argv, policy, limits)
        started = spawn(
            command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            descriptors=descriptors,
        )
        waiting = asyncio.wrap_future(started)
        try:
            process = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            abandoned = cls(await waiting, command, limits)
            await abandoned.end()
            abandoned.close()
            raise
        except OSError:
            command.remove_folders()
            raise
        return cls(process, command, limits)

    @property
    def exit_code(self) -> int:
        code = self.process.returncode
        assert code is not None, "a sandbox has an exit code once it has ended"
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """End every process of it, at once."""
        if self.process.returncode is None:
            tree.kill(self.process.pid)

    async def wait(self) -> None:
        """Until it ends by itself; it stays to be reaped by `end`."""
        if self.process.returncode is not None:
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self.process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def end(self) -> None:
        """Kill what is left of it and reap it, also when the waiting task is cancelled."""
        self.kill()
        waiting = asyncio.ensure_future(self.wait())
        try:
            await asyncio.shield(waiting)
        finally:
            tree.watchdog.remove(self._watch)
            if not waiting.done():
                waiting.cancel()
            self.process.wait()
            self._command.remove_folders()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    async def read(self) -> bytes:
        """The next of what it prints; empty once nobody is left who could print."""
        pipe = self.process.stdout
        assert pipe is not None, "a sandbox is started with a pipe"
        return await read_some(pipe.fileno())

    def _exceeded(self, what: str) -> None:
        self.excess = what


async def _talk(running: Running, stdin: bytes, output: Output) -> None:
    """Feed and listen until the first process ends."""
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(_feed(running, stdin))
        listening = group.create_task(_listen(running, output))
        await running.wait()
        feeding.cancel()
        listening.cancel()


async def _feed(running: Running, data: bytes) -> None:
    pipe = running.process.stdin
    if pipe is None:
        return
    os.set_blocking(pipe.fileno(), False)
    view = memoryview(data)
    with suppress(BrokenPipeError):
        while view:
            await _ready(pipe.fileno(), writing=True)
            view = view[os.write(pipe.fileno(), view[:_BLOCK]) :]
    pipe.close()


async def _listen(running: Running, output: Output) -> None:
    while data := await running.read():
        output.add(data)
        await asyncio.sleep(0)  # a flood must not keep others waiting


async def _drain(running: Running, output: Output) -> None:
    """What was still in the pipe when the last process ended."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_SECONDS):
            await _listen(running, output)


async def read_some(descriptor: int) -> bytes:
    """What is in a pipe, as soon as there is something; empty at its end."""
    os.set_blocking(descriptor, False)
    while True:
        await _ready(descriptor)
        with suppress(BlockingIOError):
            return os.read(descriptor, _BLOCK)


async def _ready(descriptor: int, *, writing: bool = False) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    if writing:
        loop.add_writer(descriptor, ready.set)
    else:
        loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        if writing:
            loop.remove_writer(descriptor)
        else:
            loop.remove_reader(descriptor)
