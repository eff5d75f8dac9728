"""Laws of the client, against a real server on loopback."""

import asyncio
import gc
import json
import re
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from endpoint import DONE, Answer, chunk, event, refusal, reply, serving

from chogori.api import Keys, RemoteModel, connect
from chogori.api.client import shared_limiter
from chogori.api.endpoint import read_address
from chogori.api.failures import broken, read_complaint
from chogori.api.retries import Retries, retry_after_seconds
from chogori.chat import (
    ChatModel,
    Conversation,
    Delta,
    Finished,
    MessageBuilder,
    Options,
    Profile,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
    assistant,
    tool_result,
    user,
)
from chogori.errors import (
    ChogoriError,
    ConfigError,
    ContextTooLong,
    EndpointError,
    RateLimited,
    StreamCut,
)

ASKED = Conversation([user("2+2?")])
NOW = 1_700_000_000.0


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


class OpenLimiter:
    """Lets everybody through, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        self.told.append(("in",))
        try:
            yield
        finally:
            self.told.append(("out",))

    def refused(self, status: int, retry_after_seconds: float | None) -> None:
        self.told.append(("refused", status, retry_after_seconds))

    def answered(self, first_token_seconds: float) -> None:
        self.told.append(("answered",))


def model(url: str, time: Time | None = None, **rest: Any) -> RemoteModel:
    time = time or Time()
    rest.setdefault("retries", Retries(random=lambda: 1.0))
    rest.setdefault("limiter", OpenLimiter())
    spec = url if "#" in url or rest.pop("bare", False) else f"{url}#m"
    return connect(spec, clock=time, now=lambda: NOW + time(), sleep=time.sleep, **rest)


async def text_of(
    asked: ChatModel,
    conversation: Conversation = ASKED,
    tools: Sequence[ToolSpec] = (),
    options: Options = Options(),
) -> str:
    deltas = [delta async for delta in asked.stream(conversation, tools, options)]
    assert isinstance(deltas[-1], Finished)
    await asked.aclose()
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def failing(asked: RemoteModel, conversation: Conversation = ASKED) -> ChogoriError:
    with pytest.raises(ChogoriError) as caught:
        await text_of(asked, conversation)
    await asked.aclose()
    return caught.value


# --- A good answer --------------------------------------------------------------------------


async def test_a_reply_is_streamed_as_deltas() -> None:
    async with serving(reply("four")) as server:
        asked = model(server.url, api_key="sk-key")
        deltas = [delta async for delta in asked.stream(ASKED)]
        assert deltas == [TextDelta("four"), Finished("stop", Usage(9, 2))]
        assert server.requests[0]["model"] == "m"
        assert server.headers[0]["Authorization"] == "Bearer sk-key"
        await asked.aclose()


async def test_without_a_key_none_is_sent() -> None:
    async with serving(reply()) as server:
        await text_of(model(server.url))
        assert "Authorization" not in server.headers[0]


async def test_one_connection_serves_many_requests() -> None:
    async with serving(reply()) as server:
        asked = model(server.url)
        for _ in range(3):
            assert [d async for d in asked.stream(ASKED)]
        assert len(set(server.peers)) == 1
        await asked.aclose()


async def test_reasoning_and_calls_go_there_and_back_again() -> None:
    # kimi-code 0.29.1: the endpoint calls it `reasoning`, and reads it under that name only
    tool = ToolSpec("add", "adds", {"type": "object"})
    fragment = {"index": 0, "id": "add:0", "function": {"name": "add", "arguments": "{}"}}
    first = [{"reasoning": "a\u2028\x85b "}, {"tool_calls": [fragment]}, {"mark": "x"}]
    answer = Answer([event(chunk(delta)) for delta in first] + [DONE])
    async with serving(answer) as server:
        asked = model(server.url)
        conversation = ASKED
        for number in range(2):
            builder = MessageBuilder()
            async for delta in asked.stream(conversation, [tool]):
                builder.add(delta)
            (call,) = builder.message.tool_calls
            assert call == ToolCall(f"add:{number}", "add", "{}"), "ids are unique"
            conversation = conversation.append(builder.message, tool_result(call, "2"))
        await asked.aclose()
        back = server.requests[1]["messages"][1]
        assert back["reasoning"] == "a\u2028\x85b "
        assert "reasoning_content" not in back
        assert back["mark"] == "x"


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
async def test_a_whole_answer_to_a_request_for_a_stream_is_read(kind: str) -> None:
    choice = {"index": 0, "message": {"content": "four"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9}}).encode()
    async with serving(Answer([body[:9], body[9:]], headers={"Content-Type": kind})) as server:
        assert await text_of(model(server.url)) == "four"


async def test_reasoning_left_in_the_content_of_k2_5_is_told_apart() -> None:
    """The prompt begins its reasoning, so only the end of it is in the content."""
    bare = Answer([event(chunk({"content": t})) for t in ("why</thi", "nk>four")] + [DONE])
    async with serving(bare) as server:
        assert await text_of(model(f"{server.url}#kimi-k2.5")) == "four"
    apart = Answer([event(chunk({"reasoning_content": "why"})), *bare.pieces])
    async with serving(apart, bare) as server:
        asked = model(f"{server.url}#kimi-k2.5")
        assert await text_of(asked) == "why</think>four"
        assert await text_of(asked) == "why</think>four", "here content is text, it has shown"


async def test_comments_and_odd_events_do_not_matter() -> None:
    noise = [b": ping\n\n", b'event: vendor\ndata: {"choices":[],"x":1}\n\n', b"retry: 5\n\n"]
    answer = Answer([*noise, event(chunk({"content": "four"}, finish_reason="stop"))])
    async with serving(answer) as server:
        assert await text_of(model(server.url)) == "four"


async def test_a_conversation_of_megabytes_is_sent() -> None:
    async with serving(reply()) as server:
        await text_of(model(server.url), Conversation([user("x" * 3_000_000)]))
        assert len(server.requests[0]["messages"][0]["content"]) == 3_000_000


# --- Trying again ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_a_refusal_that_may_pass_is_tried_again(status: int) -> None:
    time, limiter = Time(), OpenLimiter()
    async with serving(refusal(status), refusal(status), reply()) as server:
        assert await text_of(model(server.url, time, limiter=limiter)) == "four"
        assert time.slept == [0.5, 1.0]
    told = ("refused", status, None)
    once = [("in",), ("out",), told]
    assert limiter.told == [*once, *once, ("in",), ("answered",), ("out",)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 501])
async def test_a_refusal_that_will_not_pass_is_not_tried_again(status: int) -> None:
    async with serving(refusal(status)) as server:
        error = await failing(model(server.url))
        assert isinstance(error, EndpointError)
        assert error.status == status
        assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.5),
        ({"Retry-After": "0.25"}, 0.75),
        ({"retry-after-ms": "2500", "Retry-After": "9"}, 3.0),
        ({"Retry-After": formatdate(NOW + 20, usegmt=True)}, 20.5),
        ({"Retry-After": formatdate(NOW - 20, usegmt=True)}, 0.5),
        ({"Retry-After": "soon"}, 0.5),
        ({"Retry-After": "inf"}, 0.5),
    ],
)
async def test_the_endpoint_says_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    time = Time()
    async with serving(refusal(429, **headers), reply()) as server:
        assert await text_of(model(server.url, time)) == "four"
    assert time.slept == [pytest.approx(seconds)]


def test_a_date_without_a_zone_is_read_as_gmt() -> None:
    assert retry_after_seconds({"retry-after": "Tue, 14 Nov 2023 22:13:30 -0000"}, NOW) == 10.0


async def test_should_retry_has_the_last_word() -> None:
    async with serving(refusal(429, **{"x-should-retry": "false"}), reply()) as server:
        assert isinstance(await failing(model(server.url)), RateLimited)
        assert len(server.bodies) == 1
    async with serving(refusal(400, **{"x-should-retry": "true"}), reply()) as server:
        assert await text_of(model(server.url)) == "four"


async def test_an_account_without_money_is_not_asked_again() -> None:
    body = {"error": {"message": "pay", "type": "exceeded_current_quota_error"}}
    async with serving(refusal(429, body)) as server:
        error = await failing(model(server.url))
        assert isinstance(error, RateLimited)
        assert "nothing left to spend" in str(error)
        assert len(server.bodies) == 1


async def test_after_every_retry_it_is_rate_limited() -> None:
    time = Time()
    async with serving(refusal(429)) as server:
        error = await failing(model(server.url, time))
        assert isinstance(error, RateLimited)
        assert (error.status, error.url) == (429, f"{server.url}/chat/completions")
        assert len(server.bodies) == 6
    assert time.slept == [0.5, 1.0, 2.0, 4.0, 8.0]


async def test_nobody_waits_longer_than_the_total() -> None:
    time = Time()
    async with serving(refusal(429, **{"Retry-After": "3600"})) as server:
        error = await failing(model(server.url, time))
        assert "3600 s" in str(error)
        assert len(server.bodies) == 1
    assert time.slept == []


async def test_a_connection_dropped_before_any_output_is_tried_again() -> None:
    begun = Answer([b": ping\n\n", event(chunk({"role": "assistant", "content": ""}))], then="drop")
    async with serving(Answer(then="drop"), reply()) as server:
        assert await text_of(model(server.url)) == "four"
    async with serving(begun, reply()) as server:
        assert await text_of(model(server.url)) == "four"
        assert len(server.bodies) == 2


async def test_an_error_in_the_stream_before_any_output_is_tried_again() -> None:
    busy = Answer([event({"error": {"message": "busy", "code": 503}})])
    async with serving(busy, reply()) as server:
        assert await text_of(model(server.url)) == "four"


# --- Cut streams ----------------------------------------------------------------------------

BEGUN = [event(chunk({"content": "fo"}))]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(BEGUN, then="drop"), "closed the connection in the middle"),
        (Answer(BEGUN), "ended its stream before the reply"),
        (Answer([*BEGUN, b"data: upstream died\n\n"]), "cannot be read"),
        (Answer([*BEGUN, event({"error": {"message": "boom", "code": 500}})]), "boom"),
        (Answer([*BEGUN, b'event: error\ndata: {"type":"error","error":"boom"}\n\n']), "boom"),
        (Answer([*BEGUN, event({"object": "error", "message": "boom", "code": 400})]), "boom"),
        (Answer([*BEGUN, event(chunk({}, finish_reason="error")), DONE]), "gave the reply up"),
        (Answer([*BEGUN, event(chunk({"content": "ur"}))[:-9]], then="drop"), "in the middle"),
    ],
)
async def test_a_stream_cut_after_output_is_told_and_never_repeated(
    answer: Answer, says: str
) -> None:
    async with serving(answer) as server:
        error = await failing(model(server.url))
        assert isinstance(error, StreamCut)
        assert says in str(error)
        assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "end",
    [
        [event(chunk({}, finish_reason="stop"))],
        [DONE],
        [event({"choices": [], "usage": {"prompt_tokens": 1}})],
        [event(chunk({}, finish_reason="stop")).strip()],
    ],
)
async def test_any_sign_of_the_end_is_enough(end: list[bytes]) -> None:
    async with serving(Answer([*BEGUN, *end])) as server:
        assert await text_of(model(server.url)) == "fo"


async def test_an_endpoint_that_hangs_is_given_up() -> None:
    async with serving(Answer(BEGUN, then="hang")) as server:
        error = await failing(model(server.url, idle_seconds=0.05))
        assert isinstance(error, StreamCut)
        assert "sent nothing for 0.05 s" in str(error)


async def test_an_endpoint_that_hangs_after_the_end_is_not_waited_for() -> None:
    async with serving(Answer([*BEGUN, DONE], then="hang")) as server:
        assert await text_of(model(server.url)) == "fo"


# --- Leaving --------------------------------------------------------------------------------


async def test_closing_the_iterator_closes_the_request() -> None:
    limiter = OpenLimiter()
    async with serving(Answer(BEGUN, then="hang")) as server:
        asked = model(server.url, limiter=limiter)
        async with aclosing(asked.stream(ASKED)) as deltas:
            assert await anext(deltas) == TextDelta("fo")
        await asyncio.wait_for(server.left.wait(), 5)
        assert limiter.told[-1] == ("out",), "the slot is given back"
        await asked.aclose()


async def test_cancelling_closes_the_request() -> None:
    async with serving(Answer(BEGUN, then="hang")) as server:
        asked = model(server.url)
        first = asyncio.Event()

        async def listen() -> None:
            async for _ in asked.stream(ASKED):
                first.set()

        task = asyncio.create_task(listen())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.left.wait(), 5)
        await asked.aclose()


def test_a_model_outlives_event_loops_and_leaves_nothing_open() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    asked = connect(f"http://127.0.0.1:{port}/v1#m")

    async def ask() -> str:
        return "".join([d.text async for d in asked.stream(ASKED) if isinstance(d, TextDelta)])

    async def leave() -> str:
        async with serving(reply(), port=port):
            return await ask()

    async def close() -> str:
        async with serving(reply(), port=port):
            first = await ask()
            await asked.aclose()
            second = await ask()
            await asked.aclose()
            return first + second

    assert [asyncio.run(leave()), asyncio.run(leave())] == ["four", "four"]
    assert asyncio.run(close()) == "fourfour"
    gc.collect()  # what was left open would warn here, and warnings are errors


async def test_models_of_one_endpoint_and_key_share_a_limiter() -> None:
    assert shared_limiter("http://h/v1", "a") is shared_limiter("http://h/v1", "a")
    assert shared_limiter("http://h/v1", "a") is not shared_limiter("http://h/v1", "b")
    assert shared_limiter("http://h/v1", "a") is not shared_limiter("http://i/v1", "a")


# --- What went wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": {"message": "no such luck", "type": "t"}}', "no such luck"),
        (b'{"error": "no such luck"}', "no such luck"),
        (b'{"object": "error", "message": "no such luck", "code": 400}', "no such luck"),
        (b'{"detail": "no such luck"}', "no such luck"),
        (b'{"message": "no such luck"}', "no such luck"),
        (b'{"error": {"code": "bad_luck"}}', "bad_luck"),
        (b"no such\nluck\x1b[31m", "no such luck [31m"),
        (b"<html><head><title>no such\nluck</title>", "no such luck"),
        (b"", "no reason given"),
        (b"[1]", "[1]"),
    ],
)
async def test_errors_are_read_in_every_shape(body: bytes, says: str) -> None:
    assert read_complaint(body).message == says
    async with serving(refusal(400, body)) as server:
        error = await failing(model(server.url))
        assert says in str(error)
        assert str(error).startswith(f"{server.url}/chat/completions answered 400")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)",
            None,
        ),
        ("This model's maximum context length is 4096 tokens. However, you requested 5000", 400),
        (
            "the request exceeds the available context size, try increasing it",
            "exceed_context_size_error",
        ),
        ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", None),
        ("too long", "context_length_exceeded"),
    ],
)
async def test_a_context_that_is_too_long_is_told_as_such(message: str, code: Any) -> None:
    body = {"error": {"message": message, "code": code}}
    async with serving(refusal(400, body)) as server:
        assert isinstance(await failing(model(server.url)), ContextTooLong)
    async with serving(Answer([event(body)])) as server:
        assert isinstance(await failing(model(server.url)), ContextTooLong)


async def test_a_wrong_key_is_told_and_never_shown() -> None:
    body = {"error": {"message": "Incorrect API key provided: sk-secret"}}
    async with serving(refusal(401, body, **{"x-request-id": "r-7"})) as server:
        error = await failing(model(server.url, api_key="sk-secret"))
    assert "sk-secret" not in str(error)
    assert "was sent and refused" in str(error)
    assert "r-7" in str(error)


async def test_a_missing_key_is_told_with_the_way_to_give_it() -> None:
    async with serving(refusal(401)) as server:
        host = re.escape(server.url.split("/")[2])
        error = await failing(model(server.url, key_source=Keys()))
        assert isinstance(error, EndpointError)
        assert re.search(f"CHOGORI_API_HOST={host}", str(error))
        waiting = Keys(environ={"CHOGORI_API_KEY": "sk-secret"})
        error = await failing(model(server.url, key_source=waiting))
        assert isinstance(error, ConfigError)
        assert "sk-secret" not in str(error)


async def test_a_key_with_a_line_end_is_refused() -> None:
    error = await failing(model("http://127.0.0.1:9/v1", api_key="sk-secret\r\nX-Evil: 1"))
    assert isinstance(error, ConfigError)
    assert "sk-secret" not in str(error)


async def test_a_redirect_is_not_followed() -> None:
    async with serving(reply()) as other:
        target = f"{other.url}/chat/completions"
        for status in (301, 302, 303, 307, 308):
            async with serving(refusal(status, Location=target)) as server:
                error = await failing(model(server.url, api_key="sk-secret"))
                assert isinstance(error, EndpointError)
                assert target in str(error)
        assert other.bodies == []


async def test_an_unknown_model_is_told_with_those_there_are() -> None:
    body = {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}
    async with serving(refusal(404, body), models=[{"id": "a"}, {"id": "b"}]) as server:
        error = await failing(model(server.url))
        assert "no model 'm'" in str(error)
        assert "it has: a, b" in str(error)


async def test_a_forgotten_v1_is_told() -> None:
    async with serving(reply()) as server:
        root = server.url.removesuffix("/v1")
        error = await failing(model(root))
        assert f"did you mean {root}/v1?" in str(error)


@pytest.mark.parametrize("status", [200, 403, 502])
async def test_a_web_page_is_not_an_api(status: int) -> None:
    page = Answer([b"<!DOCTYPE html><title>Welcome</title>"], status, {"Content-Type": "text/html"})
    async with serving(page) as server:
        error = await failing(model(server.url))
        assert isinstance(error, EndpointError)
        assert "web page (Welcome)" in str(error)


async def test_nobody_listening_is_told_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    time = Time()
    error = await failing(model(url, time))
    assert isinstance(error, EndpointError)
    assert error.status is None
    assert "is the server running" in str(error)
    assert len(time.slept) == 1, "one more try; not a minute of them where nobody ever answered"


async def test_tls_to_a_plain_server_is_told() -> None:
    async with serving(reply()) as server:
        error = await failing(model(server.url.replace("http:", "https:")))
        assert isinstance(error, EndpointError)
        assert "TLS failed" in str(error)


def test_an_unknown_host_is_told() -> None:
    key: Any = ConnectionKey("nope.example", 443, True, True, None, None, None)
    cause = aiohttp.ClientConnectorDNSError(
        key, OSError(socket.EAI_NONAME, "Name or service not known")
    )
    failure = broken(cause, url="https://nope.example/v1", begun=False, idle_seconds=1)
    assert "there is no host 'nope.example'" in str(failure.error)
    assert not failure.may_pass


# --- Addresses and names --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "url", "name"),
    [
        ("https://api.moonshot.ai/v1#kimi-k2.5", "https://api.moonshot.ai/v1", "kimi-k2.5"),
        ("http://h:8000/v1/", "http://h:8000/v1", None),
        ("http://h/v1/chat/completions#a/b:c", "http://h/v1", "a/b:c"),
        ("http://[::1]:8000/v1#m", "http://[::1]:8000/v1", "m"),
        ("http://h", "http://h", None),
    ],
)
def test_addresses_are_read(spec: str, url: str, name: str | None) -> None:
    address = read_address(spec)
    assert (address.url, address.model) == (url, name)


@pytest.mark.parametrize(
    "spec",
    ["kimi", "ftp://h/v1", "http:///v1", "http://h:x/v1", "http://u:p@h/v1", "http://h/v1?key=p"],
)
def test_what_is_no_address_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError):
        connect(spec)


async def test_without_a_name_the_only_model_is_asked() -> None:
    entry = {"id": "kimi-k2-thinking", "max_model_len": 1000}
    async with serving(reply(), models=[entry]) as server:
        asked = model(server.url, bare=True)
        assert await text_of(asked) == "four"
        assert server.requests[0]["model"] == "kimi-k2-thinking"
        assert asked.profile.context_tokens == 1000
        assert asked.profile.needs_reasoning
        assert asked.profile.spec == server.url


async def test_several_models_must_be_chosen_from() -> None:
    async with serving(reply(), models=[{"id": "b"}, {"id": "a"}]) as server:
        error = await failing(model(server.url, bare=True))
        assert isinstance(error, ConfigError)
        assert "name one after '#': a, b" in str(error)


async def test_a_profile_that_was_given_is_kept() -> None:
    given = Profile(name="mine", context_tokens=7)
    async with serving(reply(), models=[{"id": "a", "context_length": 9}]) as server:
        asked = model(server.url, bare=True, profile=given)
        assert await asked.learn() == given
        await asked.aclose()


# --- Counting -------------------------------------------------------------------------------


async def test_counting_follows_what_the_endpoint_counted() -> None:
    async with serving(reply(usage={"prompt_tokens": 5000})) as server:
        asked = model(server.url)
        before = await asked.count(ASKED)
        assert 0 < before < 50
        await text_of(asked)
        assert await asked.count(ASKED) == 5000
        longer = ASKED.append(assistant("four"), user("2+2?"))
        assert await asked.count(longer) > 10_000


async def test_options_and_tools_reach_the_endpoint() -> None:
    tool = ToolSpec("add", "adds", {"type": "object"})
    async with serving(reply()) as server:
        await text_of(model(server.url), ASKED, [tool], Options(temperature=0.5, max_tokens=3))
        body = server.requests[0]
        assert (body["temperature"], body["max_tokens"]) == (0.5, 3)
        assert body["tools"][0]["function"]["name"] == "add"


async def test_many_may_ask_at_once() -> None:
    async with serving(reply()) as server:
        asked = connect(f"{server.url}#m")

        async def one() -> list[Delta]:
            return [delta async for delta in asked.stream(ASKED)]

        replies = await asyncio.gather(*(one() for _ in range(20)))
        assert all(one == replies[0] for one in replies)
        await asked.aclose()
