"""Handing an endpoint's bytes through, as long as nothing in them must change.

Every event is read before it goes out, which costs a microsecond, and it goes out as it came if it
is what it must be: one choice with an index, text or reasoning without a trace of markup, a
finish_reason. At the first that is not, the rest of the stream goes through `Repair` and is written
anew; so do all tool calls. The last events are always ours: the usage stands where every client
looks for it, and there is an end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, cast

import orjson

from chogori.api.client import RemoteModel
from chogori.api.endpoint import BROKEN, read_last_bytes
from chogori.api.failures import Failure, complained, complaint_in, may_complain
from chogori.api.fields import listed, record
from chogori.api.repair import Repair, usage_of
from chogori.api.server.asking import Ask
from chogori.api.server.reading import Json
from chogori.api.server.refusals import invalid
from chogori.api.server.relay import Relay
from chogori.api.server.replies import (
    Heading,
    choice_json,
    completion_json,
    usage_json,
    with_new_ids,
)
from chogori.api.server.restoring import ids_of, patched
from chogori.api.server.upstreams import Member
from chogori.api.sse import EventReader, decode
from chogori.chat import Delta, MessageBuilder
from chogori.errors import StreamCut

_REASONS = ("stop", "length", "content_filter", "tool_calls")
_OWN_LIMIT = ("api.moonshot.ai", "api.moonshot.cn", "api.openai.com")
"""Hosts that know `max_completion_tokens`; elsewhere it is told as `max_tokens`."""
Verdict = Literal["pass", "drop", "odd"]


def can_relay(ask: Ask, member: Member) -> bool:
    """Whether nothing of request or reply need change."""
    return (
        isinstance(member.model, RemoteModel)
        and ask.request.is_plain
        and ask.caller.shows_reasoning
        and not ask.request.wants_token_ids
    )


async def request_to(ask: Ask, model: RemoteModel) -> tuple[bytes, str]:
    """The body for an endpoint, and what it calls the model. Raises `Refused`."""
    if model.name is None:
        await model.learn()
    ask.tally.has_joined_pieces = True
    name = model.name or ""
    body = dict(ask.request.body)
    body["model"] = name
    messages = ask.messages_for(model)
    if messages is not ask.request.said.messages:
        body["messages"] = patched(body, ask.request.said.messages, messages)
    if model.profile.needs_reasoning:
        body["messages"] = [_reasoned(message) for message in body["messages"]]
    if ask.request.streams:
        options = record(body.get("stream_options"))
        body["stream_options"] = {**options, "include_usage": True}
    most = body.get("max_completion_tokens")
    if most is not None and model.endpoint.host not in _OWN_LIMIT:
        del body["max_completion_tokens"]
        body["max_tokens"] = most
    try:
        return orjson.dumps(body), name
    except TypeError:
        raise invalid(None, "The body is nested too deeply, or holds a number too large.") from None


def _reasoned(message: Json) -> Json:
    """Kimi's API answers 400 where a message that calls tools does not carry the field."""
    if not message.get("tool_calls") or message.get("reasoning_content") is not None:
        return message
    return {**message, "reasoning_content": ""}


async def relayed(ask: Ask, member: Member) -> AsyncGenerator[bytes]:
    """The reply as a stream. Raises `Failure`."""
    model = cast(RemoteModel, member.model)
    body, name = await request_to(ask, model)
    tally, clock = ask.tally, time.perf_counter
    last = b""
    async with member.turns.turn():
        began = clock()
        response = await model.endpoint.post([body], name)
        relay, begun = Relay(ask, model.endpoint), False
        try:
            while not relay.is_over:
                data = await response.content.readany()
                tally.upstream_seconds += clock() - began
                out = relay.feed(data) if data else relay.close()
                if relay.is_over or not data:
                    last = out  # which leaves with the end, once that is settled
                elif out:
                    begun = True
                    yield out
                if not data:
                    break
                began = clock()
            if relay.is_over and not response.content.at_eof():
                await read_last_bytes(response)
        except BROKEN as error:
            raise model.endpoint.broken(error, begun=begun) from error
        except ValueError as error:
            raise model.endpoint.cut(f"sent what cannot be read ({error})") from error
        finally:
            response.close()
    relay.end(last)
    if not begun:
        yield b""


