"""Work that must be stoppable, in a child process that can be killed.

An HTML parser that meets the wrong input may compute for ever, and Python cannot stop a thread. The
child runs our own code with an empty environment. (What a model writes, and what reads its files,
runs in the sandbox instead.)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """What a child said. Without `in_time` it was killed, and `output` is what had come."""

    output: bytes
    in_time: bool
    status: int


async def run_child(arguments: Sequence[str], request: bytes, *, seconds: float) -> ChildEnd:
    """Run this Python with `arguments`, `request` on its standard input, for so long at most.

    It dies when the caller is cancelled.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-X", "utf8", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    assert child.stdin is not None, "it is a pipe"
    assert child.stdout is not None, "so is this"
    output = bytearray()
    in_time = False
    try:
        async with asyncio.timeout(seconds):
            with suppress(BrokenPipeError, ConnectionResetError):
                child.stdin.write(request)
                await child.stdin.drain()
            child.stdin.close()
            while chunk := await child.stdout.read(1 << 16):
                output += chunk
            await child.wait()
            in_time = True
    except TimeoutError:
        pass
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        child.stdin.close()
    return ChildEnd(bytes(output), in_time, child.returncode or 0)
