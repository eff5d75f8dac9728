"""One line of a run: the run itself, or an attempt of it. Whatever it does is done through here.

A `Branch` does it. A `RecordedBranch` looks first whether it was done before, and records what it
does: so a run that was interrupted is driven again from its start by the same loop, gets back what
was recorded, and goes on by itself where the records end.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from chogori.agent.journal import Entry, Journal
from chogori.agent.reply import replies
from chogori.agent.request import Request, request_of
from chogori.chat import (
    ChatModel,
    Conversation,
    Delta,
    Effect,
    Event,
    Message,
    MessageBuilder,
    Options,
    Paused,
    Profile,
    ReplyFinished,
    ReplyRestarted,
    Steered,
    ToolFinished,
    ToolSpec,
    ToolStarted,
    deltas_of,
)
from chogori.chat.event_json import call_to_json
from chogori.chat.tools import PastCall
from chogori.errors import RunChanged

QUICK_SECONDS = 1.0
"""A pure call that took less is sooner made again than its result is on the disk by itself."""
Mark = tuple[int, Counter[str], int]
"""Replies, calls by how often each was made, and times that people were listened to."""


class Branch:
    """Does things, and keeps nothing."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.turn: int = 0
        """Replies so far."""
        self.occurrences: Counter[str] = Counter()
        """How often each call was made so far, by its canonical text."""
        self.hearings: int = 0
        """How often people were listened to."""

    def mark(self) -> Mark:
        """Where the branch stands."""
        return self.turn, Counter(self.occurrences), self.hearings

    def back_to(self, mark: Mark) -> None:
        """Stand there again: what came after it was given up."""
        self.turn, occurrences, self.hearings = mark
        self.occurrences = Counter(occurrences)

    def clock(self) -> float:
        """Seconds that have passed since some time or other."""
        return time.monotonic()

    async def replies(
        self,
        model: ChatModel,
        conversation: Conversation,
        tools: Sequence[ToolSpec],
        options: Options,
        *,
        seconds: float | None = None,
        keep_cut: bool = False,
        aside: bool = False,
    ) -> AsyncGenerator[Event]:
        """As `reply.replies`; `aside`: nobody is told of the reply."""
        self.turn += 1
        told = replies(model, conversation, tools, options, seconds=seconds, keep_cut=keep_cut)
        async with aclosing(told) as events:
            async for event in events:
                yield event

    async def heard(self) -> Sequence[Steered | Paused]:
        """What people have said since the last step."""
        return ()

    def outcome(self, index: int, started: ToolStarted) -> ToolFinished | None:
        """What is recorded of a call of the last reply."""
        return None

    def begin(self, index: int, started: ToolStarted, *, is_known: bool) -> Effect | None:
        """A call is about to be made, of a tool that there is if `is_known`. The effect it had, if
        it was begun before and nobody knows what came of it."""
        return None

    def finish(self, index: int, finished: ToolFinished, begun: Effect) -> None:
        """A call was made, whose effect was taken to be `begun`."""

    def past_calls(self, name: str) -> Sequence[PastCall]:
        """The recorded calls of a tool, told once: what its state is rebuilt from."""
        return ()

    async def noted(self, name: str, find: Callable[[], Awaitable[Any]]) -> Any:
        """What `find` finds (as JSON), found once in the life of a run."""
        return await find()

    async def settle(self, before: Effect = "once") -> None:
        """Wait until what was done is on the disk. Before something pure, which can be done again,
        it is enough that it is on its way."""


