"""The endpoint of `bench/agents`, which can also refuse, fail, fall silent and go in circles.

    GET /limit/N     answer 429 beyond N requests at once (0: never)
    GET /fail/P      answer 500 to P of a hundred requests, at random
    GET /rates       when requests were answered and refused, in seconds, since this was last asked

How many calls a conversation has is said by its task where that says CALLS=N; SILENT in a task is
never answered, and LOOP in one is always answered with the same call.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from pathlib import Path

import orjson

sys.path.append(str(Path(__file__).parents[1] / "agents"))

from server import MARK, MOST_BYTES, Server, _response

_CALLS = re.compile(rb"CALLS=(\d+)")
_REFUSAL = b'{"error": {"message": "too many at once", "type": "rate_limit_reached_error"}}'
_FAILURE = b'{"error": {"message": "no luck", "type": "server_error"}}'


class SwarmServer(Server):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = self.percent = self.inside = 0
        self.chance = random.Random(6)
        self.answered: list[float] = []
        self.refused: list[float] = []

    async def answer(self, path: bytes, body: bytes) -> bytes:
        verb, _, value = path.strip(b"/").partition(b"/")
        match verb:
            case b"limit":
                self.limit = int(value)
            case b"fail":
                self.percent = int(value)
            case b"rates":
                told = orjson.dumps({"answered": self.answered, "refused": self.refused})
                self.answered, self.refused = [], []
                return _response(told)
            case _:
                return await self._converse(path, body)
        return _response(b"{}")

    async def _converse(self, path: bytes, body: bytes) -> bytes:
        if self.limit and self.inside >= self.limit:
            self.refused.append(time.monotonic())
            return _response(_REFUSAL, status=b"429 Too Many Requests")
        if self.chance.random() * 100 < self.percent:
            return _response(_FAILURE, status=b"500 Internal Server Error")
        self.inside += 1
        try:
            if b"SILENT" in body:
                await asyncio.sleep(3_600)
            if b"LOOP" in body and b"tool_choice" not in body:
                body = body.replace(MARK, b"")
            if told := _CALLS.search(body):
                path = re.sub(rb"/n\d+/", b"/n%b/" % told[1], path)
            return await super().answer(path, body)
        finally:
            self.inside -= 1
            self.answered.append(time.monotonic())


async def main() -> None:
    server = await asyncio.start_server(
        SwarmServer().converse, "127.0.0.1", 0, limit=MOST_BYTES, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
