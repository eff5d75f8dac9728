"""Laws of people: what they say reaches a run, and nothing that needs their yes happens without."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

import pytest
from agent_harness import answered, bare, calling, kinds, story, told_by_tools, waiting
from resume_harness import RUN, Clock, Death, DyingStore, World, scratch_store
from resume_scenarios import MIXED, scenario

from chogori.agent import kept
from chogori.agent.journal import read
from chogori.agent.replay import replay
from chogori.agent.verbs import Verbs
from chogori.chat import (
    Answer,
    Conversation,
    Event,
    Message,
    Reply,
    ReplyFinished,
    Resumed,
    ScriptedModel,
    Steered,
    ToolFinished,
    Waiting,
    assistant,
)
from chogori.errors import ConfigError, EndpointError, RunNotFound
from chogori.store import SqliteStore

SCHEDULES, FEW = 1000, 100


@dataclass(slots=True)
class Bank(World):
    """A world that knows which charges a person has allowed."""

    allowed: set[str] = field(default_factory=set[str])
    stolen: list[str] = field(default_factory=list[str])

    async def charge(self, value: str) -> str:
        """Charge."""
        if value not in self.allowed:
            self.stolen.append(value)
        self.deeds.append(f"charge {value}")
        return f"charged {value}"


class Schedule:
    """One run that is asked, decided about, paused, spoken to, killed and resumed, all by chance.

    Its calls bear the same ids in every step, so that a yes to one could be taken for another."""

    def __init__(self, seed: int, store: SqliteStore, clock: Clock) -> None:
        self.chance = random.Random(seed)
        self.store, self.clock = store, clock
        self.run_id = f"run-{seed}"
        self.bank = Bank()
        self.script = self._script()
        self.plain = scenario(self.script)
        self.end: Answer | Waiting | None = None
        self.wishes: dict[str, bool] = {}
        """What the person wants, by the value that is to be charged."""

    def _script(self) -> list[Message | str]:
        script: list[Message | str] = []
        for step in range(self.chance.randint(1, 3)):
            names = self.chance.choices(["charge", "charge", "send", "look"], k=2)
            made = [(name, f'{{"value": "{step}.{n}"}}') for n, name in enumerate(names)]
            script.append(calling(*made))
        return [*script, "Done."]

    async def play(self) -> None:
        """From the task to the answer; after a while nobody interferes any more."""
        for turn in range(60):
            dies = turn < 20 and self.chance.random() < 0.4
            store = DyingStore(self.store, self.chance.randint(0, 4)) if dies else self.store
            verbs, _ = self.plain.make(self.bank, store)
            try:
                await self._watch(await self._go(verbs), leaves=turn < 20)
            except Death:
                self.end = None
            if dies:  # it may not have given its lease back
                self.clock.now += 60
                await self.store.write(lambda tx: None)  # what was under way is written
            if isinstance(self.end, Answer):
                return
        raise AssertionError(f"schedule {self.run_id} came to no end")

    async def _go(self, verbs: Verbs) -> AsyncIterator[Event]:
        """Begin, or go on after what was told last, or resume."""
        leg, self.end = self.end, None
        if leg is None and not await self._has_begun():
            return verbs.stream("Go.", run_id=self.run_id)
        if isinstance(leg, Waiting) and leg.reason == "approval":
            return await self._decide(verbs, leg)
        return verbs.resume(self.run_id)

    async def _has_begun(self) -> bool:
        try:
            return bool(await read(self.store, self.run_id))
        except RunNotFound:
            return False

    async def _decide(self, verbs: Verbs, leg: Waiting) -> AsyncIterator[Event]:
        """Say yes or no, here to all calls or from elsewhere to some."""
        values = {call.id: call.arguments.split('"')[3] for call in leg.calls}
        is_here = self.chance.random() < 0.5
        told = {id: value for id, value in values.items() if is_here or self.chance.random() < 0.6}
        for value in told.values():
            if self.wishes.setdefault(value, self.chance.random() < 0.6):
                self.bank.allowed.add(value)
        if is_here:
            approve = {id: self.wishes[value] for id, value in told.items()}
            return verbs.continue_(leg, approve=approve)
        for id, value in told.items():
            await kept.decide(self.store, self.run_id, id, yes=self.wishes[value])
        return verbs.resume(self.run_id)

    async def _watch(self, events: AsyncIterator[Event], *, leaves: bool) -> None:
        """Listen to a leg, and now and then say something; perhaps leave before its end."""
        last = self.chance.randint(1, 12) if leaves and self.chance.random() < 0.3 else 0
        async with aclosing(cast(AsyncGenerator[Event], events)) as told:
            async for event in told:
                if isinstance(event, Answer | Waiting):
                    self.end = event
                elif isinstance(event, ToolFinished) and leaves and self.chance.random() < 0.2:
                    say = self.chance.choice([self._steer, self._pause])
                    await say()
                last -= 1
                if last == 0:
                    return

    async def _steer(self) -> None:
        await kept.steer(self.store, self.run_id, "Be quick.")

    async def _pause(self) -> None:
        await kept.pause(self.store, self.run_id)

    def check(self) -> None:
        """Every charge was allowed, and done once; what was refused was not done."""
        assert self.bank.stolen == [], self.run_id
        assert isinstance(self.end, Answer)
        told = told_by_tools(self.end.conversation)
        calls = [c for m in self.script if isinstance(m, Message) for c in m.tool_calls]
        for call, result in zip(calls, told, strict=True):
            value = call.arguments.split('"')[3]
            if call.name == "charge":
                done = self.bank.deeds.count(f"charge {value}")
                assert done == self.wishes[value] or "unknown" in result, (self.run_id, value)
                assert done <= 1, (self.run_id, value)
                assert ("refused" in result) == (not self.wishes[value]), (self.run_id, value)


@pytest.mark.parametrize(
    "seeds", [range(FEW), pytest.param(range(FEW, SCHEDULES), marks=pytest.mark.slow)], ids=len
)
async def test_no_effect_that_needs_approval_ever_happens_without_it(seeds: range) -> None:
    clock = Clock()
    async with scratch_store(clock) as store:
        for seed in seeds:
            schedule = Schedule(seed, store, clock)
            await schedule.play()
            schedule.check()


# One by one

CHARGES = [
    calling(("charge", '{"value": "a"}')),
    calling(("charge", '{"value": "b"}')),
    "Done.",
]
"""Two calls of one id."""


async def test_a_decision_is_meant_for_the_waiting_that_it_was_made_in() -> None:
    async with scratch_store() as store:
        bank = Bank(allowed={"a"})
        verbs, _ = scenario(CHARGES).make(bank, store)
        first = await waiting(verbs.stream("Go.", run_id=RUN))
        await kept.decide(store, RUN, "call-0", yes=True)
        second = await waiting(verbs.continue_(first, approve={"call-0": True}))
        assert bank.deeds == ["charge a"]
        assert (await waiting(verbs.resume(RUN))).calls == second.calls
        assert bank.deeds == ["charge a"], "the yes of before is no yes to this"
        with pytest.raises(ConfigError, match="has no call 'call-7' to decide about"):
            await kept.decide(store, RUN, "call-7", yes=True)
        await kept.decide(store, RUN, "call-0", yes=True)
        await kept.decide(store, RUN, "call-0", yes=False)
        end = await answered(verbs.resume(RUN))
        assert bank.deeds == ["charge a"], "what was said last counts"
        assert "refused" in told_by_tools(end.conversation)[1]


async def test_a_leg_that_was_left_at_once_leaves_no_time_behind() -> None:
    async with scratch_store() as store:
        bank = Bank(allowed={"a", "b"})
        verbs, _ = scenario(CHARGES).make(bank, store)
        await waiting(verbs.stream("Go.", run_id=RUN))
        again = await waiting(verbs.resume(RUN))
        async with aclosing(verbs.continue_(again, approve={"call-0": True})) as events:
            assert isinstance(await anext(events), Resumed)
        again = await waiting(verbs.resume(RUN))
        second = await waiting(verbs.continue_(again, approve={"call-0": True}))
        assert (await waiting(verbs.resume(RUN))).seconds == second.seconds
        assert (await replay(verbs, store, RUN)).is_whole


async def test_an_approval_that_is_written_survives_a_death() -> None:
    async with scratch_store(clock := Clock()) as store:
        bank = Bank(allowed={"a"})
        first = await waiting(scenario(CHARGES).make(bank, store)[0].stream("Go.", run_id=RUN))
        dying = DyingStore(store, 0, late=True)
        verbs, _ = scenario(CHARGES).make(bank, dying)
        with pytest.raises(Death):
            await story(verbs.continue_(first, approve={"call-0": True}))
        assert bank.deeds == [], "the intent was written, and the process died before the deed"
        clock.now += 60
        told = await story(scenario(CHARGES).make(bank, store)[0].resume(RUN))
        assert bank.deeds == []
        assert [event.extra for event in told if isinstance(event, ToolFinished)] == [
            {"unknown": True}
        ]


@pytest.mark.parametrize("at", range(4))
async def test_what_a_person_says_takes_effect_at_the_next_step(at: int) -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        finished = 0
        told: list[Event] = []
        async for event in verbs.stream("Go.", run_id=RUN):
            told.append(event)
            if isinstance(event, ToolFinished):
                if finished == at:
                    await kept.steer(store, RUN, "Hurry.")
                finished += 1
        heard = [type(event).__name__ for event in told if isinstance(event, Steered)]
        assert heard == ["Steered"]
        end = told[-1]
        assert isinstance(end, Answer)
        texts = [message.text for message in end.conversation if message.role != "system"]
        assert texts[1 + 2 * (at + 1)] == "Hurry.", "after the result of that step"
        assert (await replay(verbs, store, RUN)).is_whole
        assert (await answered(verbs.resume(RUN))).conversation[:] == end.conversation[:]


async def test_what_is_said_during_the_last_reply_is_heard_before_it_is_the_answer() -> None:
    async with scratch_store() as store:

        def reply(conversation: Conversation) -> str:
            told = [message.text for message in conversation if message.role == "user"]
            return "3.1 miles" if "In miles." in told else "5 km"

        verbs = bare(ScriptedModel(reply), store=store)
        told: list[Event] = []
        async for event in verbs.stream("How far?", run_id=RUN):
            told.append(event)
            if isinstance(event, ReplyFinished) and event.message.text == "5 km":
                await kept.steer(store, RUN, "In miles.")
        end = told[-1]
        assert isinstance(end, Answer)
        assert (end.text, end.steps) == ("3.1 miles", 2)
        assert [type(event) for event in told].count(Steered) == 1
        assert (await replay(verbs, store, RUN)).is_whole
        assert (await answered(verbs.resume(RUN))).conversation[:] == end.conversation[:]


async def test_what_is_said_to_a_run_that_was_killed_in_its_last_reply_is_heard() -> None:
    async with scratch_store() as store:
        fails = bare(ScriptedModel([Reply(message=assistant("5 km"), fault="fail")]), store=store)
        with pytest.raises(EndpointError):
            await story(fails.stream("How far?", run_id=RUN))
        for _ in range(2):
            with pytest.raises(EndpointError):
                await story(fails.resume(RUN, "In miles."))
        verbs = bare(ScriptedModel(["5 km", "3.1 miles"]), store=store)
        end = await answered(verbs.resume(RUN, "In miles."))
        said = [message.text for message in end.conversation if message.role == "user"]
        assert said == ["How far?", "In miles."], "once, however often it was tried"
        assert end.text == "3.1 miles"


async def test_what_is_said_to_a_run_that_has_answered_is_its_next_turn() -> None:
    async with scratch_store() as store:
        verbs = bare(ScriptedModel(["5 km", "3.1 miles", "Yes."]), store=store)
        await answered(verbs.stream("How far?", run_id=RUN))
        await kept.steer(store, RUN, "In miles.")
        await kept.steer(store, RUN, "Please.")
        end = await answered(verbs.resume(RUN))
        assert (end.text, end.conversation[-2].text) == ("3.1 miles", "In miles.\nPlease.")
        assert (await answered(verbs.resume(RUN))).conversation[:] == end.conversation[:]
        assert (await answered(verbs.resume(RUN, "Sure?"))).conversation[-2].text == "Sure?"
        assert (await replay(verbs, store, RUN)).is_whole


async def test_what_was_said_while_nobody_drove_the_run_is_heard_when_it_goes_on() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        async with aclosing(verbs.stream("Go.", run_id=RUN)) as events:
            async for event in events:
                if isinstance(event, ToolFinished):
                    break
        await kept.steer(store, RUN, "Hurry.")
        told = await story(verbs.resume(RUN, "Really."))
        assert isinstance(told[0], Resumed)
        assert [event.text for event in told if isinstance(event, Steered)] == ["Hurry.", "Really."]
        end = told[-1]
        assert isinstance(end, Answer)
        assert [m.text for m in end.conversation if m.role == "user"] == [
            "Go.",
            "Hurry.",
            "Really.",
        ]
        assert (await replay(verbs, store, RUN)).is_whole


async def test_a_paused_run_waits_for_a_person_and_survives_a_restart() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario(MIXED).make(World(), store)
        told: list[Event] = []
        async for event in verbs.stream("Go.", run_id=RUN):
            told.append(event)
            if isinstance(event, ToolFinished):
                await kept.steer(store, RUN, "Wait.")
                await kept.pause(store, RUN)
        assert kinds(told)[-3:] == ["Steered", "Paused", "Waiting"]
        assert isinstance(told[-1], Waiting)
        assert told[-1].reason == "person"
        await kept.steer(store, RUN, "So.")
        again, _ = scenario(MIXED).make(World(), store)
        end = await answered(again.resume(RUN, "Go on."))
        said = [message.text for message in end.conversation if message.role == "user"]
        assert said == ["Go.", "Wait.", "Go on.", "So."]
        assert (await replay(again, store, RUN)).is_whole
        assert (await answered(again.resume(RUN))).conversation[:] == end.conversation[:]


async def test_what_is_said_to_a_run_that_waits_for_an_approval_is_heard_afterwards() -> None:
    async with scratch_store() as store:
        bank = Bank(allowed={"a", "b"})
        verbs, _ = scenario(CHARGES).make(bank, store)
        first = await waiting(verbs.stream("Go.", run_id=RUN))
        with pytest.raises(ConfigError, match="once they are decided"):
            verbs.continue_(first, "Hurry.", approve={"call-0": True})
        await kept.steer(store, RUN, "From elsewhere.")
        await waiting(verbs.resume(RUN, "From here."))
        await kept.decide(store, RUN, "call-0", yes=True)
        second = await waiting(verbs.resume(RUN))
        said = [message.text for message in second.conversation if message.role == "user"]
        assert said == ["Go.", "From elsewhere.", "From here."]
        assert (await answered(verbs.continue_(second, approve={"call-0": True}))).text == "Done."


async def test_a_run_is_taken_over_after_its_answer() -> None:
    async with scratch_store() as store:
        verbs, _ = scenario([*MIXED, "And more."]).make(World(), store)
        await answered(verbs.stream("Go.", run_id=RUN))
        again, _ = scenario([*MIXED, "And more."]).make(World(), store)
        told = await story(again.resume(RUN, "And then?"))
        assert kinds(told)[:3] == ["Resumed", "LegStarted", "StepStarted"]
        end = told[-1]
        assert isinstance(end, Answer)
        assert end.text == "And more."
        assert end.conversation[-2].text == "And then?"


async def test_a_run_that_has_gone_on_elsewhere_is_not_continued_from_before() -> None:
    async with scratch_store() as store:
        bank = Bank(allowed={"a", "b"})
        verbs, _ = scenario(CHARGES).make(bank, store)
        first = await waiting(verbs.stream("Go.", run_id=RUN))
        await waiting(verbs.continue_(first, approve={"call-0": True}))
        with pytest.raises(ConfigError, match="has gone on since"):
            await story(verbs.continue_(first, approve={"call-0": True}))
        assert bank.deeds == ["charge a"]
