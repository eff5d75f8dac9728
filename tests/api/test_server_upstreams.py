"""Several upstreams behind one name: weights, fallback, health."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from asgi import Client
from endpoint import serving
from hypothesis import given
from hypothesis import strategies as st
from server_models import StreamingModel
from test_server_relaying import GOOD, Answer, refusal, text_of

from chogori.api import Upstream, connect, create_app
from chogori.api.retries import Retries
from chogori.api.server.upstreams import PATIENCE, Served
from chogori.chat import Finished, TextDelta, Usage
from chogori.errors import ConfigError, EndpointError, ModelUnavailable


class Time:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def saying(text: str) -> StreamingModel:
    return StreamingModel([TextDelta(text), Finished("stop", Usage(1, 1))])


def failing(error: Any = None) -> StreamingModel:
    return StreamingModel([error or ModelUnavailable("down")])


def served(*weights: float, clock: Time | None = None) -> Served:
    upstreams = [Upstream(model=saying(str(n)), weight=w) for n, w in enumerate(weights)]
    return Served("m", upstreams, clock or Time())


def dealt(model: Served, count: int) -> Counter[int]:
    return Counter(model.members.index(next(model.order())) for _ in range(count))


def test_ninety_to_ten_is_nine_of_any_ten() -> None:
    model = served(90, 10)
    assert dealt(model, 10_000) == {0: 9_000, 1: 1_000}
    assert dealt(model, 10) == {0: 9, 1: 1}


@given(st.lists(st.integers(1, 100), min_size=2, max_size=5))
def test_each_gets_its_share_at_every_moment(weights: list[int]) -> None:
    model, got, total = served(*weights), Counter[int](), sum(weights)
    for number in range(1, 200):
        got[model.members.index(next(model.order()))] += 1
        for at, weight in enumerate(weights):
            assert abs(got[at] - number * weight / total) <= len(weights)


def test_weight_nothing_is_for_when_no_other_answers() -> None:
    model = served(1, 0)
    assert dealt(model, 100) == {0: 100}
    assert [model.members.index(member) for member in model.order()] == [0, 1]


def test_one_that_keeps_failing_rests_and_is_tried_again() -> None:
    clock = Time()
    model = served(1, 1, clock=clock)
    for _ in range(PATIENCE):
        model.members[0].failed()
    assert dealt(model, 10) == {1: 10}
    clock.seconds += 1.5
    assert set(dealt(model, 10)) == {0, 1}
    model.members[0].failed()
    clock.seconds += 1.5
    assert dealt(model, 10) == {1: 10}, "each rest is twice as long"
    clock.seconds += 1.0
    model.members[0].worked()
    model.members[0].failed()
    assert set(dealt(model, 10)) == {0, 1}


def test_whoever_says_when_to_come_back_is_left_alone_until_then() -> None:
    clock = Time()
    model = served(1, 1, clock=clock)
    model.members[0].failed(after_seconds=20)
    assert dealt(model, 10) == {1: 10}
    clock.seconds += 21
    assert set(dealt(model, 10)) == {0, 1}


def test_where_all_rest_all_are_asked_before_a_client_is_refused() -> None:
    model = served(1, 1)
    for member in model.members:
        for _ in range(PATIENCE):
            member.failed()
    assert len(list(model.order())) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_another_answers_for_one_that_fails(stream: bool) -> None:
    dead, alive = failing(), saying("alive")
    client = Client(create_app({"m": [Upstream(model=dead), Upstream(model=alive)]}))
    for _ in range(20):
        response = await client.ask({"stream": stream})
        assert response.status == 200
        assert b"alive" in response.body
    assert dead.asked == PATIENCE, "then it was left alone"


@pytest.mark.parametrize("stream", [False, True])
async def test_endpoints_that_die_are_answered_for_without_one_failure(stream: bool) -> None:
    async with serving(Answer([], then="drop")) as dying, serving(Answer(GOOD)) as living:
        remotes = [
            connect(f"{endpoint.url}#m", retries=Retries(tries=1)) for endpoint in (dying, living)
        ]
        client = Client(create_app({"m": [Upstream(model=remote) for remote in remotes]}))
        for _ in range(30):
            response = await client.ask({"stream": stream})
            assert response.status == 200
            assert b"four" in response.body
            assert not stream or text_of(response) == "It is four."
        for remote in remotes:
            await remote.aclose()


async def test_a_wrong_request_is_asked_of_nobody_else() -> None:
    wrong = failing(EndpointError("no", url="", status=400))
    other = saying("x")
    app = create_app({"m": [Upstream(model=wrong), Upstream(model=other, weight=0)]})
    assert (await Client(app).ask()).status == 400
    assert other.asked == 0


async def test_nothing_is_asked_twice_once_a_part_went_out() -> None:
    broken = StreamingModel([TextDelta("half"), ModelUnavailable("down")])
    other = saying("x")
    app = create_app({"m": [Upstream(model=broken), Upstream(model=other, weight=0)]})
    *_, error, done = (await Client(app).ask({"stream": True})).events
    assert error["error"]["code"] == "model_unavailable"
    assert done is None
    assert other.asked == 0


async def test_a_refused_key_of_ours_is_no_affair_of_the_client() -> None:
    async with serving(refusal(401, {"error": {"message": "bad key"}})) as endpoint:
        remote = connect(f"{endpoint.url}#m", retries=Retries(tries=1))
        response = await Client(create_app({"m": remote})).ask()
        await remote.aclose()
    assert response.status == 502
    assert "key" not in response.error["message"]


@pytest.mark.parametrize("models", [{}, {"m": []}, {"m": [Upstream(model=saying("x"), weight=-1)]}])
def test_what_cannot_be_served_is_said_at_once(models: Any) -> None:
    with pytest.raises(ConfigError):
        create_app(models)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_hangs_is_left_for_another(stream: bool) -> None:
    hanging = StreamingModel([Finished("stop")], goes_on=asyncio.Event(), waits_at=0)
    upstreams = [
        Upstream(model=hanging, patience_seconds=0.01 if stream else 0.001),
        Upstream(model=saying("here"), weight=0),
    ]
    client = Client(create_app({"m": upstreams}))
    answer = await client.ask({"stream": stream})
    assert answer.status == 200
    assert b"here" in answer.body
    assert (hanging.asked, hanging.running) == (1, 0), "nobody listens to it any more"


async def test_the_last_upstream_may_take_its_time() -> None:
    goes_on = asyncio.Event()
    slow = StreamingModel([TextDelta("at last"), Finished("stop")], goes_on=goes_on, waits_at=0)
    client = Client(create_app({"m": [Upstream(model=slow, patience_seconds=0.001)]}))
    asked = asyncio.create_task(client.ask())
    await asyncio.sleep(0.05)
    goes_on.set()
    assert b"at last" in (await asked).body
