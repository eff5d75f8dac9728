"""Asking a model for a client: what is asked, and the reply as it comes.

A reply is had in one of two ways. `told` asks a `ChatModel` and writes what it streams; `relaying`
hands the bytes of an endpoint through, as long as nothing in them must change. Both yield the
stream up to its last events, which wait in `Tally.tail` until the request is settled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from chogori.api.client import RemoteModel
from chogori.api.platform import Caller
from chogori.api.server.policy import is_k2
from chogori.api.server.refusals import invalid
from chogori.api.server.replies import (
    ChunkWriter,
    Heading,
    Manner,
    choice_json,
    completion_json,
    with_new_ids,
)
from chogori.api.server.requests import ChatRequest
from chogori.api.server.restoring import ids_of, k2_ids
from chogori.api.server.upstreams import Member
from chogori.chat import (
    ChatModel,
    Conversation,
    Delta,
    Finished,
    Message,
    MessageBuilder,
    Options,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from chogori.errors import StreamCut

CHARACTERS_A_TOKEN = 4
"""Where nobody counted: of a reply that was cut."""


@dataclass(slots=True)
class Tally:
    """What a reply has taken so far."""

    prompt_tokens: int
    """As estimated."""
    first_token: float | None = None
    """When it came, by the performance counter."""
    upstream_seconds: float = 0.0
    usage: Usage | None = None
    """What the model reported."""
    pieces: int = 0
    characters: int = 0
    has_joined_pieces: bool = False
    """Whether a piece may be many tokens; a model in this process streams each by itself."""
    tail: bytes = b""
    """The last events of the stream, `[DONE]` excepted."""
    reasons: list[str] = field(default_factory=list[str])
    replies: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Of each reply that calls tools: the id of its first call, and its reasoning."""

    def count(self, characters: int, pieces: int = 1) -> None:
        """Something came."""
        if self.first_token is None:
            self.first_token = time.perf_counter()
        self.pieces += pieces
        self.characters += characters

    @property
    def so_far(self) -> Usage:
        """What the model reported, or else an estimate of what was produced."""
        if self.usage is not None:
            return self.usage
        if not self.pieces:
            return Usage(self.prompt_tokens if self.first_token else 0)
        written = self.pieces
        if self.has_joined_pieces:
            written = max(written, -(-self.characters // CHARACTERS_A_TOKEN))
        return Usage(self.prompt_tokens, written)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that was let in."""

    request: ChatRequest
    messages: tuple[Message, ...]
    """With what the client had lost."""
    caller: Caller
    model: str
    """The name it was asked under."""
    tally: Tally

    @property
    def manner(self) -> Manner:
        """How the client wants to be told."""
        request = self.request
        return Manner(
            includes_usage=request.includes_usage,
            shows_reasoning=request.shows_reasoning and self.caller.shows_reasoning,
            has_alias=request.has_alias,
            logprobs=request.options.logprobs is not None,
            token_ids=request.wants_token_ids,
        )

    async def check(self, member: Member) -> None:
        """Raise what the model knows without doing it that it could not do: `Refused`, or one of
        our errors. A schema may take seconds to look through: others are answered meanwhile."""
        if member.checks is not None:
            model = member.model
            conversation = Conversation(self.messages_for(model))
            options = self.options_for(model, 0)
            await asyncio.to_thread(member.checks.check, conversation, self.request.tools, options)

    def messages_for(self, model: ChatModel) -> tuple[Message, ...]:
        """The messages as `model` is to see them."""
        return k2_ids(self.messages) if is_k2(model.profile) else self.messages

    def options_for(self, model: ChatModel, index: int) -> Options:
        """The options of one of the replies. Raises `Refused` for what only endpoints can do."""
        options = self.request.options
        if index and options.seed is not None:
            options = replace(options, seed=options.seed + index)
        if isinstance(model, RemoteModel):
            return options
        for name in ("tools", "logit_bias"):
            if options.extra.get(name):
                what = "tools of its own kind" if name == "tools" else name
                raise invalid(name, f"The model {self.model!r} takes no {what}.")
        return replace(options, extra={})


async def told(ask: Ask, member: Member) -> AsyncGenerator[bytes]:
    """The reply as a stream. Raises what `ChatModel.stream` does, and `Refused`."""
    heading, manner, taken = Heading.of(ask.model), ask.manner, set(ids_of(ask.messages))
    tally, request = ask.tally, ask.request
    writers = [ChunkWriter(heading, manner, taken, index) for index in range(request.replies)]
    builders = [MessageBuilder() for _ in writers]
    ends: list[bytes] = []
    usage = Usage()
    held = b"".join(writer.first() for writer in writers)
    async for index, delta in _deltas(ask, member):
        builders[index].add(delta)
        if isinstance(delta, Finished):
            ends.append(writers[index].finish(delta))
            usage = _added(usage, delta.usage)
            tally.reasons.append(delta.reason)
            continue
        tally.count(_size(delta))
        so_far = tally.so_far if request.counts_all_along else None
        out = held + writers[index].write(delta, so_far)
        held = b""
        if out:
            yield out
    if held:
        yield held
    tally.usage = usage
    tally.tail = b"".join(ends) + (writers[0].usage(usage) if manner.includes_usage else b"")
    for writer, builder in zip(writers, builders, strict=True):
        if writer.first_call:
            tally.replies.append((writer.first_call, builder.message.reasoning or ""))


async def told_whole(ask: Ask, member: Member) -> dict[str, Any]:
    """The reply as one object. Raises as `told` does."""
    builders = [MessageBuilder() for _ in range(ask.request.replies)]
    usage = Usage()
    async for index, delta in _deltas(ask, member):
        builders[index].add(delta)
        if isinstance(delta, Finished):
            usage = _added(usage, delta.usage)
            ask.tally.reasons.append(delta.reason)
        else:
            ask.tally.count(_size(delta))
    taken = set(ids_of(ask.messages))
    choices: list[dict[str, Any]] = []
    for index, builder in enumerate(builders):
        message = with_new_ids(builder.message, taken)
        assert builder.finished is not None, "a stream without its end was let through"
        choices.append(choice_json(message, builder.finished, index, ask.manner))
        if message.tool_calls:
            ask.tally.replies.append((message.tool_calls[0].id, message.reasoning or ""))
    ask.tally.usage = usage
    return completion_json(Heading.of(ask.model), choices, usage)


def _added(all_of_them: Usage, one: Usage) -> Usage:
    """The prompt of several replies counts once."""
    if not all_of_them.completion and not all_of_them.prompt:
        return one
    return all_of_them + replace(one, prompt=0, cached=0)


def _size(delta: Delta) -> int:
    match delta:
        case ToolCallDelta():
            return len(delta.name) + len(delta.arguments)
        case Finished():
            return 0
        case TextDelta(text) | ReasoningDelta(text):
            return len(text)


async def _deltas(ask: Ask, member: Member) -> AsyncGenerator[tuple[int, Delta]]:
    """The deltas of every reply, with its index."""
    model = member.model
    ask.tally.has_joined_pieces = isinstance(model, RemoteModel)
    conversation = Conversation(ask.messages_for(model))
    streams = [
        model.stream(conversation, ask.request.tools, ask.options_for(model, index))
        for index in range(ask.request.replies)
    ]
    if len(streams) > 1:
        async with aclosing(_side_by_side(streams, member, ask.tally)) as deltas:
            async for each in deltas:
                yield each
        return
    async with aclosing(_timed(streams[0], member, ask.tally)) as only:
        async for delta in only:
            yield 0, delta


async def _timed(
    stream: AsyncIterator[Delta], member: Member, tally: Tally
) -> AsyncGenerator[Delta]:
    """A stream in its turn, and how long it was waited for. Raises `StreamCut` without an end."""
    is_whole = False
    clock = time.perf_counter
    began = clock()
    async with member.turns.turn():
        try:
            while (delta := await anext(stream, None)) is not None:
                tally.upstream_seconds += clock() - began
                is_whole = isinstance(delta, Finished)
                yield delta
                began = clock()
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
    tally.upstream_seconds += clock() - began
    if not is_whole:
        raise StreamCut("the model ended its stream before the reply", url="")


async def _side_by_side(
    streams: list[AsyncIterator[Delta]], member: Member, tally: Tally
) -> AsyncGenerator[tuple[int, Delta]]:
    """Several streams at once, as their deltas come."""
    queue: asyncio.Queue[tuple[int, Delta | BaseException | None]] = asyncio.Queue(64)

    async def follow(index: int, stream: AsyncIterator[Delta]) -> None:
        try:
            async with aclosing(_timed(stream, member, tally)) as deltas:
                async for delta in deltas:
                    await queue.put((index, delta))
            await queue.put((index, None))
        except Exception as error:
            await queue.put((index, error))

    tasks = [asyncio.create_task(follow(*each)) for each in enumerate(streams)]
    try:
        open_streams = len(streams)
        while open_streams:
            index, item = await queue.get()
            if item is None:
                open_streams -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