async def relayed_whole(ask: Ask, member: Member) -> dict[str, Any]:
    """The reply as one object. Raises `Failure`."""
    model = cast(RemoteModel, member.model)
    body, name = await request_to(ask, model)
    async with member.turns.turn():
        began = time.perf_counter()
        response = await model.endpoint.post([body], name)
        try:
            data = await response.read()
        except BROKEN as error:
            raise model.endpoint.broken(error, begun=False) from error
        finally:
            response.close()
            ask.tally.upstream_seconds += time.perf_counter() - began
    ask.tally.count(0, 0)
    if data.lstrip().startswith((b"data:", b"event:", b":")):
        return _rewritten(ask, _streamed(data, model), model)
    try:
        value = decode(data)[0]
    except (ValueError, IndexError):
        raise model.endpoint.cut("sent an answer that cannot be read") from None
    if may_complain(value) and (complaint := complaint_in(value)) is not None:
        raise complained(complaint, url=model.endpoint.url)
    completion = record(value)
    return _mended(ask, completion) or _rewritten(ask, [completion], model)


def _streamed(data: bytes, model: RemoteModel) -> list[Mapping[str, Any] | None]:
    """The chunks of an endpoint that streams though nobody asked it to."""
    events = EventReader()
    try:
        return list(model.endpoint.chunks_of([*events.feed(data), *events.close()]))
    except ValueError as error:
        raise model.endpoint.cut(f"sent what cannot be read ({error})") from None


def _mended(ask: Ask, completion: Mapping[str, Any]) -> dict[str, Any] | None:
    """The completion as it came, with the fields that must be there; None if more must change."""
    choices = listed(completion.get("choices"))
    if len(choices) != 1 or not isinstance(completion.get("id"), str):
        return None
    choice = record(choices[0])
    message = record(choice.get("message"))
    reasoning = message.get("reasoning_content")
    if choice.get("finish_reason") not in ("stop", "length", "content_filter"):
        return None
    if any(message.get(name) for name in ("tool_calls", "function_call", "reasoning")):
        return None
    for text in (message.get("content"), reasoning or ""):
        if not isinstance(text, str) or "<" in text:
            return None
    usage = usage_of(record(completion.get("usage")))
    ask.tally.reasons.append(choice["finish_reason"])
    ask.tally.characters = len(message["content"]) + len(reasoning or "")
    ask.tally.pieces = 1
    ask.tally.usage = usage if usage.completion or usage.prompt else ask.tally.so_far
    told = {"role": "assistant", "refusal": None, **message}
    made = Heading.of(ask.model)
    return {
        "created": made.created,
        **completion,
        "object": "chat.completion",
        "model": ask.model,
        "choices": [{"logprobs": None, **choice, "index": 0, "message": told}],
        "usage": {**record(completion.get("usage")), **usage_json(ask.tally.usage)},
    }


def _rewritten(
    ask: Ask, chunks: Sequence[Mapping[str, Any] | None], model: RemoteModel
) -> dict[str, Any]:
    repair = Repair(
        taken=ids_of(ask.messages), tools=ask.request.tools, endpoint=model.endpoint.url
    )
    deltas: list[Delta] = []
    for chunk in chunks:
        if chunk is None:
            repair.is_over = True
            break
        deltas += repair.read(chunk)
    if repair.is_broken or not (repair.is_over or deltas):
        raise Failure(
            StreamCut(f"{model.endpoint.url} sent no reply", url=model.endpoint.url), may_pass=True
        )
    builder = MessageBuilder()
    for delta in [*deltas, *repair.end()]:
        builder.add(delta)
        ask.tally.count(len(getattr(delta, "text", "") or getattr(delta, "arguments", "")))
    finished = builder.finished
    assert finished is not None, "the last delta of a reply is its end"
    usage = finished.usage
    if not (usage.completion or usage.prompt):
        usage = ask.tally.so_far
    message = with_new_ids(builder.message, set(ids_of(ask.messages)))
    if message.tool_calls:
        ask.tally.replies.append((message.tool_calls[0].id, message.reasoning or ""))
    ask.tally.usage = usage
    ask.tally.reasons.append(finished.reason)
    choice = choice_json(message, finished, 0, ask.manner)
    return completion_json(Heading.of(ask.model), [choice], usage)
