"""What a model's endpoint does with us, found by asking it.

`probe` asks at most fifteen requests, one at a time, each bounded in tokens and seconds. A request
that fails is a finding. Where the first fails nobody answers, and nothing further is asked.

    probe_findings    questions, findings, the report     probe_asking     one bounded request
    probe_text        replies, streams, counts, JSON      probe_schema     the schema and its check
    probe_reasoning   reasoning, shown and sent back      probe_profile    the profile to use
    probe_tools       calls, ids, `tool_choice`
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from random import Random

from chogori.api.client import RemoteModel
from chogori.api.probe_asking import Asker
from chogori.api.probe_findings import Finding, Question, Report
from chogori.api.probe_profile import differences, profile_to_use
from chogori.api.probe_reasoning import reading, shown_reasoning, switch
from chogori.api.probe_text import (
    ANSWERS,
    cached_tokens,
    first_findings,
    json_schema,
    long_request,
)
from chogori.api.probe_tools import tools
from chogori.chat import ChatModel, Profile, profile_for
from chogori.errors import ChogoriError

LISTED = Question("lists its models", "the list of models")

Tell = Callable[[Finding], None]


def _nobody(finding: Finding) -> None:
    """Tells nobody."""


async def probe(
    model: ChatModel,
    *,
    seconds: float = 60.0,
    total_seconds: float = 600.0,
    clock: Callable[[], float] = time.monotonic,
    random: Random | None = None,
    tell: Tell = _nobody,
) -> Report:
    """Ask `model` what it does with us. `seconds` bounds each request; `tell` hears each finding.

    Retries are the model's own affair: give it few. `clock` tells the seconds of a reply, and
    `random` makes the code words.
    """
    listed = await _listed(model, seconds)
    tell(listed)
    findings = [listed]
    assumed = _assumed(model)
    asker = Asker(model, seconds=seconds, total_seconds=total_seconds, clock=clock)
    async with aclosing(_findings(asker, assumed, random or Random())) as found:
        async for finding in found:
            findings.append(finding)
            tell(finding)
    has_answered = not any(each.name == ANSWERS.name and each.is_fatal for each in findings)
    profile = profile_to_use(model.profile, findings) if has_answered else None
    return Report(
        model=model.profile.spec or model.profile.name,
        findings=tuple(findings),
        assumed=assumed,
        profile=profile,
        differences=differences(assumed, profile) if profile else (),
    )


async def _findings(asker: Asker, assumed: Profile, random: Random) -> AsyncGenerator[Finding]:
    asked = long_request(asker.model.profile, random)
    first = await asker.ask(asked)
    for finding in first_findings(first):
        yield finding
    if first.failure:
        return
    yield await cached_tokens(asker, asked)
    shown = shown_reasoning(first, assumed)
    yield shown
    switched = await switch(asker)
    yield switched
    thinking = True if (shown.verdict, switched.verdict) == ("no", "yes") else None
    async with aclosing(reading(asker, random, thinking=thinking)) as read:
        async for finding in read:
            yield finding
    async with aclosing(tools(asker, random)) as called:
        async for finding in called:
            yield finding
    yield await json_schema(asker)


async def _listed(model: ChatModel, seconds: float) -> Finding:
    """What an endpoint says of its model: its client knows it from here on."""
    if not isinstance(model, RemoteModel):
        return LISTED.found("does not apply", "it is no endpoint", 0)
    try:
        async with asyncio.timeout(seconds):
            profile = await model.learn()
    except TimeoutError:
        return LISTED.found("failed", f"no list had come after {seconds:g} s")
    except ChogoriError as error:
        return LISTED.found("failed", str(error))
    return LISTED.found("yes", f"{profile.name}, {profile.context_tokens:,} tokens of context")


def _assumed(model: ChatModel) -> Profile:
    """What we assume of an endpoint's model is what its name says; of any other, its profile."""
    profile = model.profile
    if isinstance(model, RemoteModel):
        return profile_for(profile.name, spec=profile.spec)
    return profile
