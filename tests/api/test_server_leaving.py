"""Clients that leave, stall, send late or ask too much; keys that are revoked; a full engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from asgi import HELLO, Client, Response
from server_models import StreamingModel

from chogori.api import OpenGate, Upstream, create_app
from chogori.api.platform import Admission, Caller, Demand, Metered
from chogori.api.server.watch import Watch
from chogori.chat import Delta, Finished, TextDelta, Usage
from chogori.errors import ChogoriError, ModelUnavailable

WORDS: list[Delta | ChogoriError] = [
    TextDelta("one "),
    TextDelta("two "),
    TextDelta("three"),
    Finished("stop", Usage(1, 3)),
]


class CountingGate(OpenGate):
    """Remembers what was admitted and how it was settled; a key can be revoked."""

    def __init__(self) -> None:
        self.demands: list[Demand] = []
        self.settled: list[Metered] = []
        self.revoked = asyncio.Event()

    async def admit(self, caller: Caller, demand: Demand) -> Admission:
        self.demands.append(demand)
        return Counted(self)


class Counted:
    headers = {"x-ratelimit-limit-requests": "100"}  # noqa: RUF012

    def __init__(self, gate: CountingGate) -> None:
        self.gate = gate
        self.revoked = gate.revoked

    async def settle(self, metered: Metered) -> int | None:
        self.gate.settled.append(metered)
        return None


def app_of(model: StreamingModel, gate: OpenGate | None = None, **more: Any) -> Any:
    watch = Watch(keep_alive_seconds=more.pop("keep_alive", 5.0), look_seconds=0.01, **more)
    return create_app({"m": Upstream(model=model, width=1, waiting=2)}, gate=gate, watch=watch)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("waits_at", [0, 2])
async def test_a_client_that_leaves_ends_the_work_for_it(stream: bool, waits_at: int) -> None:
    model = StreamingModel(WORDS, goes_on=asyncio.Event(), waits_at=waits_at)
    gate, leaves = CountingGate(), asyncio.Event()
    client = Client(app_of(model, gate))
    asking = asyncio.create_task(client.ask({"stream": stream}, leaves=leaves))
    await until(lambda: model.running == 1)
    leaves.set()
    await asking
    assert (model.running, model.closed) == (0, 1)
    [metered] = gate.settled
    assert metered.outcome == "cut"
    assert metered.usage.completion == waits_at, "what was produced is billed"


async def test_a_revoked_key_ends_its_streams() -> None:
    model = StreamingModel(WORDS, goes_on=asyncio.Event())
    gate = CountingGate()
    asking = asyncio.create_task(Client(app_of(model, gate)).ask({"stream": True}))
    await until(lambda: model.running == 1)
    gate.revoked.set()
    response = await asking
    *_, error, done = response.events
    assert error["error"]["code"] == "invalid_api_key"
    assert done is None
    assert model.running == 0
    assert [metered.outcome for metered in gate.settled] == ["cut"]


async def test_a_revoked_key_gets_no_answer_that_is_still_being_made() -> None:
    model = StreamingModel(WORDS, goes_on=asyncio.Event())
    gate = CountingGate()
    asking = asyncio.create_task(Client(app_of(model, gate)).ask())
    await until(lambda: model.running == 1)
    gate.revoked.set()
    assert (await asking).status == 401


async def test_a_stream_is_kept_alive_before_its_first_token_and_after() -> None:
    goes_on = asyncio.Event()
    model = StreamingModel(WORDS, goes_on=goes_on, waits_at=0)
    seen: list[bytes] = []

    def look(response: Response) -> None:
        seen.append(response.body)
        if response.body.count(b": keep-alive\n\n") == 3:
            goes_on.set()

    app = app_of(model, keep_alive=0.02)
    response = await Client(app).ask({"stream": True}, seen=look)
    assert seen[0] == b": keep-alive\n\n"
    assert response.status == 200
    assert len(response.chunks) == 5


async def test_what_fails_after_the_first_comment_is_told_in_the_stream() -> None:
    goes_on = asyncio.Event()
    model = StreamingModel([ModelUnavailable("down")], goes_on=goes_on, waits_at=0)
    app = app_of(model, keep_alive=0.02)
    response = await Client(app).ask({"stream": True}, seen=lambda _: goes_on.set())
    error, done = response.events
    assert response.status == 200
    assert error["error"]["code"] == "model_unavailable"
    assert done is None


async def test_a_client_that_does_not_read_is_dropped() -> None:
    model = StreamingModel(WORDS * 1)
    gate, stalls, dropped = CountingGate(), asyncio.Event(), asyncio.Event()

    def drop() -> None:
        dropped.set()
        stalls.set()

    app = app_of(model, gate, stall_seconds=0.05)
    asking = Client(app).ask({"stream": True}, stalls=stalls, extensions={"chogori.abort": drop})
    await asyncio.wait_for(asking, 10)
    assert dropped.is_set()
    assert model.running == 0
    assert [metered.outcome for metered in gate.settled] == ["cut"]


async def test_nothing_takes_longer_than_anything_may() -> None:
    model = StreamingModel(WORDS, goes_on=asyncio.Event())
    response = await Client(app_of(model, longest_seconds=0.05)).ask()
    assert response.status == 504
    assert response.error["code"] == "timeout"


async def test_a_full_engine_says_so_and_when_to_come_back() -> None:
    goes_on = asyncio.Event()
    model = StreamingModel(WORDS, goes_on=goes_on, waits_at=0)
    client = Client(app_of(model))
    asking = [asyncio.create_task(client.ask()) for _ in range(3)]
    await until(lambda: model.running == 1)
    await asyncio.sleep(0.01)
    refused = await client.ask()
    assert refused.status == 429
    assert refused.error["code"] == "engine_overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    ready = await client.get("/readyz")
    assert (ready.status, ready.json) == (503, {"status": "full"})
    goes_on.set()
    assert [(await each).status for each in asking] == [200] * 3
    assert (await client.get("/readyz")).status == 200


async def test_who_leaves_the_line_makes_room_in_it() -> None:
    goes_on = asyncio.Event()
    model = StreamingModel(WORDS, goes_on=goes_on, waits_at=0)
    client, leaves = Client(app_of(model)), asyncio.Event()
    first = asyncio.create_task(client.ask())
    await until(lambda: model.running == 1)
    waiting = [asyncio.create_task(client.ask(leaves=leaves)) for _ in range(2)]
    await asyncio.sleep(0.01)
    leaves.set()
    await asyncio.gather(*waiting)
    goes_on.set()
    assert (await first).status == 200
    assert model.asked == 1
    assert (await client.ask()).status == 200


async def test_clients_that_leave_at_any_moment_leave_nothing_behind() -> None:
    gate = CountingGate()
    model = StreamingModel(WORDS)
    app = create_app({"m": Upstream(model=model, width=4, waiting=1000)}, gate=gate)
    before = len(asyncio.all_tasks())
    drawn = random.Random(7)

    async def one(number: int) -> None:
        asking = asyncio.create_task(Client(app).ask({"stream": number % 2 == 0}))
        for _ in range(drawn.randrange(12)):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    await asyncio.gather(*(one(number) for number in range(1000)))
    await until(lambda: len(asyncio.all_tasks()) == before)
    assert model.running == 0
    assert len(gate.settled) == len(gate.demands)
    [member] = app.models["m"].members
    assert (member.turns.running, member.turns.waiting) == (0, 0)
    assert (await Client(app).ask()).status == 200


async def test_a_request_is_settled_before_its_last_byte() -> None:
    gate = CountingGate()
    model = StreamingModel(WORDS)
    known: list[tuple[bool, int]] = []

    def look(response: Response) -> None:
        known.append((response.is_over, len(gate.settled)))

    for stream in (False, True):
        gate.settled.clear()
        await Client(app_of(model, gate)).ask({"stream": stream}, seen=look)
        assert known[-1] == (True, 1)
        assert gate.settled[0].usage == Usage(1, 3)
        assert gate.settled[0].first_token_seconds is not None


async def test_a_demand_counts_every_reply_and_what_they_may_write() -> None:
    gate = CountingGate()
    await Client(app_of(StreamingModel(WORDS), gate)).ask({"n": 3, "max_tokens": 10})
    [demand] = gate.demands
    assert demand.completion_tokens == 30
    assert demand.prompt_tokens > 0
    assert demand.model == "m"


async def test_a_body_that_is_too_long_is_refused_unread() -> None:
    app = create_app({"m": StreamingModel(WORDS)}, most_body=100)
    big = b'{"model":"m","messages":[' + b" " * 200 + b"]}"
    for headers in ({"content-length": "300"}, {}):
        response = await Client(app).ask(big, headers=headers)
        assert response.status == 413
        assert response.error["code"] == "request_too_large"


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    app = create_app({"m": StreamingModel(WORDS)}, body_seconds=0.05)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_the_headers_of_an_admission_are_those_of_the_response() -> None:
    client = Client(app_of(StreamingModel(WORDS), CountingGate()))
    for body in ({}, {"stream": True}):
        response = await client.ask(body)
        assert response.headers["x-ratelimit-limit-requests"] == "100"
    assert HELLO["model"] == "m"
