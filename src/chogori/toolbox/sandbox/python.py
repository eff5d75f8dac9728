"""Python with a memory: cells run one after another in a sandbox and see each other's variables.

A cell that changed no file in /out or /work is *pure*: running it again changes nothing in the
world. Purity is judged on the host, by comparing the folders before and after. As long as all cells
were pure the state can be thrown away and built again by running them once more, so a worker that
was killed, or set aside to make room, comes back with its variables. After a cell that changed
files it cannot, and the cell that finds this out says so.

A cell over its time is interrupted first (KeyboardInterrupt, the variables stay), and killed if it
does not react. An interrupted cell counts as not pure: nobody knows how far it came.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from chogori.toolbox.sandbox.cell import (
    LIBRARIES,
    Cell,
    PastCell,
    cells,
    error_in,
    figures_in,
    libraries,
    lost_note,
)
from chogori.toolbox.sandbox.launcher import Launcher
from chogori.toolbox.sandbox.output import Output
from chogori.toolbox.sandbox.policy import Limits, Policy
from chogori.toolbox.sandbox.site import Site
from chogori.toolbox.sandbox.snapshot import changed, snapshot
from chogori.toolbox.sandbox.worker import Worker
from chogori.toolbox.sandbox.workshop import Workshop

_GRACE_SECONDS = 2.0
_REPLAY_SECONDS = 10.0


class PythonSession:
    """One run's Python. It starts with the first cell, or earlier by `start`; `aclose` it.

    Requests about files are answered in the same sandbox, whether or not a cell is running.
    A folder named "fonts" in `policy.readable` (see `make_fonts`) spares matplotlib its first
    seconds.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        limits: Limits | None = None,
        launcher: Launcher | None = None,
        head: int = 8_000,
        tail: int = 8_000,
        admit: Callable[["PythonSession"], Awaitable[None]] | None = None,
        released: Callable[[], None] | None = None,
    ) -> None:
        """`admit` is awaited before a sandbox is started, `released` called after each cell."""
        # A worker lives for many cells: its processor time is bounded cell by cell.
        self._limits = replace(limits or Limits(), cpu_seconds=None)
        self._policy = policy
        self._head, self._tail = head, tail
        self._admit, self._released = admit, released
        self._site = Site(policy, self._limits, launcher, self._admitted)
        self._lock = asyncio.Lock()
        self._worker: Worker | None = None
        self._workshop: Workshop | None = None
        """That of the worker."""
        self._fresh = False
        """Whether the worker has run nothing yet."""
        self._past: list[PastCell] = []
        self._pure = True
        self._count = 0
        self.used_at = time.monotonic()

    @property
    def root_pid(self) -> int | None:
        """The sandbox's first process, on the host; None while there is none."""
        return self._site.root_pid

    @property
    def can_be_set_aside(self) -> bool:
        """Whether its memory can be given to another without losing anything."""
        return self.root_pid is not None and self._pure and not self.busy

    @property
    def busy(self) -> bool:
        """Whether a cell is running, or a request about files is being answered."""
        return self._lock.locked() or self._site.asked > 0

    def remember(self, past: Sequence[PastCell], *, pure: bool) -> None:
        """Take over what a session before this one ran. One that has run cells keeps its own past.

        The next cell rebuilds the variables if all the cells were `pure`; else it says that they
        are lost.
        """
        if self._count:
            return
        self._past = list(past)
        self._pure = pure
        self._count = len(self._past)

    async def start(self) -> None:
        """Start now, and import the slow libraries while nothing else is to be done."""
        async with self._lock:
            if self._worker is None:
                await self._open()
            await (await self._site.open()).warm(LIBRARIES)

    async def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """What the sandbox answers to a request about files: see `Workshop.ask`."""
        try:
            return await self._site.ask(request, seconds)
        finally:
            self._rest()

    async def run(self, code: str, timeout_seconds: float) -> Cell:
        """Run one cell. Errors of the code are in the Cell; SandboxUnavailable if there is none.

        `timeout_seconds` is for this cell: rebuilding the state before it is not counted.
        """
        async with self._lock:
            try:
                return await self._run(code, timeout_seconds)
            except BaseException:
                await self._end()
                raise
            finally:
                self._rest()

    async def set_aside(self) -> None:
        """Give the memory back; the next cell rebuilds the state if it can."""
        async with self._lock:
            await self._end()

    async def aclose(self) -> None:
        """End the sandbox. The session can be used again, as if it had been set aside."""
        await self.set_aside()

    async def _run(self, code: str, timeout_seconds: float) -> Cell:
        note = await self._be_ready(code)
        launcher, worker = await self._site.launcher(), self._worker
        assert worker is not None, "ready means that there is a worker"
        self._fresh = False
        folders = [self._policy.out]
        if self._policy.workspace is not None and self._policy.work_writable:
            folders.append(self._policy.workspace)
        before = await asyncio.to_thread(snapshot, folders)
        output = Output(
            self._policy.out,
            head=self._head,
            tail=self._tail,
            file_bytes=self._limits.file_bytes,
            shown_as=launcher.places(self._policy).out,
        )
        began = time.monotonic()
        try:
            answer, timed_out = await self._execute(worker, code, output, timeout_seconds)
        finally:
            printed = output.close()
        seconds = time.monotonic() - began
        figures = figures_in(answer, self._policy.out)
        after = await asyncio.to_thread(snapshot, folders)
        ours = [*figures, *([printed.whole] if printed.whole else [])]
        files_changed = changed(before, after, except_for=ours)
        if answer is None:
            error, note = await self._bury(worker, timed_out, timeout_seconds)
        else:
            error = error_in(answer)
            self._past.append(PastCell(code, error is not None, seconds))
            self._pure = self._pure and not files_changed and not timed_out
            if timed_out:
                told = f"interrupted after {timeout_seconds:g} s; variables are kept"
                error = f"{told}\n{error or ''}"
            await self._warm_what_was_used(code)
        return Cell(
            printed.text,
            error.rstrip() if error else None,
            figures,
            files_changed,
            seconds,
            printed.whole,
            timed_out,
            note,
            ended=answer is None,
        )

    async def _execute(
        self, worker: Worker, code: str, output: Output, seconds: float, *, replay: bool = False
    ) -> tuple[dict[str, Any] | None, bool]:
        """The worker's answer, None if it ended; and whether the time was up."""
        self._count += not replay
        name = f"<cell {self._count}>" if not replay else "<cell replayed>"
        running = asyncio.create_task(
            worker.run({"code": code, "name": name, "replay": replay}, output)
        )
        workshop = self._workshop
        assert workshop is not None, "a worker has its workshop"
        try:
            done, _ = await asyncio.wait((running,), timeout=seconds)
            if done:
                return running.result(), False
            await workshop.interrupt(worker)
            done, _ = await asyncio.wait((running,), timeout=_GRACE_SECONDS)
            if not done:
                await workshop.kill(worker)
            return await running, True
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _be_ready(self, code: str) -> str | None:
        """A worker with the state of all cells before, or with none, and a note that says so."""
        is_alive = self._worker is not None and not self._worker.ended.is_set()
        if is_alive and not self._fresh:
            return None
        note = None
        if not self._pure:
            note = lost_note(len(self._past))
            self._forget()
        if not is_alive:
            await self._open()
        if not self._past:
            await self._prefer_warm(code)
            return note
        if await self._replay():
            return f"the variables were rebuilt by running {cells(len(self._past))} again"
        self._forget()
        await self._end()
        await self._open()
        return "the variables are lost: running the cells again did not lead to the same state"

    async def _replay(self) -> bool:
        worker = self._worker
        assert worker is not None, "a replay needs a worker"
        for past in self._past:
            output = Output(None, head=0, tail=0)
            seconds = _REPLAY_SECONDS + 3 * past.seconds
            answer, timed_out = await self._execute(worker, past.code, output, seconds, replay=True)
            if answer is None or timed_out:
                return False
            if past.failed is not None and past.failed != (error_in(answer) is not None):
                return False
        return True

    async def _open(self) -> None:
        """A new worker: in the sandbox there is, or in a new one."""
        self._workshop = await self._site.open()
        self._worker = await self._workshop.fork()
        self._fresh = True

    async def _prefer_warm(self, code: str) -> None:
        """Before the first cell: a worker with the libraries it names, if they are there by now."""
        workshop, named = self._workshop, libraries(code)
        if workshop is not None and named and named <= workshop.warmed:
            self._worker = await workshop.fork()

    async def _warm_what_was_used(self, code: str) -> None:
        """So that a successor of this worker has them."""
        workshop = self._workshop
        if workshop is not None and (new := libraries(code) - workshop.warmed):
            await workshop.warm(sorted(new))

    async def _bury(
        self, worker: Worker, timed_out: bool, seconds: float
    ) -> tuple[str, str | None]:
        """Why the worker ended, and what that means for the variables."""
        workshop, self._worker = self._workshop, None
        excess = workshop.running.excess if workshop is not None else None
        if timed_out:
            why = f"stopped after {seconds:g} s: it did not react to the interrupt and was killed"
        else:
            why = worker.fate(excess)
        if self._pure:
            count = len(self._past)
            fate = f"the next cell rebuilds the variables by running {cells(count)} again"
            return why, fate if count else None
        fate = lost_note(len(self._past))
        self._forget()
        return why, fate

    async def _admitted(self) -> None:
        if self._admit is not None:
            await self._admit(self)

    def _rest(self) -> None:
        self.used_at = time.monotonic()
        if self._released is not None:
            self._released()

    def _forget(self) -> None:
        self._past.clear()
        self._pure = True

    async def _end(self) -> None:
        self._worker = self._workshop = None
        await self._site.end()
