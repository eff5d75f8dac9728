"""One sandbox that holds a warm Python and the worker it forked: the host's end of `zygote.py`.

One sandbox per run, since what a run may see (its /out, its workspace) is fixed when a sandbox is
made, and nothing then has to keep two runs apart but the kernel. Inside, the first process only
imports and forks; cells run in its child. A child that hangs, exits or is killed is replaced by a
fork of a process that has the imports already.

The first worker is forked before anything is imported, so that a first cell which needs no library
never waits for one that is being imported.
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox.launcher import Launcher
from chogori.toolbox.sandbox.output import Output
from chogori.toolbox.sandbox.policy import MIB, Limits, Policy
from chogori.toolbox.sandbox.process import Running, read_some

_ZYGOTE = Path(__file__).with_name("zygote.py")
_LONGEST_LINE = 16 * MIB
_START_SECONDS = 30.0
_KILL_SECONDS = 5.0
_PIPE_BYTES = 1 * MIB


class Channel:
    """JSON lines to and from the inside, whose word is not trusted: a long line closes it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._buffer = bytearray()

    async def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        data = json.dumps(message).encode() + b"\n"
        if descriptors:
            socket.send_fds(self._socket, [data], list(descriptors))
        else:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self) -> dict[str, Any] | None:
        """None once the other side is gone, or says what is not a message."""
        loop = asyncio.get_running_loop()
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = await loop.sock_recv(self._socket, 1 << 16)
            except OSError:
                return None
            if not data or len(self._buffer) > _LONGEST_LINE:
                return None
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message: Any = json.loads(line)
        except ValueError:
            return None
        return cast(dict[str, Any], message) if isinstance(message, dict) else None

    def close(self) -> None:
        self._socket.close()


