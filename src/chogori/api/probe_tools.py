"""What becomes of tools: calls, their ids, and `tool_choice`.

Ids are tried with a history of foreign ones (`probe_boxes`). Two results come back in the other
order, so that an endpoint which pairs by place and not by id gives itself away. New calls are then
made behind histories that never hold an id of the endpoint's own: our client, which renames what
repeats, has nothing to rename there, and the ids are seen as they came. All that is within one
chain, so that reasoning is never left out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from random import Random

from chogori.api.arguments import parsed_object
from chogori.api.probe_asking import Asker, Heard
from chogori.api.probe_boxes import PAINT, WEIGH, Boxes
from chogori.api.probe_findings import Finding, Question, in_short
from chogori.chat import Conversation, NamedTool, Options, user

CALLS = Question("calls tools", "a task for a tool", needed=True)
CHOICE_NONE = Question("tool_choice none", "a task for a tool, with calls forbidden")
PAIRS = Question("foreign call ids", "results of foreign ids, the other way round", needed=True)
CHOICE_REQUIRED = Question("tool_choice required", "a call required where an answer is due")
CHOICE_NAMED = Question("tool_choice named", "a tool named that has nothing to do")
UNIQUE_IDS = Question("unique call ids", "the ids of those two calls")

_TOOLS = (WEIGH, PAINT)
_NUMBER = re.compile(r"[:_](\d+)$")


async def tools(asker: Asker, random: Random) -> AsyncGenerator[Finding]:
    """All findings about tools; one, where the endpoint refuses them."""
    calls = await _calls(asker)
    yield calls
    if calls.verdict == "failed":
        return
    yield await _none(asker)
    boxes = Boxes.made_up(asker, random)
    yield await _pairs(asker, boxes)
    both = boxes.weighed(swapped=False)
    required = await asker.ask(both, _TOOLS, Options(tool_choice="required"))
    yield _obeyed(CHOICE_REQUIRED, required, WEIGH.name, PAINT.name)
    choice = NamedTool(PAINT.name)
    named = await asker.ask(boxes.weighed_more(both), _TOOLS, Options(tool_choice=choice))
    yield _obeyed(CHOICE_NAMED, named, PAINT.name)
    yield unique_ids(_ids(required), _ids(named))


async def _calls(asker: Asker) -> Finding:
    task = Conversation([user("Weigh the red box with the tool, then tell me its weight.")])
    heard = await asker.ask(task, _TOOLS)
    calls = heard.message.tool_calls
    if calls and parsed_object(calls[0].arguments) is None:
        return CALLS.found("no", f"arguments that are no JSON object: {_said(heard)}")
    return _obeyed(CALLS, heard, WEIGH.name)


async def _none(asker: Asker) -> Finding:
    task = Conversation([user("Weigh the green box with the tool.")])
    heard = await asker.ask(task, _TOOLS, Options(tool_choice="none"))
    if heard.failure:
        return CHOICE_NONE.found("failed", heard.failure)
    return CHOICE_NONE.judged(not heard.message.tool_calls, _said(heard))


def _obeyed(question: Question, heard: Heard, *names: str) -> Finding:
    """Whether the reply is a call of one of `names`."""
    if heard.failure:
        return question.found("failed", heard.failure)
    calls = heard.message.tool_calls
    if not calls and heard.is_cut:
        return question.found("not told", "the reply did not end within our limit")
    return question.judged(bool(calls) and calls[0].name in names, _said(heard))


async def _pairs(asker: Asker, boxes: Boxes) -> Finding:
    if not asker.model.profile.native_tools:
        return PAIRS.found("does not apply", "to this model calls are text, which has no ids", 0)
    heard = await asker.ask(boxes.weighed(swapped=True), _TOOLS)
    if heard.failure:
        return PAIRS.found("failed", heard.failure)
    match boxes.told_in(heard.message.text):
        case "red":
            return PAIRS.found("yes", f"it told {boxes.red_weight}, which is right")
        case "blue":
            return await _pairs_by_place(asker, boxes)
        case None:
            return PAIRS.found("not told", _said(heard))


async def _pairs_by_place(asker: Asker, boxes: Boxes) -> Finding:
    """The wrong result was taken: by the endpoint, or by a model that mixes up what is in order?"""
    control = await asker.ask(boxes.weighed(swapped=False), _TOOLS)
    mixed = f"it told {boxes.blue_weight}, the result of the other call"
    if boxes.told_in(control.message.text) == "red":
        return PAIRS.found("no", f"{mixed}; results are paired by their place", 2)
    return PAIRS.found("not told", f"{mixed}, and was no better with both in order", 2)


def unique_ids(earlier: Sequence[str], later: Sequence[str]) -> Finding:
    """Whether the calls of two replies, one later than the other, have ids of their own.

    Endpoints that number calls anew in every reply give calls of different tools the same number.
    """
    if not (earlier and later):
        return UNIQUE_IDS.found("not told", "there were no two calls to compare", 0)
    first, last = earlier[0], later[0]
    numbers = [found[1] for id in (first, last) if (found := _NUMBER.search(id))]
    repeats = first == last or (len(numbers) == 2 and numbers[0] == numbers[1])
    advice = ": numbered anew in every reply; Chogori renames the later one" if repeats else ""
    return UNIQUE_IDS.judged(not repeats, f"{first} and {last}{advice}", 0)


def _ids(heard: Heard) -> list[str]:
    return [call.id for call in heard.message.tool_calls]


def _said(heard: Heard) -> str:
    calls = ", ".join(f"{call.name}({call.arguments})" for call in heard.message.tool_calls)
    return in_short(calls or heard.message.text or f"nothing ({heard.finished.reason})")
