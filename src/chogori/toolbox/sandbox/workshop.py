"""One sandbox that holds a warm Python and those it forked: the host's end of `zygote.py`.

One sandbox per run, since what a run may see (its /out, its workspace) is fixed when a sandbox is
made, and nothing then has to keep two runs apart but the kernel. Inside, the first process only
imports and forks. One child runs the cells: if it hangs, exits or is killed it is replaced by a
fork of a process that has the imports already. Requests about files are answered by other children,
one at a time by each, so that none waits for a cell, or for another that hangs; one or two of them
are kept for the next, since a fork of a process with large libraries takes a while.

The first worker is forked before anything is imported, so that a first cell which needs no library
never waits for one that is being imported. What runs cells may do as it likes with the other
processes of its sandbox: their answers are data from outside.
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox.channel import Channel
from chogori.toolbox.sandbox.launcher import Launcher, in_memory
from chogori.toolbox.sandbox.policy import Limits, Policy
from chogori.toolbox.sandbox.process import Running
from chogori.toolbox.sandbox.worker import Worker

_HERE = Path(__file__).parent
_START_SECONDS = 30.0
_KILL_SECONDS = 5.0
_GRACE_SECONDS = 1.0
_MOST_ASKED = 8
_MOST_IDLE = 2


@cache
def _code() -> bytes:
    """The package `inside`, to be handed in: the text of each module by its name."""
    files = sorted((_HERE / "inside").glob("*.py"))
    return json.dumps({file.stem: file.read_text(encoding="utf-8") for file in files}).encode()


@dataclass(frozen=True, slots=True)
class _FileWorker:
    pid: int
    channel: Channel


class Workshop:
    """A started sandbox with Python in it. `end` it."""

    def __init__(self, running: Running, control: Channel) -> None:
        self.running = running
        self.warmed: set[str] = set()
        """The modules a newly forked worker has already."""
        self._control = control
        self._said = bytearray()
        self._numbers = count(1)
        self._forked: dict[int, asyncio.Future[int]] = {}
        self._is_proven = False
        """Whether a process was forked in it."""
        self._worker: Worker | None = None
        self._idle: list[_FileWorker] = []
        self._turns = asyncio.Semaphore(_MOST_ASKED)
        self._asked = 0
        self._unasked = asyncio.Event()
        self._unasked.set()
        self._replacing = asyncio.Lock()
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
        code = in_memory("inside", _code())
        try:
            source = (_HERE / "zygote.py").read_text(encoding="utf-8")
            argv = [places.python, "-I", "-c", source]
            argv += [str(theirs.fileno()), str(code), json.dumps(options)]
            running = await Running.start(
                launcher, argv, policy, limits, descriptors=[theirs.fileno(), code]
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(code)
        return cls(running, Channel(ours))

    @property
    def alive(self) -> bool:
        return not self._gone.is_set()

    async def fork(self) -> Worker:
        """A new worker in place of the one before, which is gone with all it started."""
        async with self._replacing:
            if self._worker is not None:
                await self._unasked.wait()  # replacing a worker ends every other process
                self._dismiss()
                self._worker.close()
                self._worker = None
            read, write = os.pipe()
            try:
                pid, channel = await self._fork("cells", write)
            except BaseException:
                os.close(read)
                raise
            finally:
                os.close(write)
            self._worker = Worker(pid, channel, read)
            return self._worker

    async def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """What a process inside answers to a request about files, unchecked.

        None if it ended instead: whether it did what was asked is then unknown. Raises
        TimeoutError after `seconds`, and SandboxUnavailable if no process can be made.
        """
        async with self._turns:
            async with self._replacing:
                self._asked += 1
                self._unasked.clear()
            try:
                worker = self._idle.pop() if self._idle else _FileWorker(*await self._fork("files"))
                return await self._answer(worker, request, seconds)
            except SandboxUnavailable:
                if self.alive or not self._is_proven:
                    raise
                return None  # it went just now
            finally:
                self._asked -= 1
                if not self._asked:
                    self._unasked.set()

    async def warm(self, modules: Iterable[str]) -> None:
        """Import these in the process that forks, one at a time, when it has nothing else to do."""
        with suppress(OSError):
            await self._control.send({"op": "warm", "modules": list(modules)})

    async def interrupt(self, worker: Worker) -> None:
        await self._signal("interrupt", worker.pid)

    async def kill(self, worker: Worker) -> None:
        """End a worker; the whole sandbox if it cannot be reached."""
        await self._signal("kill", worker.pid)
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
            self._dismiss()
            if self._worker is not None:
                self._worker.close()
                self._worker = None
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fork(self, kind: str, *descriptors: int) -> tuple[int, Channel]:
        """A new process inside, and the channel to it."""
        ours, theirs = socket.socketpair()
        number = next(self._numbers)
        forked = self._forked[number] = asyncio.get_running_loop().create_future()
        pid = None
        try:
            order = {"op": kind, "number": number}
            with suppress(OSError, TimeoutError):
                await self._control.send(order, [theirs.fileno(), *descriptors])
                pid = await self._first(forked, _START_SECONDS)
            if pid is None:
                said = self._said.decode(errors="replace").strip() or self._why()
                raise SandboxUnavailable(
                    f"Python did not start in the sandbox: {said or 'it said nothing'}"
                )
            self._is_proven = True
            if pid == 0:
                raise SandboxUnavailable(
                    "the sandbox has no room for another process: a program in it has taken all"
                )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            del self._forked[number]
        return pid, Channel(ours)

    async def _answer(
        self, worker: _FileWorker, request: dict[str, Any], seconds: float
    ) -> dict[str, Any] | None:
        answer = None
        try:
            async with asyncio.timeout(seconds):
                with suppress(OSError):
                    await worker.channel.send(request)
                answer = await worker.channel.receive()
        except BaseException:
            await self._stop(worker)
            raise
        finally:
            if answer is not None and len(self._idle) < _MOST_IDLE:
                self._idle.append(worker)
            else:
                worker.channel.close()
        if answer is None:
            self._dismiss()  # what ended one may have ended them all
        return answer

    async def _stop(self, worker: _FileWorker) -> None:
        """End what answers a request: it may tidy up first, unless it does not react."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._signal("interrupt", worker.pid)
                while await worker.channel.receive() is not None:
                    pass
                return
        await self._signal("kill", worker.pid)

    def _dismiss(self) -> None:
        while self._idle:
            self._idle.pop().channel.close()

    async def _signal(self, kind: str, pid: int) -> None:
        with suppress(OSError):
            await self._control.send({"op": kind, "pid": pid})

    async def _obey(self) -> None:
        """Hear what the inside reports until it is gone."""
        try:
            while (message := await self._control.receive()) is not None:
                match message:
                    case {"number": int(number), "worker": int(pid)}:
                        forked = self._forked.get(number)
                        if forked is not None and not forked.done():
                            forked.set_result(pid)
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

    async def _first(self, forked: asyncio.Future[int], seconds: float) -> int | None:
        """The process id, or None if the sandbox goes first."""
        going = asyncio.create_task(self._gone.wait())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait((forked, going), return_when=asyncio.FIRST_COMPLETED)
            if forked.done():
                return forked.result()
            await asyncio.sleep(0.05)  # its last words
            return None
        finally:
            going.cancel()

    def _why(self) -> str:
        return f"over the limit of {self.running.excess}" if self.running.excess else ""
