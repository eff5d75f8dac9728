"""A chat model behind an OpenAI-compatible endpoint.

A request that fails before anything of its reply was passed on is sent again while there is hope
(`retries`). After that a failure is a `StreamCut`: whoever asked decides what becomes of the half
reply. All models of one endpoint and key share one limiter, unless they are given another.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from chogori.api.endpoint import Endpoint, KeySource, read_address
from chogori.api.failures import Failure
from chogori.api.ids import ids_in
from chogori.api.keys import Keys
from chogori.api.repair import Repair
from chogori.api.retries import Retries
from chogori.api.wire import PICTURE_TOKENS, Wire
from chogori.chat import (
    Conversation,
    Delta,
    Finished,
    LearningLimiter,
    Limiter,
    Options,
    Profile,
    ToolSpec,
    profile_for,
)
from chogori.errors import ChogoriError, ConfigError, ContextTooLong, EndpointError, StreamCut

TOKENS_PER_BYTE = 0.3
"""Before any endpoint has counted: a little more than English prose, JSON round it included."""

_CONTEXT_FIELDS = ("context_length", "max_model_len", "context_window")


def connect(
    spec: str,
    *,
    api_key: str | None = None,
    limiter: Limiter | None = None,
    profile: Profile | None = None,
    data: Path | None = None,
    key_source: KeySource | None = None,
    retries: Retries = Retries(),
    idle_seconds: float = 600.0,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> RemoteModel:
    """The model at "http(s)://HOST/v1#MODEL"; without "#MODEL", the only one there is.

    The key is `api_key`, or else what `key_source` says for the address, or else what the folder
    `data` holds for its host (`keys`). `idle_seconds` is how long the endpoint may send nothing.
    Nothing is asked before the first request. Raises `ConfigError`.
    """
    address = read_address(spec)
    known = profile or profile_for(address.model or "", spec=spec)
    source: KeySource = Keys(data)
    if api_key:
        source = _always(api_key)
    elif key_source:
        source = key_source
    endpoint = Endpoint(address, source, idle_seconds=idle_seconds, now=now)
    return RemoteModel(
        endpoint,
        address.model,
        known,
        learns=profile is None,
        limiter=limiter,
        retries=retries,
        clock=clock,
        sleep=sleep,
    )


class RemoteModel:
    """A `ChatModel`. Made by `connect`."""

    def __init__(
        self,
        endpoint: Endpoint,
        name: str | None,
        profile: Profile,
        *,
        learns: bool,
        limiter: Limiter | None,
        retries: Retries,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._endpoint = endpoint
        self._name = name
        self._learns = learns
        self._limiter = limiter
        self._retries = retries
        self._clock = clock
        self._sleep = sleep
        self._wire = Wire(endpoint.url, endpoint.host, name or "", profile)
        self._has_answered = False
        self._reasoning_comes_apart = False
        self._tokens_per_byte = TOKENS_PER_BYTE
        self._counted = 0
        """Messages of the conversation that the rate was learnt from."""

    @property
    def profile(self) -> Profile:
        """What is known of this model; more after `learn`."""
        return self._wire.profile

    @property
    def endpoint(self) -> Endpoint:
        """Where it is: for the server, which hands bytes through."""
        return self._endpoint

    @property
    def name(self) -> str | None:
        """What the endpoint calls it; None as long as that is still to be asked for."""
        return self._name

    def limited_by(self, limiter: Limiter) -> None:
        """See `TakesLimiter`."""
        self._limiter = self._limiter or limiter

    async def learn(self) -> Profile:
        """Ask the endpoint what it has: the model's name, if none was given, and its context.

        Raises `ConfigError` where there are several models to choose from.
        """
        try:
            entries = {
                str(entry.get("id") or entry.get("name")): entry for entry in await self._models()
            }
        except Failure as failure:
            raise failure.error from failure
        if self._name is None and len(entries) != 1:
            raise ConfigError(
                f"{self._endpoint.url} has {len(entries)} models; name one after '#': "
                f"{', '.join(sorted(entries)) or 'it lists none'}"
            )
        self._name = self._name or next(iter(entries))
        profile = self.profile
        if self._learns:
            known = profile_for(self._name, spec=profile.spec)
            profile = _taught(known, entries.get(self._name, {}))
        self._wire = Wire(self._endpoint.url, self._endpoint.host, self._name, profile)
        return profile

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncGenerator[Delta]:
        """See `ChatModel.stream`."""
        if self._name is None:
            await self.learn()
        wire = self._wire
        body = wire.body(conversation, tools, options)
        taken = ids_in(conversation)
        limiter = self._limiter or shared_limiter(self._endpoint.url, self._endpoint.key)
        tried, waited, begun = 0, 0.0, False
        while True:
            reply = Repair(
                taken=taken,
                tools=tools,
                endpoint=self._endpoint.url,
                may_begin_thinking=self._may_begin_thinking(options),
            )
            try:
                async with limiter.slot():
                    started = self._clock()
                    async with aclosing(await self._endpoint.ask(body, wire.model)) as chunks:
                        async for chunk in chunks:
                            for delta in self._read(reply, chunk):
                                if not begun:
                                    begun = self._has_answered = True
                                    limiter.answered(self._clock() - started)
                                yield delta
                    for delta in self._end(reply, wire, conversation, tools):
                        if not begun:
                            begun = self._has_answered = True
                            limiter.answered(self._clock() - started)
                        yield delta
                    return
            except Failure as failure:
                if failure.status is not None and failure.may_pass:
                    limiter.refused(failure.status, failure.after_seconds)
                tried += 1
                wait = self._wait_seconds(failure, tried, waited, begun)
                if wait is None:
                    raise await self._final(failure, begun) from failure
            waited += wait
            await self._sleep(wait)

    def fingerprint(
        self, conversation: Conversation, tools: Sequence[ToolSpec], options: Options
    ) -> str:
        """Of the bytes that `stream` would send (`agent.request.Fingerprinted`); "" as long as the
        model's name is still to be asked for."""
        return self._wire.fingerprint(conversation, tools, options) if self._name else ""

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        """An estimate: the bytes a request would hold, at the rate of tokens to bytes that the
        endpoint last reported, so that of a conversation it has counted before only what was added
        is guessed. Pictures count as Moonshot bills them. Reads what was added and no more."""
        size, pictures = self._wire.size(conversation, tools)
        return round(size * self._tokens_per_byte) + pictures * PICTURE_TOKENS

    async def aclose(self) -> None:
        """Close the connections. The model may be used again."""
        await self._endpoint.aclose()

    def _read(self, reply: Repair, chunk: Mapping[str, Any] | None) -> list[Delta]:
        if chunk is None:
            reply.is_over = True
            return []
        deltas = reply.read(chunk)
        self._reasoning_comes_apart |= reply.reasoning_field is not None
        return deltas

    def _end(
        self, reply: Repair, wire: Wire, conversation: Conversation, tools: Sequence[ToolSpec]
    ) -> list[Delta]:
        url = self._endpoint.url
        if reply.is_broken or not reply.is_over:
            why = "gave the reply up" if reply.is_broken else "ended its stream before the reply"
            raise Failure(StreamCut(f"{url} {why}", url=url), may_pass=True)
        deltas = reply.end()
        if isinstance(last := deltas[-1], Finished) and last.usage.prompt:
            self._calibrate(last.usage.prompt, wire, conversation, tools)
        return deltas

    def _calibrate(
        self, tokens: int, wire: Wire, conversation: Conversation, tools: Sequence[ToolSpec]
    ) -> None:
        """Learn the rate of tokens to bytes, when the conversation is well longer than it was the
        last time, or a shorter one: to add up its sizes at each step would walk it."""
        if self._counted <= len(conversation) <= 1.1 * self._counted + 10 and self._counted:
            return
        self._counted = len(conversation)
        size, pictures = wire.size(conversation, tools)
        if not pictures:
            self._tokens_per_byte = tokens / max(size, 1)

    def _may_begin_thinking(self, options: Options) -> bool:
        """Whether content may be reasoning that the prompt began (K2.5 behind a bare server)."""
        thinks = self.profile.thinking == "switchable" and options.thinking is not False
        return thinks and options.prefill is None and not self._reasoning_comes_apart

    def _wait_seconds(
        self, failure: Failure, tried: int, waited: float, begun: bool
    ) -> float | None:
        # Where nobody ever answered, nobody may be there: one more try, not a minute of them.
        hopeless = failure.status is None and not self._has_answered and tried > 1
        if begun or hopeless or not failure.may_pass:
            return None
        return self._retries.wait_seconds(tried, waited, failure.after_seconds)

    async def _final(self, failure: Failure, begun: bool) -> ChogoriError:
        error = failure.error
        if begun and not isinstance(error, StreamCut | ContextTooLong):
            return StreamCut(str(error), url=self._endpoint.url, status=failure.status)
        if failure.status == 404 and isinstance(error, EndpointError) and self._name:
            try:
                names = sorted(str(entry.get("id")) for entry in await self._models())
            except Failure:
                return error
            if names and self._name not in names:
                return EndpointError(
                    f"{error}; it has: {', '.join(names)}", url=error.url, status=404
                )
        return error

    async def _models(self) -> list[Mapping[str, Any]]:
        return await self._endpoint.models()


_limiters: dict[asyncio.AbstractEventLoop, dict[tuple[str, str], Limiter]] = {}


def shared_limiter(url: str, key: str | None) -> Limiter:
    """The one limiter of this process for an endpoint and key (in this loop: waiting needs one)."""
    loop = asyncio.get_running_loop()
    if loop not in _limiters:
        for old in [old for old in _limiters if old.is_closed()]:
            del _limiters[old]
    place = (url, hashlib.sha256((key or "").encode()).hexdigest())
    return _limiters.setdefault(loop, {}).setdefault(place, LearningLimiter())


def _always(key: str) -> KeySource:
    return lambda url: key


def _taught(profile: Profile, entry: Mapping[str, Any]) -> Profile:
    """What the endpoint says of the model goes before what we know of its name."""
    context = next((entry[name] for name in _CONTEXT_FIELDS if entry.get(name)), None)
    return replace(
        profile,
        context_tokens=context if isinstance(context, int) else profile.context_tokens,
        sees_images=bool(entry.get("supports_image_in", profile.sees_images)),
    )
