"""The loop: ask the model, do what it asked for, tell it what happened, until it is done."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from chogori.agent.account import Account
from chogori.agent.branch import Asked, Branch
from chogori.agent.claims import Evidence
from chogori.agent.guards import Guard, Remind, Step, Stop, held_to
from chogori.agent.toolset import Toolset
from chogori.agent.view import View
from chogori.chat import (
    Answer,
    ChatModel,
    Conversation,
    Event,
    Landing,
    Message,
    Options,
    Paused,
    Reminded,
    ReplyFinished,
    Steered,
    StepStarted,
    StoppedBy,
    ToolCall,
    ToolFinished,
    ToolResult,
    Waiting,
    WaitsFor,
    assistant,
    content_of,
    tool_result,
    user,
)

Approval = Literal["ask", "always", "never"]
"""What becomes of calls that need a person's yes: wait for it, take it as given, or refuse."""
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
    branch: Branch
    view: View
    guards: Sequence[Guard]
    options: Options
    approval: Approval
    conversation: Conversation
    evidence: Evidence
    account: Account
    standing: Any
    given: Mapping[str, ToolResult] = field(default_factory=dict[str, ToolResult])
    """Results, by call id, that come from elsewhere: a client, a person who refused."""
    approved: frozenset[str] = frozenset()
    message: Message = field(default_factory=assistant)
    """The reply of the step that is under way."""
    results: list[ToolFinished] = field(default_factory=list[ToolFinished])

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, to the end of the leg."""
        verdict: Remind | Stop | None = None
        is_done = False
        while is_done or not (isinstance(verdict, Stop) or self.account.ended()):
            if not self.message.tool_calls:
                for heard in (said := await self._hear()):
                    yield heard
                if is_done and (self.account.ended() or set(said) <= {Paused()}):
                    yield self._answer("answer")
                    return
                if Paused() in said:
                    yield self._waiting("person")
                    return
                yield self._begin_step()
                options = held_to(verdict, self.options, self.model.profile)
                async with aclosing(self._reply(options)) as events:
                    async for event in events:
                        yield event
                if self.account.ended() == "seconds":
                    break
            if waiting := self._waits():
                yield waiting
                return
            async with aclosing(self._call_tools()) as events:
                async for event in events:
                    yield event
            guard, verdict = self._judge()
            if isinstance(verdict, Remind):
                self.conversation = self.conversation.append(user(verdict.text))
                yield Reminded(guard, verdict.text)
            is_done = verdict is None and not self.message.tool_calls
            self.message = self.message if is_done else assistant()
        async for event in self._land(verdict):
            yield event

    async def _hear(self) -> Sequence[Steered | Paused]:
        """What people have said since the last step; the model is told it before the next."""
        heard = await self.branch.heard()
        for message in [user(said.text) for said in heard if isinstance(said, Steered)]:
            self.conversation = self.conversation.append(message)
            self.evidence.add_message(message)
        return heard

    def _begin_step(self) -> StepStarted:
        self.results = []
        self.account.steps += 1
        return StepStarted(self.account.steps, self.account.left)

    async def _fit(self, options: Options, seconds: float | None) -> AsyncIterator[Event]:
        """Bring what the model is shown up to date, within what it can hold."""
        before, asked = self.view.spent, Asked(self.model, self.branch, seconds)
        async for event in self.view.show(self.conversation, asked, options, self.toolset.specs):
            yield event
        if self.view.spent is not before:
            self.account.usage += self.view.spent - before

    async def _reply(self, options: Options, landing: float | None = None) -> AsyncGenerator[Event]:
        seconds, keep = landing or self.account.left.get("seconds"), landing is not None
        specs = self.toolset.specs
        async for event in self._fit(options, seconds):
            yield event
        replies = self.branch.replies(
            self.model, self.view.shown, specs, options, seconds=seconds, keep_cut=keep
        )
        async with aclosing(replies) as events:
            async for event in events:
                yield event
                if isinstance(event, ReplyFinished):
                    self.message = event.message
                    self.view.saw(event.usage, event.message)
                    self.conversation = self.conversation.append(event.message)
                    self.account.usage += event.usage

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

    async def _call_tools(self) -> AsyncGenerator[Event]:
        calls, ended = self.message.tool_calls, dict[int, ToolFinished]()
        async with aclosing(self.toolset.call_all(calls, self.given)) as events:
            async for event in events:
                yield event
                if isinstance(event, ToolFinished):
                    ended[id(event.call)] = event
        # An id may come again in a later step: what was decided was decided for this one.
        self.given, self.approved = {}, frozenset()
        self.results = [ended[id(call)] for call in calls]
        told = [tool_result(r.call, r.content, failed=r.failed) for r in self.results]
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
        reason = verdict.reason if isinstance(verdict, Stop) else self.account.ended() or "budget"
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

    def _answer(self, stopped_by: StoppedBy, missing: str = "") -> Answer:
        self.account.tick()
        text, account = self.message.text.strip(), self.account
        spent = (account.usage, account.steps, account.seconds, account.dollars)
        return Answer(
            text,
            self.run_id,
            stopped_by,
            self.conversation,
            self.evidence.check(text),
            *spent,
            missing,
            self.standing,
        )

    def _waiting(self, reason: WaitsFor, calls: Sequence[ToolCall] = ()) -> Waiting:
        self.account.tick()
        standing = replace(self.standing, given=self.given, approved=self.approved)
        spent = (self.account.usage, self.account.steps, self.account.seconds, standing)
        return Waiting(reason, self.run_id, tuple(calls), self.conversation, *spent)


LANDING_SECONDS = 20.0
"""What the last reply may take beyond the budget; what is there by then is the answer."""
