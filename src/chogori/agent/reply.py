"""One reply of the model: asked again when its stream is cut, stopped when the time is up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import cast

from chogori.chat import (
    ChatModel,
    Conversation,
    Delta,
    Event,
    MessageBuilder,
    Options,
    ReplyFinished,
    ReplyRestarted,
    ToolSpec,
    Usage,
)
from chogori.errors import StreamCut

RESTARTS = 3


async def replies(
    model: ChatModel,
    conversation: Conversation,
    tools: Sequence[ToolSpec],
    options: Options,
    *,
    seconds: float | None,
    keep_cut: bool = False,
) -> AsyncGenerator[Event]:
    """The deltas of one reply, if `options.stream`, and then `ReplyFinished`. Once `seconds` are up
    nothing more comes; with `keep_cut` what had come counts as the reply.

    A stream that is cut is dropped and asked for again, three times at most; then `StreamCut`.
    """
    started = time.monotonic()
    for attempt in range(1, RESTARTS + 2):
        builder, timing = MessageBuilder(), Timing(started)
        stream = model.stream(conversation, tools, options)
        try:
            async with aclosing(cast(AsyncGenerator[Delta], stream)):
                if not options.stream:
                    await _take_all(stream, builder, timing, _left(seconds, started))
                while options.stream and (delta := await _next(stream, _left(seconds, started))):
                    timing.note()
                    builder.add(delta)
                    yield delta
                    left = _left(seconds, started)
                    if left is not None and left <= 0 and builder.finished is None:
                        raise _TimeIsUp
        except _TimeIsUp:
            if not keep_cut:
                return
        except StreamCut as cut:
            if attempt > RESTARTS:
                raise
            yield ReplyRestarted(str(cut), attempt)
            continue
        yield timing.finished(builder)
        return


async def _take_all(
    stream: AsyncIterator[Delta], builder: MessageBuilder, timing: Timing, seconds: float | None
) -> None:
    """A reply that nobody watches, within one time limit. Raises `_TimeIsUp`."""
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            async for delta in stream:
                timing.note()
                builder.add(delta)
    except TimeoutError:
        if timer.expired():
            raise _TimeIsUp from None
        raise


class Timing:
    """When a reply was asked for, and when its first delta came."""

    __slots__ = ("_first", "_started")

    def __init__(self, started: float) -> None:
        self._started = started
        self._first = 0.0

    def note(self) -> None:
        """A delta came."""
        self._first = self._first or time.monotonic() - self._started

    def finished(self, builder: MessageBuilder) -> ReplyFinished:
        """The whole reply."""
        seconds = time.monotonic() - self._started
        usage = builder.finished.usage if builder.finished else Usage()
        streaming = seconds - self._first
        speed = usage.completion / streaming if usage.completion and streaming > 0.001 else 0.0
        return ReplyFinished(builder.message, usage, seconds, self._first, speed)


class _TimeIsUp(Exception):
    pass


def _left(seconds: float | None, started: float) -> float | None:
    return None if seconds is None else seconds - (time.monotonic() - started)


async def _next(stream: AsyncIterator[Delta], seconds: float | None) -> Delta | None:
    """The next delta, None after the last; raises `_TimeIsUp` when none comes within `seconds`."""
    if seconds is None:
        return await anext(stream, None)
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await anext(stream, None)
    except TimeoutError:
        if timer.expired():
            raise _TimeIsUp from None
        raise
