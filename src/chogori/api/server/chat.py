"""POST /v1/chat/completions: who asks, what is asked, whether it may be; then the reply.

The order matters. The key is looked at before the body is read. Nothing is taken from any limit
before the request is known to be right. Another upstream is asked as long as nothing of the reply
went out. What was taken is settled before the last byte leaves, so that whoever has read all of it
was billed; and once, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from chogori.api.failures import Failure
from chogori.api.fields import dump
from chogori.api.platform import (
    Admission,
    Caller,
    Demand,
    Gate,
    Metered,
    Outcome,
    ReasoningStore,
    Refused,
)
from chogori.api.server.asking import Ask, Tally, told, told_whole
from chogori.api.server.exchange import Exchange
from chogori.api.server.idempotency import Repeats
from chogori.api.server.metrics import Metrics
from chogori.api.server.policy import hold_to
from chogori.api.server.reading import parse
from chogori.api.server.refusals import (
    in_stream,
    internal,
    invalid,
    may_fall_back,
    no_such_model,
    refused_for,
    timed_out,
)
from chogori.api.server.relaying import can_relay, relayed, relayed_whole
from chogori.api.server.replies import DONE
from chogori.api.server.requests import ChatRequest, read_chat
from chogori.api.server.restoring import Digests, put_back
from chogori.api.server.spans import Spans
from chogori.api.server.upstreams import Member, Served
from chogori.chat import Profile
from chogori.errors import ChogoriError, StreamCut

TOKENS_PER_BYTE = 0.3
"""A prompt's, as long as nobody counts: a little more than English prose, JSON included."""
PICTURE_TOKENS = 1024
"""What Moonshot bills for a picture of any size."""
USUAL_TOKENS = 4096
"""What is held for a reply whose length was left open."""
WHOLE = 10
"""So many times longer a reply may take that comes whole."""
_log = logging.getLogger("chogori.api.server")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Answers chat completions."""

    models: dict[str, Served]
    gate: Gate
    reasoning: ReasoningStore
    repeats: Repeats
    metrics: Metrics
    spans: Spans

    async def __call__(self, exchange: Exchange, model: str | None = None) -> None:
        """Answer a request. Raises `Refused`."""
        caller = await identify(self.gate, exchange, "chat")
        data = await exchange.body()
        claim = self.repeats.claim(exchange, caller.key_id, data)
        if claim is not None and claim.kept is not None:
            find_model(self.models, caller, read_chat(parse(data), model).model)
            await claim.kept.send(exchange)
            return
        try:
            await self._admitted(exchange, caller, read_chat(parse(data), model), len(data))
            if claim is not None:
                claim.keep(exchange)
        finally:
            if claim is not None:
                claim.release()

    async def _admitted(
        self, exchange: Exchange, caller: Caller, request: ChatRequest, size: int
    ) -> None:
        served = find_model(self.models, caller, request.model)
        _check(request, served.profile)
        exchange.model = served.name
        restored = await put_back(request.said.messages, self.reasoning, caller.organisation)
        exchange.more_headers |= restored.headers
        tally = Tally(prompt_tokens=_prompt_tokens(request, size))
        ask = Ask(
            request=request,
            messages=restored.messages,
            caller=caller,
            model=served.name,
            tally=tally,
        )
        try:
            await ask.check(served.members[0])
        except ChogoriError as error:
            raise refused_for(error, served.name) from error
        most = _most_tokens(request, served.profile, tally.prompt_tokens)
        admission = await self.gate.admit(
            caller,
            Demand(
                exchange.request_id,
                served.name,
                tally.prompt_tokens,
                request.replies * most,
                served.profile.name,
            ),
        )
        exchange.admission = admission
        settlement = _Settlement(admission, exchange, tally)
        try:
            if request.streams:
                await self._stream(exchange, served, ask, settlement)
            else:
                await self._whole(exchange, served, ask, settlement)
        except asyncio.CancelledError:
            await settlement.settle("cut")
            raise
        except BaseException:
            await settlement.settle("failed")
            raise
        finally:
            exchange.overhead = time.perf_counter() - exchange.started - tally.upstream_seconds
            self.metrics.answered(exchange, tally)
            self.spans.answered(exchange, ask, tally)

    async def _whole(
        self, exchange: Exchange, served: Served, ask: Ask, settlement: _Settlement
    ) -> None:
        async def one(member: Member) -> tuple[Member, dict[str, Any]]:
            how = relayed_whole if can_relay(ask, member) else told_whole
            return member, await how(ask, member)

        member, completion = await self._first(served, ask, one)
        member.worked()
        await self._keep(ask)
        await settlement.settle("finished")
        await exchange.respond(dump(completion))

    async def _stream(
        self, exchange: Exchange, served: Served, ask: Ask, settlement: _Settlement
    ) -> None:
        async def one(member: Member) -> tuple[Member, AsyncGenerator[bytes], bytes | None]:
            how = relayed if can_relay(ask, member) else told
            frames = how(ask, member)
            return member, frames, await anext(frames)

        exchange.keeps_alive = True
        try:
            member, frames, frame = await self._first(served, ask, one)
        except Refused as refused:
            if not exchange.status:
                raise
            exchange.has_failed = True
            await settlement.settle("failed")
            await exchange.end_stream(in_stream(refused, exchange.client_id))
            return
        member.worked()
        try:
            async with aclosing(frames):
                while frame is not None:
                    if frame:
                        await exchange.stream(frame)
                    frame = await anext(frames, None)
        except (ChogoriError, Failure, Refused) as error:
            if not isinstance(error, Refused):
                self._failed(member, error)
                error = refused_for(error, ask.model)
            exchange.has_failed = True
            await settlement.settle("failed")
            await exchange.end_stream(in_stream(error, exchange.client_id))
            return
        await self._keep(ask)
        await settlement.settle("finished")
        await exchange.end_stream(ask.tally.tail + DONE)

    async def _first(self, served: Served, ask: Ask, one: Callable[[Member], Awaitable[T]]) -> T:
        """What the first upstream that answers has to say. Raises `Refused`."""
        refused = internal()
        members = list(served.order())
        for member in members:
            patience = member.patience_seconds * (1 if ask.request.streams else WHOLE)
            try:
                async with asyncio.timeout(None if member is members[-1] else patience):
                    return await one(member)
            except TimeoutError:
                late = StreamCut(f"no answer began within {patience:g} s", url="")
                refused = refused_for(late, served.name)
                self._failed(member, late)
            except Refused as full:
                if full.status == 400:
                    raise
                refused = full
            except (ChogoriError, Failure) as error:
                refused = refused_for(error, served.name)
                if not may_fall_back(error):
                    raise refused from error
                self._failed(member, error)
                refused.__cause__ = error
        raise refused

    def _failed(self, member: Member, error: ChogoriError | Failure) -> None:
        failure = error if isinstance(error, Failure) else error.__cause__
        after = failure.after_seconds if isinstance(failure, Failure) else None
        member.failed(after)
        self.metrics.upstream_failed(member)
        _log.warning("an upstream failed: %s", _named(error))

    async def _keep(self, ask: Ask) -> None:
        """Remember the reasoning of replies that call tools: clients lose it."""
        for call_id, reasoning in ask.tally.replies:
            if reasoning:
                said = ask.request.said.messages
                digest = Digests(said).before(len(said))
                await self.reasoning.keep(ask.caller.organisation, call_id, digest, reasoning)


class _Settlement:
    """Settles a request, once."""

    def __init__(self, admission: Admission, exchange: Exchange, tally: Tally) -> None:
        self._admission = admission
        self._exchange = exchange
        self._tally = tally
        self._is_settled = False

    async def settle(self, outcome: Outcome) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        tally, started = self._tally, self._exchange.started
        first = None if tally.first_token is None else tally.first_token - started
        usage = tally.so_far
        seconds = time.perf_counter() - started
        metered = Metered(usage, outcome, seconds, first, tally.upstream_seconds)
        # Whoever cancels us now has come too late: what was taken is recorded.
        await asyncio.shield(self._admission.settle(metered))


async def identify(gate: Gate, exchange: Exchange, scope: Any) -> Caller:
    """Who asks, and that the key may. Raises `Refused`."""
    caller = await gate.identify(exchange.credentials)
    exchange.key_id = caller.key_id
    if scope not in caller.scopes:
        raise Refused(
            403,
            "permission_denied_error",
            "insufficient_permissions",
            f"This key has no scope {scope!r}; give it one, or use a key that has it.",
        )
    return caller


def find_model(models: dict[str, Served], caller: Caller, name: str) -> Served:
    """The model of that name, if the key may ask it. Raises `Refused`."""
    if caller.models is not None and name not in caller.models:
        if name not in models:
            raise no_such_model(name)
        raise Refused(
            403,
            "permission_denied_error",
            "model_not_allowed",
            f"This key may not ask the model {name!r}.",
            param="model",
        )
    if name not in models:
        raise no_such_model(name)
    return models[name]


def _check(request: ChatRequest, profile: Profile) -> None:
    hold_to(profile, request.options, request.replies, says_thinking=request.says_thinking)
    if (request.said.pictures or request.said.films) and not profile.sees_images:
        what = "pictures" if request.said.pictures else "films"
        raise invalid(
            "messages", f"The model {profile.name!r} has no eyes; it cannot be shown {what}."
        )


def _prompt_tokens(request: ChatRequest, size: int) -> int:
    said = request.said
    pictures = said.pictures + said.films
    return max(1, round((size - said.picture_bytes) * TOKENS_PER_BYTE) + pictures * PICTURE_TOKENS)


def _most_tokens(request: ChatRequest, profile: Profile, prompt: int) -> int:
    room = max(1, profile.context_tokens - prompt)
    most = request.options.max_tokens
    return min(room, USUAL_TOKENS) if most is None else min(most, room)


def _named(error: BaseException) -> str:
    """An error for the log, which never holds what was said: its kind and its status."""
    failure = error if isinstance(error, Failure) else error.__cause__
    inner = failure.error if isinstance(failure, Failure) else error
    status = getattr(inner, "status", None)
    return type(inner).__name__ + (f" ({status})" if status else "")


def refusal_of_end(exchange: Exchange) -> Refused | None:
    """What a client is told whose request was ended from outside; None where nobody listens."""
    match exchange.ended_by:
        case "revoked":
            return Refused(
                401,
                "invalid_authentication_error",
                "invalid_api_key",
                "This key was revoked.",
                headers={"www-authenticate": "Bearer"},
            )
        case "late":
            return timed_out("The request took longer than the two hours that any may take.")
        case _:
            return None