class RecordedBranch(Branch):
    """Does things once in the life of a run, and keeps what came of them."""

    def __init__(
        self,
        name: str,
        journal: Journal,
        past: Sequence[Entry] = (),
        *,
        recalls: Callable[[Event], None] = lambda event: None,
        is_past: Callable[[], bool] = lambda: False,
        strict: bool = True,
    ) -> None:
        """`past` are the records of this branch, and `recalls` is called with each event of them
        that comes again. `is_past` says whether more is to come that happened already; what is done
        anew before that raises `RunChanged`, and so does, if `strict`, a request that would not be
        the same."""
        super().__init__(name)
        self.journal = journal
        self._recalls = recalls
        self._is_past = is_past
        self._strict = strict
        self._public: dict[str, Any] = {"branch": name} if name else {}
        self._replies = deque(filter(is_reply, past))
        self._noted = deque(e for e in past if e.type == "noted")
        self._heard = deque(e for e in past if e.type in ("steered", "paused"))
        self._begun = {e.place: e for e in past if e.type == "tool_started"}
        self._ended = {e.place: e for e in past if e.type == "tool_finished"}
        self._calls: dict[str, list[PastCall]] = {}
        self.compared = self.same_bytes = 0
        """Requests of the past that were put together again, and those whose very bytes were."""

    def clock(self) -> float:
        return self.journal.clock()

    async def replies(
        self,
        model: ChatModel,
        conversation: Conversation,
        tools: Sequence[ToolSpec],
        options: Options,
        *,
        seconds: float | None = None,
        keep_cut: bool = False,
        aside: bool = False,
    ) -> AsyncGenerator[Event]:
        self.turn += 1
        request = request_of(model, conversation, tools, options)
        if self._replies:
            if (past := self._past_reply(request, aside=aside)) is not None:
                yield past
            return
        self._refuse_in_the_past("ask its model")
        asked = self._public | {
            "turn": self.turn,
            "request": request.told(upto=self.journal.count - 1, salt=self.journal.salt),
            **({"aside": True} if aside else {}),
        }
        self.journal.flush_later()
        partial, why = MessageBuilder(), "stopped"
        told = replies(model, conversation, tools, options, seconds=seconds, keep_cut=keep_cut)
        try:
            async with aclosing(told) as events:
                async for event in events:
                    if isinstance(event, ReplyFinished):
                        self.journal.add_event(event, asked)
                        why = ""
                    elif isinstance(event, ReplyRestarted):
                        partial = MessageBuilder()
                    else:
                        partial.add(cast(Delta, event))
                    yield event
            why = why and "time"
        finally:
            if why == "time" or (why and not partial.is_empty):
                self._add_cut(partial.message, {**asked, "why": why})

    def _past_reply(self, request: Request, *, aside: bool) -> ReplyFinished | None:
        entry = self._replies.popleft()
        if aside != ("aside" in entry.fields):
            raise _elsewhere("ask its model for something else")
        if self._strict:
            self.same_bytes += request.check(entry, self.journal.salt)
        self.compared += 1
        if entry.type == "reply_cut":
            self.clock()
            return None
        return cast(ReplyFinished, self._recalled(entry.event()))

    def _refuse_in_the_past(self, what: str) -> None:
        """Nothing is done anew while more is to come that happened: it would be done unasked."""
        if self._is_past():
            raise _elsewhere(what)

    def _recalled(self, event: Event) -> Event:
        self._recalls(event)
        return event

    def _add_cut(self, partial: Message, public: dict[str, Any]) -> None:
        """What had streamed of a reply that came to no end."""
        if public["why"] == "time":
            self.clock()  # else the time would not be up for a run that goes on from here
        private = {"text": partial.text, "reasoning": partial.reasoning}
        self.journal.add("reply_cut", public, private)

    async def heard(self) -> Sequence[Steered | Paused]:
        if self.name:  # an attempt is not what people speak to
            return ()
        self.hearings += 1
        again: list[Event] = []
        while self._heard and self._heard[0].fields["hearing"] == self.hearings:
            again.append(self._recalled(self._heard.popleft().event()))
        if again or self._is_past():
            return cast(list[Steered | Paused], again)
        await self.journal.catch_up()
        said = [heard for message in self.journal.hear() if (heard := _heard(message)) is not None]
        for event in said:
            self.journal.add_event(event, self._public | {"hearing": self.hearings})
        return said

    def outcome(self, index: int, started: ToolStarted) -> ToolFinished | None:
        entry, call = self._ended.pop((self.turn, index), None), started.call
        if entry is None:
            return None
        if self._begun.pop((self.turn, index), None) is not None:
            self._recalls(started)
        told = cast(ToolFinished, entry.event(call=call_to_json(call)))
        past = PastCall(call.arguments, told.failed, told.effect, told.seconds)
        self._calls.setdefault(call.name, []).append(past)
        return cast(ToolFinished, self._recalled(replace(told, call=call)))

    def begin(self, index: int, started: ToolStarted, *, is_known: bool) -> Effect | None:
        entry = self._begun.pop((self.turn, index), None)
        if entry is not None:
            self._recalls(started)
            return entry.fields["effect"]
        self._refuse_in_the_past(f"call {started.call.name}")
        # The name of a tool that there is not is the model's own word.
        name = started.call.name if is_known else ""
        self.journal.add_event(started, self._place(index) | {"tool": name}, without=["call"])
        return None

    def finish(self, index: int, finished: ToolFinished, begun: Effect) -> None:
        is_soon_repeated = begun == "pure" and finished.seconds < QUICK_SECONDS
        self.journal.add_event(
            finished, self._place(index), without=["call"], can_wait=is_soon_repeated
        )
        self.journal.flush_soon()

    def _place(self, index: int) -> dict[str, Any]:
        return self._public | {"turn": self.turn, "index": index}

    def past_calls(self, name: str) -> Sequence[PastCall]:
        return self._calls.pop(name, ())

    async def noted(self, name: str, find: Callable[[], Awaitable[Any]]) -> Any:
        if self._noted:
            return self._noted.popleft().fields["value"]
        value = await find()
        self.journal.add("noted", self._public | {"name": name}, {"value": value})
        return value

    async def settle(self, before: Effect = "once") -> None:
        if before == "pure":
            await self.journal.send()
        else:
            await self.journal.settle()


class Asked:
    """A `ChatModel` that is asked through a branch, a whole reply at a time: for what is asked
    beside the loop (`context`)."""

    def __init__(self, model: ChatModel, branch: Branch, seconds: float | None = None) -> None:
        """What does not come within `seconds` does not come at all."""
        self._model = model
        self._branch = branch
        self._seconds = seconds

    @property
    def profile(self) -> Profile:
        return self._model.profile

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncGenerator[Delta]:
        told = self._branch.replies(
            self._model, conversation, tools, options, seconds=self._seconds, aside=True
        )
        async with aclosing(told) as events:
            async for event in events:
                if isinstance(event, ReplyFinished):
                    for delta in deltas_of(event.message, event.usage):
                        yield delta

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return await self._model.count(conversation, tools)

    async def aclose(self) -> None:
        """The model is its owner's."""


def _elsewhere(what: str) -> RunChanged:
    return RunChanged(
        f"the run takes another way than it did: it would {what} where it did not. Something that "
        "decides the run has changed; chogori runs fork goes on from a step before that"
    )


def is_reply(entry: Entry) -> bool:
    """A reply that was cut because the run was stopped is asked for again; one that was cut because
    its time was up is not."""
    was_cut = entry.type == "reply_cut" and entry.fields["why"] == "time"
    return entry.type == "reply_finished" or was_cut


def _heard(posted: Mapping[str, Any]) -> Steered | Paused | None:
    if "text" in posted:
        return Steered(str(posted["text"]))
    return Paused() if "pause" in posted else None
