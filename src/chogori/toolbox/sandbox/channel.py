"""JSON lines to and from the inside of a sandbox, whose word is not trusted."""

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any, cast

from chogori.toolbox.sandbox.policy import MIB

_LONGEST_LINE = 16 * MIB


class Channel:
    """The host's end of a socket. What is no message, or too long for one, ends it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._buffer = bytearray()

    async def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Raises OSError once the other side is gone."""
        data = json.dumps(message).encode() + b"\n"
        if descriptors:
            socket.send_fds(self._socket, [data], list(descriptors))
        else:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self) -> dict[str, Any] | None:
        """None once the other side is gone, or says what is not a message."""
        loop = asyncio.get_running_loop()
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
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
        except (ValueError, RecursionError):
            return None
        return cast(dict[str, Any], message) if isinstance(message, dict) else None

    def close(self) -> None:
        self._socket.close()
