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
    """The deltas of one reply and then `ReplyFinished`. Once `seconds` are up nothing more comes;
    with `keep_cut` what had come counts as the reply.

    A stream that is cut is dropped and asked for again, three times at most; then `StreamCut`.
    """
    started = time.monotonic()
    for attempt in range(1, RESTARTS + 2):
        builder, first = MessageBuilder(), 0.0
        stream = model.stream(conversation, tools, options)
        try:
            async with aclosing(cast(AsyncGenerator[Delta], stream)):
                while delta := await _next(stream, _left(seconds, started)):
                    first = first or time.monotonic() - started
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
        yield _finished(builder, time.monotonic() - started, first)
        return


class _TimeIsUp(Exception):
    pass


def _left(seconds: float | None, started: float) -> float | None:
    return None if seconds is None else seconds - (time.monotonic() - started)


async def _next(stream: AsyncIterator[Delta], seconds: float | None) -> Delta | None:
    """The next delta, None after the last; raises `_TimeIsUp` when none comes within `seconds`."""
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await anext(stream, None)
    except TimeoutError:
        if timer.expired():
            raise _TimeIsUp from None
        raise


def _finished(builder: MessageBuilder, seconds: float, first: float) -> ReplyFinished:
    usage = builder.finished.usage if builder.finished else Usage()
    streaming = seconds - first
    speed = usage.completion / streaming if usage.completion and streaming > 0.001 else 0.0
    return ReplyFinished(builder.message, usage, seconds, first, speed)
