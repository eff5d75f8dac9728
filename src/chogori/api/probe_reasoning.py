"""What becomes of reasoning: whether it is shown, can be switched, and is read when it comes back.

A code word, new in every probe, stands in the reasoning of an earlier reply of the same chain and
nowhere else; then it is asked for. Whoever knows it has read the reasoning. Two controls keep that
honest: a reply that has it although the request did not was guessed or leaked, and a
model that cannot say it even where it stands in the text says nothing about the endpoint.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from random import Random

from chogori.api.probe_asking import Asker, Heard
from chogori.api.probe_findings import Finding, Question, in_short
from chogori.chat import (
    Conversation,
    Message,
    Options,
    Profile,
    ToolCall,
    ToolSpec,
    assistant,
    tool_result,
    user,
)

REASONS = Question("reasoning", "whether the first reply came with reasoning")
SWITCH = Question("thinking switch", "a question with thinking switched the other way")
READS = Question("reasoning read", "a code word in the reasoning of an earlier reply", needed=True)
READS_OLD = Question("old reasoning read", "a code word in reasoning from before the last answer")
INSISTS = Question("insists on reasoning", "an earlier call without its reasoning")

_NEXT = ToolSpec(
    "next_question",
    "Returns the question to answer next.",
    {"type": "object", "properties": {}},
)
_QUESTION = "Which code word did you choose? Answer with the code word alone."


def shown_reasoning(heard: Heard, assumed: Profile) -> Finding:
    """What of its reasoning the first reply shows. A run needs it of a model that always reasons:
    it has to go back."""
    question = replace(REASONS, needed=assumed.thinking == "forced")
    if heard.message.reasoning:
        name = heard.message.extra.get("reasoning_field")
        where = f"under {name!r}" if name else "in the reply, apart from the text"
        return question.found("yes", f"{where}: {in_short(heard.message.reasoning, 48)}", 0)
    if heard.usage.reasoning:
        hidden = f"{heard.usage.reasoning} tokens of reasoning were counted, and none was shown"
        return question.found("no", hidden, 0)
    return question.found("no", "it did not reason, or does not show it", 0)


async def switch(asker: Asker) -> Finding:
    """Whether thinking can be switched on or off, whichever the model does not do unasked."""
    if asker.model.profile.thinking == "forced":
        return SWITCH.found("does not apply", "this model always thinks: no switch is sent", 0)
    reasoned_unasked = asker.reasoned is not None
    question = Conversation([user("How many days are there in three weeks? Answer shortly.")])
    heard = await asker.ask(question, options=Options(thinking=not reasoned_unasked))
    if heard.failure:
        return SWITCH.found("failed", heard.failure)
    word = "off" if reasoned_unasked else "on"
    reasons = bool(heard.message.reasoning)
    seen = f"switched {word}, it {'reasons' if reasons else 'does not reason'}"
    return SWITCH.judged(reasons != reasoned_unasked, seen)


async def reading(
    asker: Asker, random: Random, *, thinking: bool | None
) -> AsyncGenerator[Finding]:
    """Whether reasoning that is sent back reaches the model. `thinking`: how it comes to reason."""
    if asker.reasoned is None:
        for question in (READS, READS_OLD, INSISTS):
            yield question.found("does not apply", "it returned none, so none is sent back", 0)
        return
    scene = _Scene(asker, random, thinking)
    reads = await scene.reads()
    yield reads
    yield (
        await scene.reads_old()
        if reads.verdict == "yes"
        else READS_OLD.found("not told", "not asked: that of the chain was not seen to be read", 0)
    )
    yield scene.insists


class _Scene:
    """A chain of one call, and what it was answered with."""

    def __init__(self, asker: Asker, random: Random, thinking: bool | None) -> None:
        self._asker = asker
        self._options = Options(thinking=thinking)
        self._random = random
        self.insists = INSISTS.found("not told", "not asked: the request before it failed", 0)

    async def reads(self) -> Finding:
        """The code word, and the control that fits what came of it."""
        before = self._asker.requests
        word = code_word(self._random)
        note = f"The code word that I choose is {word}. Now I call next_question."
        heard = await self._ask(_chain(self._asker.reply(reasoning=note)))
        if heard.failure:
            return READS.found("failed", heard.failure)
        knows = heard.says(word)
        control = await self._control("" if knows else note)
        spent = self._asker.requests - before
        said = in_short(heard.message.text or heard.message.reasoning or "", 48)
        if control.failure:
            return READS.found("not told", f"the control failed: {control.failure}", spent)
        if knows and control.says(word):
            leaked = f"{word!r} came also when the request did not hold it"
            return READS.found("not told", leaked, spent)
        if knows:
            return READS.found("yes", f"it knew {word!r}, and not without that reasoning", spent)
        if control.says(word):
            dropped = f"it said {said!r}; from its text it knew {word!r}"
            return READS.found("no", dropped, spent)
        unable = f"it said {said!r}, and did not know {word!r} from the text either"
        return READS.found("not told", unable, spent)

    async def reads_old(self) -> Finding:
        """The same across an answer, where our client sends what lies before it."""
        if self._asker.model.profile.retention != "all":
            seen = "this model is sent the reasoning of the chain alone"
            return READS_OLD.found("does not apply", seen, 0)
        word = code_word(self._random)
        heard = await self._ask(
            Conversation(
                [
                    user("Choose a code word without saying it. Then say that you are ready."),
                    self._asker.reply("I am ready.", reasoning=f"I choose the code word {word}."),
                    user(_QUESTION),
                ]
            )
        )
        if heard.failure:
            return READS_OLD.found("failed", heard.failure)
        knows = heard.says(word)
        return READS_OLD.judged(knows, f"it {'knew' if knows else 'did not know'} {word!r}")

    async def _control(self, said: str) -> Heard:
        """The chain without its reasoning, `said` in its place; with other reasoning where the
        endpoint insists on some."""
        heard = await self._ask(_chain(assistant(said)))
        if self._asker.model.profile.needs_reasoning:
            seen = "every call to this model goes out with its reasoning, if need be empty"
            self.insists = INSISTS.found("does not apply", seen, 0)
        elif "reasoning" in heard.failure:
            self.insists = INSISTS.found("yes", heard.failure, 0)
            return await self._ask(_chain(self._asker.reply(said, reasoning="I have chosen one.")))
        elif not heard.failure:
            self.insists = INSISTS.found("no", "it takes a call without reasoning", 0)
        return heard

    async def _ask(self, conversation: Conversation) -> Heard:
        return await self._asker.ask(conversation, [_NEXT], self._options)


def code_word(random: Random) -> str:
    """A word that nobody says by chance: one of 24 million."""
    return "".join(random.choice("bdfgklmnprstvz") + random.choice("aeiou") for _ in range(4))


def _chain(reply: Message) -> Conversation:
    call = ToolCall("functions.next_question:0", _NEXT.name, "{}")
    return Conversation(
        [
            user(
                "Choose a code word, without saying it. Then call next_question, and answer what "
                "it returns."
            ),
            replace(reply, tool_calls=(call,)),
            tool_result(call, _QUESTION),
        ]
    )
