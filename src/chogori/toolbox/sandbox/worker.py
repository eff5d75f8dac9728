"""The process that runs cells, seen from the host."""

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from chogori.toolbox.sandbox.channel import Channel
from chogori.toolbox.sandbox.output import Output
from chogori.toolbox.sandbox.policy import MIB
from chogori.toolbox.sandbox.process import read_some

_LAST_SECONDS = 5.0
_PIPE_BYTES = 1 * MIB


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
    _is_running: bool = field(default=False, init=False)
    _is_to_close: bool = field(default=False, init=False)

    async def run(self, cell: dict[str, Any], output: Output) -> dict[str, Any] | None:
        """Run one cell, its prints into `output`. None if the worker ended instead of answering."""
        self._is_running = True
        listening = asyncio.create_task(self._listen(output))
        answering = asyncio.create_task(self._ask(cell))
        ending = asyncio.create_task(self.ended.wait())
        try:
            await asyncio.wait((answering, ending), return_when=asyncio.FIRST_COMPLETED)
            answer = answering.result() if answering.done() else None
            if answer is None:  # its channel closed: how it ended is about to be told
                await asyncio.wait((ending,), timeout=_LAST_SECONDS)
            return answer
        finally:
            for task in (listening, answering, ending):
                task.cancel()
            await asyncio.gather(listening, answering, ending, return_exceptions=True)
            self._drain(output)
            self._is_running = False
            if self._is_to_close:
                self.close()

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

    def fate(self, excess: str | None) -> str:
        """Why it ended; `excess` is what the watchdog ended the sandbox for."""
        if excess is not None:
            return f"killed: its processes together went over the limit of {excess}"
        if self.status is None:
            return "the sandbox ended"
        if self.status < 0:
            return f"the Python process was killed by signal {-self.status}"
        return f"the Python process exited with code {self.status}"

    def close(self) -> None:
        """Give its descriptors back, or have the cell that runs do so when it ends."""
        self._is_to_close = self._is_running
        if self._is_running:
            return
        self.channel.close()
        os.close(self.printed)
