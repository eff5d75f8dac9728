"""What an endpoint sends is handed through as it came, or put right; never half of either."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgi import HELLO, Client, Response
from endpoint import DONE, Answer, ScriptedEndpoint, chunk, event, refusal, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from chogori.api import Upstream, connect, create_app
from chogori.api.retries import Retries
from strategies import cut

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}


def piece(delta: Mapping[str, Any], reason: str | None = None, **more: Any) -> bytes:
    """One well-formed chunk."""
    return event(
        {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}
    )


FIRST = piece({"role": "assistant", "content": ""})
LAST = event({**HEAD, "choices": [], "usage": USAGE})
TEXT = [piece({"content": text}) for text in ("It ", "is ", "four.")]
GOOD = [FIRST, *TEXT, piece({}, "stop"), LAST, DONE]
TOO_LONG = {"error": {"message": "over the maximum context length"}}
JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def relaying(
    *answers: Answer, name: str = "m", theirs: str = "m", **more: Any
) -> AsyncGenerator[tuple[Client, ScriptedEndpoint]]:
    """A server in front of an endpoint."""
    async with serving(*answers, **more) as endpoint:
        remote = connect(f"{endpoint.url}#{theirs}", retries=Retries(tries=1))
        yield Client(create_app({name: remote})), endpoint
        await remote.aclose()


async def streamed(*pieces: bytes, then: Any = "end", **body: Any) -> Response:
    async with relaying(Answer(pieces, then=then)) as (client, _):
        return await client.ask({"stream": True, **body})


def text_of(response: Response) -> str:
    return "".join(
        choice["delta"].get("content") or "" for c in response.chunks for choice in c["choices"]
    )


def reason_of(response: Response) -> Any:
    return [c["choices"][0] for c in response.chunks if c["choices"]][-1]["finish_reason"]


async def test_events_that_are_right_go_through_byte_for_byte() -> None:
    response = await streamed(*GOOD)
    assert response.body.startswith(b"".join([FIRST, *TEXT]))
    assert response.chunks[-1]["choices"][0]["usage"]["cached_tokens"] == 4
    assert {c["id"] for c in response.chunks} == {"c1"}


async def test_the_usage_we_asked_for_stays_here_unless_the_client_asked_too() -> None:
    nulls = [
        piece({"role": "assistant", "content": ""}, usage=None),
        piece({"content": "a"}, usage=None),
    ]
    end = [piece({}, "stop", usage=None), LAST, DONE]
    assert b'"usage":null' not in (await streamed(*nulls, *end)).body.replace(b" ", b"")
    asked = {"stream_options": {"include_usage": True}}
    *_, last = (await streamed(*GOOD, **asked)).chunks
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 11


async def test_the_endpoint_is_asked_what_the_client_asked() -> None:
    body = {"stream": True, "cache_salt": "s", "min_p": 0.1, "api_base": "http://elsewhere.example"}
    async with relaying(Answer(GOOD), name="kimi", theirs="m") as (client, endpoint):
        await client.ask({"model": "kimi", "max_completion_tokens": 5, **body})
        await client.ask({"model": "kimi", "max_tokens": 5})
    streaming, plain = endpoint.requests
    assert streaming["stream_options"] == {"include_usage": True}
    assert streaming["cache_salt"] == "s"
    assert streaming["max_tokens"] == plain["max_tokens"] == 5
    assert "api_base" not in streaming
    assert streaming["model"] == plain["model"] == "m"
    assert streaming["messages"] == HELLO["messages"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_goes_by_the_name_it_was_asked_by(stream: bool) -> None:
    whole = json.dumps(completion("hi", model="theirs")).encode()
    answer = (
        Answer(GOOD) if stream else Answer([whole], headers={"Content-Type": "application/json"})
    )
    async with relaying(answer, name="a/b", theirs="m") as (client, _):
        response = await client.ask({"model": "a/b", "stream": stream})
    found = response.chunks if stream else [response.json]
    assert {each["model"] for each in found} == {"a/b"}


def completion(text: str | None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 7,
        "choices": [choice],
        "usage": USAGE,
        **more,
    }


async def whole(body: Any) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with relaying(Answer([data], headers={"Content-Type": "application/json"})) as (
        client,
        _,
    ):
        return await client.ask()


async def test_a_whole_answer_keeps_what_it_has_and_gets_what_it_must_have() -> None:
    response = await whole(completion("hi", model="m", service="theirs"))
    ChatCompletion.model_validate(response.json)
    assert response.json["service"] == "theirs"
    assert response.json["choices"][0]["message"]["refusal"] is None
    assert response.json["usage"]["total_tokens"] == 11


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning": "hm", "content": "hi"},
        {"content": "<think>hm</think>hi"},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}]},
    ],
)
async def test_a_whole_answer_that_is_not_right_is_put_right(message: Any) -> None:
    told = (await whole(completion(None, message=message))).json["choices"][0]["message"]
    assert (told["reasoning_content"], told["content"]) == ("hm", "hi")


ENDED = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}
FAULTS: Mapping[str, Sequence[bytes]] = {
    "no done": GOOD[:-1],
    "no usage": [*GOOD[:5], DONE],
    "no role": [*TEXT, *GOOD[4:]],
    "content null first": [piece({"role": "assistant", "content": None}), *GOOD[1:]],
    "no reason": [FIRST, *TEXT, LAST, DONE],
    "no index": [
        event({**HEAD, "choices": [{"delta": {"content": "It is "}, "finish_reason": None}]}),
        *GOOD[3:],
    ],
    "no finish_reason key": [event(chunk({"content": "It is "})), *GOOD[3:]],
    "other names": [piece({"reasoning": "hm"}), *TEXT, *GOOD[4:]],
    "markers": [
        FIRST,
        piece({"content": "<think>hm"}),
        piece({"content": "</think>It is "}),
        *GOOD[3:],
    ],
    "comments": [b": ping\n\n", FIRST, b": ping\n\n", *GOOD[1:]],
    "carriage returns": [each.replace(b"\n", b"\r\n") for each in GOOD],
    "no space": [each.replace(b"data: ", b"data:") for each in GOOD],
    "ids that change": [FIRST, TEXT[0].replace(b"c1", b"c2"), *GOOD[2:]],
    "one object": [json.dumps(completion("It is four.")).encode()],
    "usage in the choice": [*GOOD[:4], event({**HEAD, "choices": [ENDED]}), DONE],
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_stream_that_is_not_right_is_put_right(fault: str) -> None:
    response = await streamed(*FAULTS[fault], stream_options={"include_usage": True})
    assert response.status == 200
    for each in response.chunks:
        ChatCompletionChunk.model_validate(each)
    assert response.chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text_of(response) == "It is four."
    assert reason_of(response) == "stop"
    assert len({each["id"] for each in response.chunks}) == 1
    assert response.chunks[-1]["usage"]["completion_tokens"] >= 2


@pytest.mark.parametrize("index", [{"index": 0}, {}])
async def test_calls_are_named_once_and_numbered(index: Any) -> None:
    function = {"name": "add", "arguments": '{"a":'}
    repeated = {**index, "id": "call_1", "type": "function", "function": function}
    rest = {**index, "id": "call_1", "function": {"name": "add", "arguments": " 1}"}}
    response = await streamed(
        FIRST,
        piece({"reasoning_content": "I add."}),
        piece({"tool_calls": [repeated]}),
        piece({"tool_calls": [rest]}),
        piece({}, "stop"),
        LAST,
        DONE,
    )
    calls = [
        call
        for each in response.chunks
        for choice in each["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert [call["function"]["name"] for call in calls if "name" in call["function"]] == ["add"]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"a": 1}'
    assert {call["index"] for call in calls} == {0}
    assert reason_of(response) == "tool_calls"


@given(st.data())
@settings(max_examples=15)
def test_however_the_bytes_are_cut_the_client_reads_the_same(data: st.DataObject) -> None:
    pieces = data.draw(st.sampled_from([GOOD, *FAULTS.values()]))
    cuts = [part for part in cut(b"".join(pieces), data.draw) if part]

    async def ask() -> None:
        response = await streamed(*cuts)
        assert text_of(response) == "It is four."
        assert reason_of(response) == "stop"

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (
            refusal(400, {"error": {"message": "no such knob", "param": "top_k"}}),
            400,
            "invalid_value",
        ),
        (refusal(422, {"detail": "wrong"}), 400, "invalid_value"),
        (refusal(401), 502, "upstream_error"),
        (refusal(404), 502, "upstream_error"),
        (refusal(429, retry_after="7"), 429, "engine_overloaded"),
        (refusal(500), 502, "upstream_error"),
        (refusal(503, b"<html><title>busy</title></html>"), 502, "upstream_error"),
        (Answer([b"<html>"], headers={"Content-Type": "text/html"}), 502, "upstream_error"),
        (Answer([], then="drop"), 502, "upstream_error"),
        (Answer([TEXT[0][:20]], then="drop"), 502, "upstream_error"),
        (Answer([]), 502, "upstream_error"),
        (
            refusal(400, {"error": {"message": "maximum context length"}}),
            400,
            "context_length_exceeded",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_endpoint_that_fails_before_its_first_byte_is_told_in_our_form(
    answer: Answer, status: int, code: str, stream: bool
) -> None:
    async with relaying(answer) as (client, endpoint):
        response = await client.ask({"stream": stream})
    assert response.status == status
    assert response.error["code"] == code
    assert endpoint.url.encode() not in response.body, "where an upstream is, is nobody's affair"
    if status == 429:
        assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("pieces", "then"),
    [
        ([FIRST, *TEXT], "drop"),
        ([FIRST, *TEXT, TEXT[0][:25]], "drop"),
        ([FIRST, *TEXT], "end"),
        ([FIRST, *TEXT, event({"error": {"message": "out of memory", "code": 500}})], "end"),
    ],
)
async def test_a_stream_that_fails_in_the_middle_says_so_and_ends(
    pieces: Sequence[bytes], then: Any
) -> None:
    response = await streamed(*pieces, then=then)
    if response.status == 200:
        *chunks, error, done = response.events
        assert done is None
        assert error["error"]["code"] == "upstream_error"
        assert all("choices" in each for each in chunks)
    else:  # all of it came at once, so nothing had gone out
        assert response.error["code"] == "upstream_error"


async def test_an_endpoints_key_goes_to_it_alone_and_is_never_told() -> None:
    echo = refusal(400, {"error": {"message": "bad key sk-secret"}})
    async with serving(echo) as endpoint:
        remote = connect(f"{endpoint.url}#m", api_key="sk-secret")
        client = Client(create_app({"m": Upstream(model=remote)}))
        body = {"base_url": "http://127.0.0.1:9", "api_base": "http://127.0.0.1:9"}
        response = await client.ask(body)
        await remote.aclose()
    assert endpoint.headers[0]["Authorization"] == "Bearer sk-secret"
    assert b"sk-secret" not in response.body
