"""The loop: ask the model, do what it asked for, tell it what happened, until it is done."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from chogori.agent.budget import Budget, cost
from chogori.agent.claims import Evidence
from chogori.agent.guards import Guard, Remind, Step, Stop
from chogori.agent.reply import replies
from chogori.agent.toolset import Toolset
from chogori.chat import (
    Answer,
    ChatModel,
    Conversation,
    Event,
    Landing,
    Message,
    Options,
    Reminded,
    ReplyFinished,
    StepStarted,
    ToolCall,
    ToolFinished,
    ToolResult,
    Usage,
    Waiting,
    assistant,
    content_of,
    tool_result,
    user,
)

Approval = Literal["ask", "always", "never"]
"""What becomes of calls that need a person's yes: wait for it, take it as given, or refuse."""
StoppedBy = Literal["answer", "budget", "guard"]
REFUSED = ToolResult(content_of("a person was asked and refused this call"), failed=True)
LAND = (
    "The budget has ended ({reason}). Give your best answer now from what you have seen, "
    "and say what is missing."
)


@dataclass(slots=True, kw_only=True)
class Leg:
    """One leg of a run: from where the conversation stands to an `Answer` or to `Waiting`."""

    run_id: str
    task: str
    model: ChatModel
    toolset: Toolset
    guards: Sequence[Guard]
    options: Options
    approval: Approval
    conversation: Conversation
    evidence: Evidence
    budget: Budget
    given: Mapping[str, ToolResult] = field(default_factory=dict[str, ToolResult])
    """Results, by call id, that come from elsewhere: a client, a person who refused."""
    approved: frozenset[str] = frozenset()
    usage: Usage = Usage()
    steps: int = 0
    seconds: float = 0.0
    message: Message = field(default_factory=assistant)
    """The reply of the step that is under way."""
    results: list[ToolFinished] = field(default_factory=list[ToolFinished])
    since: float = field(default_factory=time.monotonic)

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, to the end of the leg."""
        verdict: Remind | Stop | None = None
        while not (isinstance(verdict, Stop) or self._ended()):
            if not self.message.tool_calls:
                yield self._begin_step()
                async for event in self._reply(self._options_after(verdict)):
                    yield event
                if self._ended() == "seconds":
                    break
            if waiting := self._waits():
                yield waiting
                return
            async for event in self._call_tools():
                yield event
            guard, verdict = self._judge()
            if isinstance(verdict, Remind):
                self.conversation = self.conversation.append(user(verdict.text))
                yield Reminded(guard, verdict.text)
            elif verdict is None and not self.message.tool_calls:
                yield self._answer("answer")
                return
            self.message = assistant()
        async for event in self._land(verdict):
            yield event

    def _ended(self) -> str | None:
        now = time.monotonic()
        spent, self.since = now - self.since, now
        self.seconds += spent
        self.budget = self.budget.spend(seconds=spent)
        return self.budget.ended

    def _begin_step(self) -> StepStarted:
        self.steps += 1
        self.budget = self.budget.spend(steps=1)
        self.results = []
        return StepStarted(self.steps)

    def _options_after(self, verdict: Remind | Stop | None) -> Options:
        """A model that does not think cannot be argued into a call; it can be held to one."""
        held = isinstance(verdict, Remind) and verdict.call and self.model.profile.thinking == "off"
        return replace(self.options, tool_choice="required") if held else self.options

    async def _reply(self, options: Options, landing: float | None = None) -> AsyncIterator[Event]:
        seconds, keep = landing or self.budget.seconds, landing is not None
        specs = self.toolset.specs
        async for event in replies(
            self.model, self.conversation, specs, options, seconds=seconds, keep_cut=keep
        ):
            yield event
            if isinstance(event, ReplyFinished):
                self.message = event.message
                self.conversation = self.conversation.append(event.message)
                self.usage += event.usage
                dollars = cost(event.usage, self.model.profile.price) or 0.0
                self.budget = self.budget.spend(usage=event.usage, dollars=dollars)

    def _waits(self) -> Waiting | None:
        """Whether somebody else must act before the calls can be made."""
        open_calls = [call for call in self.message.tool_calls if call.id not in self.given]
        asked = [c for c in self.toolset.needing_approval(open_calls) if c.id not in self.approved]
        if asked and self.approval == "ask":
            return self._waiting("approval", asked)
        if self.approval == "never":
            self.given = {**self.given, **{call.id: REFUSED for call in asked}}
        clients = self.toolset.of_client(open_calls)
        return self._waiting("tool_results", clients) if clients else None

    async def _call_tools(self) -> AsyncIterator[Event]:
        calls = self.message.tool_calls
        async for event in self.toolset.call_all(calls, self.given):
            yield event
            if isinstance(event, ToolFinished):
                self.results.append(event)
        # An id may come again in a later step: what was decided was decided for this one.
        self.given, self.approved = {}, frozenset()
        by_call = {id(result.call): result for result in self.results}
        ended = [by_call[id(call)] for call in calls]
        told = [tool_result(r.call, r.content, failed=r.failed) for r in ended]
        for message in told:
            self.evidence.add_message(message)
        self.conversation = self.conversation.append(*told)

    def _judge(self) -> tuple[str, Remind | Stop | None]:
        step = Step(
            self.task, self.message, tuple(self.results), self.evidence, bool(self.toolset.specs)
        )
        spoken: list[tuple[str, Remind | Stop]] = []
        for guard in self.guards:
            if (verdict := guard.judge(step)) is not None:
                spoken.append((guard.name, verdict))
                if step.answers:  # it is sent back: the others judge the answer that comes then
                    break
        return max(spoken, key=lambda pair: isinstance(pair[1], Stop), default=("", None))

    async def _land(self, verdict: Remind | Stop | None) -> AsyncIterator[Event]:
        reason = verdict.reason if isinstance(verdict, Stop) else self.budget.ended or "budget"
        yield Landing(reason)
        self._leave_calls()
        self.message = assistant()
        self.conversation = self.conversation.append(user(LAND.format(reason=reason)))
        options = replace(self.options, tool_choice="none")
        async for event in self._reply(options, landing=LANDING_SECONDS):
            yield event
        self._leave_calls()
        if not self.message.text.strip():
            self.message = assistant(self._last_output())
        yield self._answer("guard" if isinstance(verdict, Stop) else "budget", reason)

    def _leave_calls(self) -> None:
        """Models insist that every call has its result, also one that was not made."""
        left = [tool_result(call, "not run: the run has ended") for call in self.message.tool_calls]
        self.conversation = self.conversation.append(*left)

    def _last_output(self) -> str:
        if not self.results or self.results[-1].failed:
            return ""
        return f"(no answer was reached; the last result was) {self.results[-1].output}"

    def _answer(
        self, stopped_by: Literal["answer", "budget", "guard"], missing: str = ""
    ) -> Answer:
        self._ended()
        text = self.message.text.strip()
        return Answer(
            text,
            self.run_id,
            stopped_by,
            self.conversation,
            self.evidence.check(text),
            self.usage,
            self.steps,
            self.seconds,
            cost(self.usage, self.model.profile.price),
            missing,
        )

    def _waiting(
        self, reason: Literal["approval", "tool_results"], calls: Sequence[ToolCall]
    ) -> Waiting:
        self._ended()
        return Waiting(
            reason,
            self.run_id,
            tuple(calls),
            self.conversation,
            self.usage,
            self.steps,
            self.seconds,
        )


LANDING_SECONDS = 20.0
"""What the last reply may take beyond the budget; what is there by then is the answer."""
