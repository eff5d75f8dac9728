"""How much of each request an endpoint finds again at the start of the next, for every policy.

    python bench/context_stability.py [--steps 300] [--tokens 75000]

A scripted run: every step reasons 400 characters and reads 2 KB. Counted, not timed: of each
request (a summary's too) the characters of those messages that begin the next request unchanged,
over the characters of all requests but the last. Prints a line a policy with what was wanted;
exits 1 if it was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from itertools import pairwise, takewhile

from chogori.agent.context import Context, ContextPolicy
from chogori.agent.view import TOKEN_CHARS, characters
from chogori.chat import (
    Conversation,
    Message,
    Options,
    ScriptedModel,
    ToolCall,
    Usage,
    assistant,
    system,
    tool_result,
    user,
)

CONTEXT_TOKENS = 131_072
COMPACTIONS = range(3, 7)
WANTED: dict[ContextPolicy, float | None] = {
    "none": 1.0,
    "hide_tool_results": 0.98,
    "discard_all": None,
    "summary": None,
}
_REASONING = "The file names another one, so what it says has to be read next. " * 7
_LINE = "2026-11-21 08:15:00 station 17 pressure 1013.2 humidity 0.61 wind 4.4 north-west\n"
_SUMMARY = "Read so far: the files of the chain in order; none has named the last one yet. " * 20


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to."""

    share: float
    """Of all requests, what returned in the next."""
    compactions: int
    longest_tokens: int
    """Of the longest request, about."""

    def meets(self, policy: ContextPolicy) -> bool | None:
        """None where nothing is asked."""
        wanted = WANTED[policy]
        if wanted is None:
            return None
        counts = policy != "hide_tool_results" or self.compactions in COMPACTIONS
        return self.share >= wanted and counts


def measure(policy: ContextPolicy, *, steps: int = 300, tokens: int = 75_000) -> Measured:
    """Drive one run of `steps` under `policy`, compacted at `tokens`."""
    requests, compactions = asyncio.run(_requests(Context(policy=policy, tokens=tokens), steps))
    lengths = [sum(_lengths(request)) for request in requests]
    returned = sum(_returned(before, after) for before, after in pairwise(requests))
    share = returned / sum(lengths[:-1])
    return Measured(share, compactions, round(max(lengths) / TOKEN_CHARS))


async def _requests(context: Context, steps: int) -> tuple[list[Conversation], int]:
    view, model = context.view(CONTEXT_TOKENS), ScriptedModel(lambda asked: _SUMMARY)
    conversation = Conversation([system("Read what you are told to."), user("What is last?")])
    sent: list[Conversation] = []
    compactions = 0
    for number in range(steps):
        compactions += len([event async for event in view.show(conversation, model, Options())])
        sent += [*(asked.conversation for asked in model.asked), view.shown]
        model.asked.clear()
        reply, result = _step(number)
        view.saw(Usage(_tokens(*_lengths(view.shown)), _tokens(characters(reply))), reply)
        conversation = conversation.append(reply, result)
    return sent, compactions


def _step(number: int) -> tuple[Message, Message]:
    arguments = f'{{"path": "chain/file-{number:03}.txt"}}'
    call = ToolCall(f"functions.read_file:{number}", "read_file", arguments)
    text = f"file {number}\n{_LINE * 26}"[:2048]
    return assistant(reasoning=_REASONING[:400], calls=[call]), tool_result(call, text)


def _tokens(*lengths: int) -> int:
    return round(sum(lengths) / TOKEN_CHARS)


def _lengths(request: Conversation) -> list[int]:
    return request.encoded("characters", characters)


def _returned(before: Conversation, after: Conversation) -> int:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    return sum(_lengths(before)[: sum(1 for _ in same)])


def main() -> int:
    """Print the table; the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--tokens", type=int, default=75_000)
    given = options.parse_args()
    print(f"{given.steps} steps, compacted at {given.tokens:,} tokens")
    print(f"{'policy':<19}{'wanted':>8}{'measured':>10}{'compactions':>13}{'longest':>10}")
    missed = False
    for policy, wanted in WANTED.items():
        measured = measure(policy, steps=given.steps, tokens=given.tokens)
        met = measured.meets(policy)
        missed |= met is False
        verdict = {True: "met", False: "MISSED", None: ""}[met]
        asked = "" if wanted is None else f"{wanted:.0%}"
        print(
            f"{policy:<19}{asked:>8}{measured.share:>10.2%}{measured.compactions:>13}"
            f"{measured.longest_tokens:>10,}  {verdict}".rstrip()
        )
    print(f"wanted of hide_tool_results: {COMPACTIONS.start} to {COMPACTIONS.stop - 1} compactions")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
