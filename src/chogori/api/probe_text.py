"""What is asked without tools: whether anybody answers, how the reply comes, what is counted.

One long request settles most of it. Sent once more, word for word, it shows whether the prefix was
kept. The request for JSON says the opposite of its schema, so that only a model that is held to
the schema keeps it.
"""

from __future__ import annotations

from random import Random

import orjson

from chogori.api.probe_asking import Asker, Heard
from chogori.api.probe_findings import Finding, Question, in_short
from chogori.api.probe_schema import SCHEMA, violation
from chogori.chat import Conversation, JsonFormat, Options, Profile, user

ANSWERS = Question("answers", "a question", needed=True)
STREAMS = Question("streams", "whether that reply came piece by piece")
USAGE = Question("usage", "whether its tokens were reported")
CACHED = Question("cached tokens", "the same long request again")
JSON_SCHEMA = Question("JSON schema", "JSON with pattern, enum and minimum, told the opposite")

_LINES = 110
"""Lines of the long request: some 1,400 tokens, since no cache that is known of begins later than
at 1,024."""
_LINE_TOKENS = 14
_HELD_BACK_SECONDS = 1.0
"""What comes faster cannot be told from what is held back."""
_FEW_TOKENS = 5
"""So short a reply may come in one piece."""


def long_request(profile: Profile, random: Random) -> Conversation:
    """A request that no cache has seen: lines of a made-up ledger, at most a quarter of the
    context, and a question that makes for a reply of some length."""
    lines = min(_LINES, profile.context_tokens // 4 // _LINE_TOKENS)
    ledger = "\n".join(
        f"Entry {number}: {random.randrange(10, 99)} crates of pears, "
        f"{random.randrange(100, 999)} kilograms."
        for number in range(1, lines + 1)
    )
    question = "Work out 17 times 23, then write the numbers from 1 to 30, separated by spaces."
    return Conversation([user(f"{ledger}\n\nLeave this ledger aside. {question}")])


def first_findings(heard: Heard) -> list[Finding]:
    """What the first reply shows."""
    if heard.failure:
        return [ANSWERS.found("failed", heard.failure)]
    said = heard.message.text or heard.message.reasoning or ""
    if not said and not heard.is_cut:
        return [ANSWERS.found("no", "an empty reply")]
    usage = heard.usage
    counted = f"{usage.prompt} prompt, {usage.completion} completion"
    return [
        ANSWERS.found("yes", in_short(said) or "nothing that is shown, up to our limit"),
        streaming(heard),
        USAGE.judged(bool(usage.prompt), counted if usage.prompt else "none is reported", 0),
    ]


def streaming(heard: Heard) -> Finding:
    """Whether the reply came as it was written, and not at its end."""
    first, last = heard.first_seconds, heard.last_seconds
    if heard.pieces <= 1:
        if 0 < heard.usage.completion < _FEW_TOKENS:
            return STREAMS.found("not told", "the reply was too short", 0)
        return STREAMS.found("no", f"the whole reply came at once, after {last:.1f} s", 0)
    if last > _HELD_BACK_SECONDS and last - first < last / 20:
        held = f"{heard.pieces} pieces, held back until the end ({first:.1f} of {last:.1f} s)"
        return STREAMS.found("no", held, 0)
    came = f"{heard.pieces} pieces, the first after {first:.2f} s, the last after {last:.2f} s"
    return STREAMS.found("yes", came, 0)


async def cached_tokens(asker: Asker, asked: Conversation) -> Finding:
    """Whether what was `asked` a moment ago is read from a cache."""
    heard = await asker.ask(asked, options=Options(max_tokens=16))
    if heard.failure:
        return CACHED.found("failed", heard.failure)
    usage = heard.usage
    if usage.cached:
        return CACHED.found("yes", f"{usage.cached} of {usage.prompt} prompt tokens")
    return CACHED.found("not told", "none reported: it keeps no prefix, or does not say")


async def json_schema(asker: Asker) -> Finding:
    """Whether a schema holds the reply."""
    prompt = (
        "Describe a parcel as one JSON object and nothing else. Its code is abc, its colour is red "
        "and its count is 3."
    )
    wanted = Options(response_format=JsonFormat(SCHEMA, name="parcel"))
    heard = await asker.ask(Conversation([user(prompt)]), options=wanted)
    if heard.failure:
        return JSON_SCHEMA.found("failed", heard.failure)
    if heard.is_cut:
        return JSON_SCHEMA.found("not told", "the reply did not end within our limit")
    try:
        value = orjson.loads(heard.message.text)
    except orjson.JSONDecodeError:
        return JSON_SCHEMA.found("no", f"no JSON: {in_short(heard.message.text)}")
    broken = violation(value, SCHEMA)
    seen = in_short(heard.message.text)
    return JSON_SCHEMA.judged(broken is None, f"{seen} ({broken})" if broken else seen)