@dataclass(slots=True)
class Worker:
    """A process that runs cells."""

    pid: int
    """Inside the sandbox."""
    channel: Channel
    printed: int
    """The read end of what it prints."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int | None = None
    """Exit code, or minus the signal; None if the whole sandbox went."""

    async def run(self, cell: dict[str, Any], output: Output) -> dict[str, Any] | None:
        """Run one cell, its prints into `output`. None if the worker ended instead of answering."""
        listening = asyncio.create_task(self._listen(output))
        answering = asyncio.create_task(self._ask(cell))
        ending = asyncio.create_task(self.ended.wait())
        try:
            await asyncio.wait((answering, ending), return_when=asyncio.FIRST_COMPLETED)
            answer = answering.result() if answering.done() else None
            if answer is None:  # its channel closed: how it ended is about to be told
                await asyncio.wait((ending,), timeout=_KILL_SECONDS)
            return answer
        finally:
            for task in (listening, answering, ending):
                task.cancel()
            await asyncio.gather(listening, answering, ending, return_exceptions=True)
            self._drain(output)

    async def _ask(self, cell: dict[str, Any]) -> dict[str, Any] | None:
        with suppress(OSError):
            await self.channel.send(cell)
        return await self.channel.receive()

    async def _listen(self, output: Output) -> None:
        while data := await read_some(self.printed):
            output.add(data)
            await asyncio.sleep(0)

    def _drain(self, output: Output) -> None:
        """What a cell printed is in the pipe before its answer is sent, and a pipe is finite."""
        os.set_blocking(self.printed, False)
        left = _PIPE_BYTES
        with suppress(BlockingIOError):
            while left > 0 and (data := os.read(self.printed, 1 << 16)):
                output.add(data)
                left -= len(data)

    def close(self) -> None:
        self.channel.close()
        os.close(self.printed)


class Workshop:
    """A started sandbox with Python in it. `end` it."""

    def __init__(self, running: Running, control: Channel) -> None:
        self.running = running
        self.warmed: set[str] = set()
        """The modules a newly forked worker has already."""
        self._control = control
        self._said = bytearray()
        self._forked: asyncio.Queue[int] = asyncio.Queue()
        self._worker: Worker | None = None
        self._gone = asyncio.Event()
        self._tasks = [asyncio.create_task(self._obey()), asyncio.create_task(self._overhear())]

    @classmethod
    async def start(cls, launcher: Launcher, policy: Policy, limits: Limits) -> "Workshop":
        places = launcher.places(policy)
        options = {
            "out": places.out,
            "fonts": places.readable.get("fonts"),
            "own_processes": launcher.own_processes,
            "own_tmp": launcher.own_tmp,
        }
        ours, theirs = socket.socketpair()
        try:
            argv = [places.python, "-I", "-c", _ZYGOTE.read_text(encoding="utf-8")]
            argv += [str(theirs.fileno()), json.dumps(options)]
            running = await Running.start(
                launcher, argv, policy, limits, descriptors=[theirs.fileno()]
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(running, Channel(ours))

    @property
    def alive(self) -> bool:
        return not self._gone.is_set()

    async def fork(self) -> Worker:
        """A new worker in place of the one before, which is gone with all it started."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        try:
            await self._control.send({"op": "worker"}, [theirs.fileno(), write])
            pid = await self._first(self._forked.get(), _START_SECONDS)
        except (OSError, TimeoutError):
            pid = None
        finally:
            theirs.close()
            os.close(write)
        worker = Worker(pid or 0, Channel(ours), read)
        if pid is None:
            worker.close()
            said = self._said.decode(errors="replace").strip()
            raise SandboxUnavailable(
                f"Python did not start in the sandbox: {said or self._why() or 'it said nothing'}"
            )
        self._worker = worker
        return worker

    async def warm(self, modules: Iterable[str]) -> None:
        """Import these in the process that forks, one at a time, when it has nothing else to do."""
        with suppress(OSError):
            await self._control.send({"op": "warm", "modules": list(modules)})

    async def interrupt(self, worker: Worker) -> None:
        with suppress(OSError):
            await self._control.send({"op": "interrupt", "pid": worker.pid})

    async def kill(self, worker: Worker) -> None:
        """End a worker; the whole sandbox if it cannot be reached."""
        with suppress(OSError):
            await self._control.send({"op": "kill", "pid": worker.pid})
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                await worker.ended.wait()
        except TimeoutError:
            self.running.kill()

    async def end(self) -> None:
        """Safe to call twice, and while a cell runs."""
        try:
            await self.running.end()
        finally:
            for task in self._tasks:
                task.cancel()
            self._lost()
            self.running.close()
            self._control.close()
            if self._worker is not None:
                self._worker.close()
                self._worker = None
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _obey(self) -> None:
        """Hear what the inside reports until it is gone."""
        try:
            while (message := await self._control.receive()) is not None:
                match message:
                    case {"worker": int(pid)}:
                        self._forked.put_nowait(pid)
                    case {"warm": str(name)}:
                        self.warmed.add(name)
                    case {"dead": int(pid), "status": int(status)}:
                        if self._worker is not None and self._worker.pid == pid:
                            self._worker.status = status
                            self._worker.ended.set()
                    case _:
                        break
        finally:
            self._lost()

    def _lost(self) -> None:
        self._gone.set()
        if self._worker is not None:
            self._worker.ended.set()

    async def _overhear(self) -> None:
        """What is printed outside of cells says why a start failed."""
        while data := await self.running.read():
            self._said += data
            del self._said[:-4096]

    async def _first(self, answer: Any, seconds: float) -> int | None:
        """`answer`, or None if the sandbox goes first."""
        answering: asyncio.Task[int] = asyncio.create_task(answer)
        going = asyncio.create_task(self._gone.wait())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait((answering, going), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
            await asyncio.sleep(0.05)  # its last words
            return None
        finally:
            answering.cancel()
            going.cancel()

    def _why(self) -> str:
        return f"over the limit of {self.running.excess}" if self.running.excess else ""
