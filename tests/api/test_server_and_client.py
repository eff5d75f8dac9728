"""The two ends of the wire against each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from asgi import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from server_models import StreamingModel

from chogori.api import connect, create_app
from chogori.api.repair import Repair
from chogori.api.server.running import serving
from chogori.api.sse import DONE, EventReader, decode
from chogori.chat import (
    Conversation,
    Delta,
    Finished,
    Message,
    MessageBuilder,
    Options,
    ToolCall,
    ToolCallDelta,
    Usage,
    assistant,
    profile_for,
    user,
)
from strategies import arguments, names, streams, texts

USAGE = Usage(9, 5, 2, 4)
ASKED = Conversation([user("hello")])
calls = st.lists(
    st.builds(ToolCall, id=names, name=names, arguments=arguments),
    max_size=3,
    unique_by=lambda call: call.id,
)


def _is_marked(message: Message) -> bool:
    """Markup is read as such by the client, whoever wrote it: no text of a model holds it."""
    return any("<" in text for text in (message.text, message.reasoning or ""))


said = st.builds(assistant, texts, reasoning=st.none() | texts, calls=calls).filter(
    lambda message: not _is_marked(message)
)


@st.composite
def told(draw: st.DrawFn) -> tuple[Message, list[Delta]]:
    message = draw(said)
    reason = "tool_calls" if message.tool_calls else "stop"
    return message, [*_begun_in_order(draw(streams(message))), Finished(reason, USAGE)]


def _begun_in_order(deltas: list[Delta]) -> list[Delta]:
    """Calls may interleave, but they begin in order: so does every model."""
    heads = [d for d in deltas if isinstance(d, ToolCallDelta) and d.id]
    rest = [delta for delta in deltas if delta not in heads]
    at = sum(not isinstance(delta, ToolCallDelta) for delta in rest)
    in_order = sorted(heads, key=lambda head: head.index)
    return [*rest[:at], *in_order, *rest[at:]]


def same(found: Message, meant: Message) -> None:
    """Whether a message came through whole. Surrogates apart no character may change."""
    assert found.text == meant.text
    assert (found.reasoning or "") == (meant.reasoning or "")
    assert found.tool_calls == meant.tool_calls


@given(st.lists(told(), min_size=1, max_size=4), st.booleans())
@settings(max_examples=12)
def test_a_model_behind_http_says_what_it_says_at_home(
    replies: Sequence[tuple[Message, list[Delta]]], stream: bool
) -> None:
    async def ask() -> None:
        model = StreamingModel([], profile=profile_for("m"))
        async with serving(create_app(model)) as url:
            remote = connect(f"{url}/v1#m")
            for message, deltas in replies:
                model.deltas = [*deltas]
                builder = MessageBuilder()
                async for delta in remote.stream(ASKED, (), Options(stream=stream)):
                    builder.add(delta)
                same(builder.message, message)
                assert builder.finished is not None
                assert builder.finished.usage == USAGE
            await remote.aclose()

    asyncio.run(ask())


def read(pieces: Sequence[bytes]) -> Message:
    """What the client makes of a stream in these pieces."""
    reader, repair, builder = EventReader(), Repair(), MessageBuilder()
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    assert events.pop() == DONE
    for event in events:
        for delta in repair.read(decode(event)[0]):
            builder.add(delta)
    for delta in repair.end():
        builder.add(delta)
    return builder.message


@given(told())
@settings(max_examples=12)
def test_a_stream_cut_at_any_byte_says_the_same(reply: tuple[Message, list[Delta]]) -> None:
    message, deltas = reply
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    response = asyncio.run(Client(create_app({"m": StreamingModel(deltas)})).ask(options))
    body = response.body
    for at in range(0, len(body), max(1, len(body) // 24)):
        same(read([body[:at], body[at:]]), message)
    same(read([body[at : at + 1] for at in range(len(body))]), message)
