"""Runs of every kind, each with a model that is told what to say and a world to act on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from agent_harness import calling
from resume_harness import Go, Scenario, World

from chogori.agent import DEFAULT_GUARDS, Agent, Agreement, Budget, ClientTool, Context
from chogori.agent.verbs import Verbs
from chogori.chat import (
    Conversation,
    Event,
    Message,
    ScriptedModel,
    ToolSpec,
    Waiting,
    assistant,
)
from chogori.chat.scripted import Reply
from chogori.store import Store

Script = Iterable[Message | str | Reply] | Callable[[Conversation], Message | str]
MIXED = [
    calling(("look", '{"value": "a"}'), reasoning="First."),
    calling(("put", '{"value": "b"}'), first=1),
    calling(("edit", '{"value": "c"}'), reasoning="", first=2),
    calling(("send", '{"value": "d"}'), first=3),
    "All done.",
]
PARALLEL = [
    calling(
        ("send", '{"value": "a"}'),
        ("look", '{"value": "b"}'),
        ("put", '{"value": "c"}'),
        ("edit", '{"value": "d"}'),
        ("put", '{"value": "c"}'),
    ),
    calling(
        ("look", '{"value": "nothing"}'), ("fly", "{}"), ("put", "no json"), ("put", "{}"), first=5
    ),
    calling(("send", '{"value": "e"}'), ("send", '{"value": "f"}'), reasoning="Both.", first=9),
    "Enough.",
]


def scenario(script: Script, *later: Go, task: str = "Go.", **options: Any) -> Scenario:
    """A run of a plain agent; without guards, unless `options` name some."""
    script = script if callable(script) else list(script)

    def make(world: World, store: Store) -> tuple[Verbs, ScriptedModel]:
        model = ScriptedModel(script)
        tools = [*world.tools(), ClientTool(ToolSpec("fetch", "Fetch.", {"type": "object"}))]
        settings: dict[str, Any] = {"guards": (), "instructions": "Be good.", **options}
        return Agent(model, tools, store=store, **settings), model

    return Scenario(make, task, later)


def approving(**approve: bool) -> Go:
    """A person decides about `call_0` and so on."""
    decided = {id.replace("_", "-"): yes for id, yes in approve.items()}
    return lambda verbs, leg: verbs.continue_(leg, approve=decided)


def saying(text: str) -> Go:
    return lambda verbs, leg: verbs.continue_(leg, text)


def bringing(result: str) -> Go:
    """The client has run what the leg waits for."""

    def go(verbs: Verbs, leg: Any) -> AsyncIterator[Event]:
        assert isinstance(leg, Waiting)
        return verbs.continue_(leg, results={call.id: result for call in leg.calls})

    return go


def looping(conversation: Conversation) -> Message | str:
    """Calls the same until it is told to stop."""
    if "budget has ended" in conversation[-1].text:
        return "I went round in circles."
    return calling(("look", '{"value": "a"}'), first=len(conversation))


def wandering(conversation: Conversation) -> Message | str:
    """Calls on and on until its budget has ended."""
    if "budget has ended" in conversation[-1].text:
        return "As far as I came."
    number = sum(message.role == "tool" for message in conversation)
    return calling(("put", f'{{"value": "{number}"}}'), first=number)


HINTS = ("Go the second way.", "Go the third way.")


def solving(*values: str) -> Callable[[Conversation], Message | str]:
    """Comes to these values, one each way. Of the calls of a later way the one that looks comes
    first if that is the end of it; the others are given up then."""

    def speak(conversation: Conversation) -> Message | str:
        asked = conversation[1].text
        way = next((n for n, hint in enumerate(HINTS, 1) if hint in asked), 0)
        if len(conversation) > 2:
            return f"I saw {values[way]}."
        look = ("look", f'{{"value": "{values[way]}"}}')
        value = f'{{"value": "way {"abc"[way]}"}}'
        more = [(name, value) for name in ("send", "put", "edit")[: 3 * way]]
        order = [look, *more] if values[way] in values[:way] else [*more, look]
        return calling(*order, first=10 * way)

    return speak


def agreeing(*values: str) -> Scenario:
    plain = scenario(solving(*values))

    def make(world: World, store: Store) -> tuple[Verbs, ScriptedModel]:
        agent, model = plain.make(world, store)
        assert isinstance(agent, Agent)
        return Agreement(agent, HINTS), model

    return Scenario(make, "How many of the 100?")


def long(rounds: int) -> Callable[[Conversation], Message | str]:
    """So many calls, as far as is shown; then the answer, or a summary on demand."""

    def speak(conversation: Conversation) -> Message | str:
        last = conversation[-1].text
        shown = " ".join(message.text for message in conversation)
        number = max(map(int, re.findall(r"\d+", shown)))
        if "about to be set aside" in last:
            return f"So far it was {number}."
        if "budget has ended" in last or number >= rounds:
            return "Here is the end."
        return calling(("look", f'{{"value": "{number + 1} {"word " * 30}"}}'), first=number)

    return speak


def compacting(policy: Any) -> Scenario:
    context = Context(policy=policy, tokens=110)
    return scenario(long(8), task="Go on from 0.", context=context, budget=Budget(steps=8))


def restarting() -> Scenario:
    cut = [
        Reply(message=m if isinstance(m, Message) else assistant(m), fault="cut", times=2)
        for m in MIXED
    ]
    return scenario(cut)


def turns() -> Scenario:
    script = [*MIXED[:2], "One.", *PARALLEL[:1], "Two.", "Three."]
    return scenario(script, saying("And now?"), saying("And then?"))


def approvals() -> Scenario:
    charges = [
        calling(
            ("charge", '{"value": "a"}'), ("look", '{"value": "b"}'), ("charge", '{"value": "c"}')
        ),
        calling(("send", '{"value": "d"}'), first=3),
        calling(("charge", '{"value": "e"}'), first=0),
        "Paid.",
    ]
    return scenario(charges, approving(call_0=True, call_2=False), approving(call_0=True))


def clients() -> Scenario:
    script = [
        calling(("fetch", "{}"), ("put", '{"value": "a"}')),
        calling(("fetch", "{}"), first=0),
        "Fetched.",
    ]
    return scenario(script, bringing("one"), bringing("two"))


SCENARIOS: dict[str, Scenario] = {
    "mixed effects": scenario(MIXED),
    "parallel calls": scenario(PARALLEL),
    "turns": turns(),
    "approvals": approvals(),
    "refused for good": scenario(
        [calling(("charge", '{"value": "a"}')), "Refused."], approval="never"
    ),
    "client tools": clients(),
    "a loop": scenario(looping, guards=DEFAULT_GUARDS),
    "hasty": scenario(
        ["It is 7.", calling(("look", '{"value": "7"}')), "It is 8.", "It is 7."],
        task="How many in a.txt?",
        guards=DEFAULT_GUARDS,
    ),
    "steps end": scenario(wandering, budget=Budget(steps=4)),
    "tokens end": scenario(wandering, budget=Budget(tokens=60)),
    "restarts": restarting(),
    "two agree": agreeing("7", "7", "7"),
    "third decides": agreeing("7", "8", "7"),
    "none agree": agreeing("7", "8", "9"),
    "hide": compacting("hide_tool_results"),
    "discard": compacting("discard_all"),
    "summary": compacting("summary"),
}
