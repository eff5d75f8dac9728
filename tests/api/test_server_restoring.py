"""Reasoning and ids that clients lose between turns are put back, or nothing is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from asgi import HELLO, Client
from endpoint import Answer, event, serving
from hypothesis import given
from hypothesis import strategies as st
from test_server_relaying import DONE, FIRST, HEAD, LAST, piece

from chogori.api import OpenGate, connect, create_app
from chogori.api.platform import Caller, Credentials
from chogori.api.server.open_gate import ANYBODY, RememberedReasoning
from chogori.api.server.restoring import Digests, canonical, k2_ids
from chogori.chat import (
    Message,
    Profile,
    ScriptedModel,
    ToolCall,
    assistant,
    profile_for,
    system,
    tool_result,
    user,
)
from strategies import messages

CALL = ToolCall("functions.add:0", "add", '{"a": 1, "b": 2}')
CALLS = assistant("", reasoning="I add.", calls=[CALL])


def model_of(profile: Profile | None = None) -> ScriptedModel:
    return ScriptedModel([CALLS, "3"], profile=profile or profile_for("m"))


def wire_call(call: ToolCall, **more: Any) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **more}


def second_turn(message: dict[str, Any], *, said: Any = "hello") -> dict[str, Any]:
    """What a client sends once it has run the tool."""
    result = {"role": "tool", "tool_call_id": CALL.id, "content": "3"}
    return {"messages": [{"role": "user", "content": said}, message, result]}


BARE = {"role": "assistant", "content": None, "tool_calls": [wire_call(CALL)]}


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_that_a_client_dropped_is_put_back(stream: bool) -> None:
    model = model_of()
    client = Client(create_app({"m": model}))
    await client.ask({"stream": stream})
    response = await client.ask(second_turn(BARE))
    assert response.headers["x-reasoning-restored"] == "1"
    assert model.asked[1].conversation[1].reasoning == "I add."


async def test_what_clients_change_on_the_way_does_not_matter() -> None:
    model = model_of()
    client = Client(create_app({"m": model}))
    await client.ask()
    spaced = wire_call(replace(CALL, arguments='{"b":2,"a":1}'))
    changed = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": [spaced]}
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    await client.ask(second_turn(changed, said=parts))
    assert model.asked[1].conversation[1].reasoning == "I add."


async def test_reasoning_that_came_back_is_left_as_it_is() -> None:
    model = model_of()
    client = Client(create_app({"m": model}))
    await client.ask()
    response = await client.ask(second_turn({**BARE, "reasoning_content": "Mine."}))
    assert "x-reasoning-restored" not in response.headers
    assert model.asked[1].conversation[1].reasoning == "Mine."


class TwoHouses(OpenGate):
    """The key is the organisation."""

    async def identify(self, credentials: Credentials) -> Caller:
        return replace(ANYBODY, organisation=credentials.key or "")


async def test_without_a_match_in_all_three_nothing_is_put_back() -> None:
    model = model_of()
    client = Client(create_app({"m": model}, gate=TwoHouses()))
    ours, theirs = {"authorization": "Bearer a"}, {"authorization": "Bearer b"}
    await client.ask(headers=ours)
    other_id = {**BARE, "tool_calls": [wire_call(replace(CALL, id="functions.add:9"))]}
    for body, headers in (
        (second_turn(BARE), theirs),
        (second_turn(BARE, said="hello?"), ours),
        (second_turn(other_id), ours),
    ):
        response = await client.ask(body, headers=headers)
        assert response.headers["x-reasoning-restored"] == "0"
        assert not model.asked[-1].conversation[1].reasoning
    assert (await client.ask(second_turn(BARE), headers=ours)).headers[
        "x-reasoning-restored"
    ] == "1"


async def test_reasoning_that_a_key_is_not_shown_is_put_back_all_the_same() -> None:
    class Discreet(OpenGate):
        async def identify(self, credentials: Credentials) -> Caller:
            return replace(ANYBODY, shows_reasoning=False)

    model = model_of()
    client = Client(create_app({"m": model}, gate=Discreet()))
    assert b"I add" not in (await client.ask()).body
    await client.ask(second_turn(BARE))
    assert model.asked[1].conversation[1].reasoning == "I add."


async def test_reasoning_that_was_relayed_is_put_back_to_the_endpoint() -> None:
    call = {"index": 0, **wire_call(CALL)}
    stream = [
        FIRST,
        piece({"reasoning_content": "I add."}),
        piece({"tool_calls": [call]}),
        piece({}, "tool_calls"),
        LAST,
        DONE,
    ]
    done = {"index": 0, "message": {"role": "assistant", "content": "3"}, "finish_reason": "stop"}
    whole = event({**HEAD, "choices": [done]}).removeprefix(b"data: ")
    answers = [Answer(stream), Answer([whole], headers={"Content-Type": "application/json"})]
    async with serving(*answers) as endpoint:
        remote = connect(f"{endpoint.url}#kimi-k2-thinking")
        client = Client(create_app({"m": remote}))
        await client.ask({"stream": True})
        assert (await client.ask(second_turn(BARE))).status == 200
        await remote.aclose()
    assert endpoint.requests[1]["messages"][1]["reasoning_content"] == "I add."


async def test_kimis_api_is_never_sent_a_call_without_the_field() -> None:
    done = {"index": 0, "message": {"role": "assistant", "content": "3"}, "finish_reason": "stop"}
    whole = json.dumps({**HEAD, "choices": [done]}).encode()
    async with serving(Answer([whole], headers={"Content-Type": "application/json"})) as endpoint:
        remote = connect(f"{endpoint.url}#kimi-k2-thinking")
        client = Client(create_app({"m": remote}))
        response = await client.ask(second_turn(BARE))
        await remote.aclose()
    assert response.status == 200
    assert response.headers["x-reasoning-restored"] == "0"
    assert endpoint.requests[0]["messages"][1]["reasoning_content"] == ""


async def test_foreign_ids_become_kimis_and_new_ones_are_new_to_the_client() -> None:
    foreign = [ToolCall("call_x", "add", "{}"), ToolCall("toolu_y", "sub", "{}")]
    history = [
        *HELLO["messages"],
        {"role": "assistant", "tool_calls": [wire_call(call) for call in foreign]},
        {"role": "tool", "tool_call_id": "toolu_y", "content": "b"},
        {"role": "tool", "tool_call_id": "call_x", "content": "a"},
    ]
    new = assistant(calls=[ToolCall("functions.add:2", "add", "{}")])
    model = ScriptedModel(lambda _: new, profile=profile_for("kimi-k2-thinking"))
    client = Client(create_app({"m": model}))
    response = await client.ask({"messages": history})
    _, called, first, second = model.asked[0].conversation
    assert [call.id for call in called.tool_calls] == ["functions.add:0", "functions.sub:1"]
    assert (first.tool_call_id, second.tool_call_id) == ("functions.sub:1", "functions.add:0")
    [told] = response.json["choices"][0]["message"]["tool_calls"]
    assert told["id"] == "functions.add:2"
    history += [
        {"role": "assistant", "tool_calls": [told]},
        {"role": "tool", "tool_call_id": told["id"], "content": "c"},
    ]
    again = await client.ask({"messages": history})
    conversation = model.asked[1].conversation
    assert conversation[4].tool_calls[0].id == "functions.add:2"
    [another] = again.json["choices"][0]["message"]["tool_calls"]
    assert another["id"] == "functions.add:3", "an id means one call"


async def test_other_families_keep_the_ids_they_are_sent() -> None:
    model = model_of()
    message = {"role": "assistant", "tool_calls": [wire_call(replace(CALL, id="call_x"))]}
    result = {"role": "tool", "tool_call_id": "call_x", "content": "3"}
    await Client(create_app({"m": model})).ask({"messages": [*HELLO["messages"], message, result]})
    assert model.asked[0].conversation[1].tool_calls[0].id == "call_x"


@given(st.lists(messages, max_size=6))
def test_numbering_calls_is_done_once_and_for_all(said: Sequence[Message]) -> None:
    once = k2_ids(tuple(said))
    assert k2_ids(once) == once
    ids = [call.id for message in once for call in message.tool_calls]
    assert len(set(ids)) == len(ids)
    assert [replace(m, tool_calls=(), tool_call_id=None) for m in once] == [
        replace(m, tool_calls=(), tool_call_id=None) for m in said
    ]


def test_a_result_goes_with_the_latest_call_of_its_id() -> None:
    call = ToolCall("c", "f", "{}")
    said = (
        assistant(calls=[call]),
        tool_result(call, "1"),
        assistant(calls=[call]),
        tool_result(call, "2"),
    )
    renamed = k2_ids(said)
    assert [message.tool_call_id for message in renamed[1::2]] == ["functions.f:0", "functions.f:1"]


@given(st.lists(messages, min_size=1, max_size=5), st.integers(0, 4))
def test_a_digest_is_of_the_messages_before_and_of_their_order(
    said: list[Message], at: int
) -> None:
    at = min(at, len(said))
    assert Digests(said).before(at) == Digests(said[:at]).before(at)
    longer = [*said[:at], system("more")]
    assert Digests(longer).before(at + 1) != Digests(longer).before(at)
    bare = [replace(message, reasoning=None) for message in said]
    assert Digests(bare).before(at) == Digests(said).before(at)
    assert canonical(user("a")) != canonical(system("a"))


async def test_memory_of_reasoning_is_bounded() -> None:
    kept = RememberedReasoning(most_bytes=2_000)
    for number in range(10):
        await kept.keep("o", f"c{number}", b"d", "x" * 100)
    found = [await kept.find("o", f"c{number}", b"d") for number in range(10)]
    assert found[-1] == "x" * 100
    assert found[0] is None
    assert 2 <= sum(each is not None for each in found) <= 4
