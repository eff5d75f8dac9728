"""What the tests of the agent share: models that are told what to say, tools that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from chogori.agent import Agent
from chogori.chat import (
    Answer,
    ChatModel,
    Conversation,
    Delta,
    Event,
    Message,
    Options,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolFinished,
    ToolSpec,
    Waiting,
    assistant,
    profile_for,
    tool,
)

PATIENCE_SECONDS = 10
"""How long a test waits for what must come; nothing is learnt from waiting."""


def calling(*calls: tuple[str, str], reasoning: str | None = None, first: int = 0) -> Message:
    """An assistant message that calls tools: ("name", "arguments")."""
    made = [ToolCall(f"call-{first + i}", *call) for i, call in enumerate(calls)]
    return assistant(reasoning=reasoning, calls=made)


@tool(effect="pure")
async def add(a: int, b: int = 1) -> str:
    """Add two integers."""
    return str(a + b)


@tool(effect="once")
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def bare(model: ChatModel, tools: Sequence[Any] = (), **options: Any) -> Agent:
    """An agent without guards, so that the loop is seen alone."""
    return Agent(model, tools, **{"guards": (), **options})


async def story(events: AsyncIterator[Event]) -> list[Event]:
    """Everything that happens, to the end of the leg."""
    told = [event async for event in events]
    assert isinstance(told[-1], Answer | Waiting), "a leg ends with an Answer or a Waiting"
    assert not any(isinstance(event, Answer | Waiting) for event in told[:-1])
    return told


async def answered(events: AsyncIterator[Event]) -> Answer:
    last = (await story(events))[-1]
    assert isinstance(last, Answer)
    return last


async def waiting(events: AsyncIterator[Event]) -> Waiting:
    last = (await story(events))[-1]
    assert isinstance(last, Waiting)
    return last


def kinds(events: Sequence[Event]) -> list[str]:
    """The story without its deltas."""
    return [type(event).__name__ for event in events if not type(event).__name__.endswith("Delta")]


def outputs(events: Sequence[Event]) -> list[str]:
    return [event.output for event in events if isinstance(event, ToolFinished)]


def told_by_tools(conversation: Conversation) -> list[str]:
    return [message.text for message in conversation if message.role == "tool"]


def is_well_formed(conversation: Conversation) -> bool:
    """Whether every call is followed by its result, as endpoints insist."""
    messages = list(conversation)
    for index, message in enumerate(messages):
        ids = [call.id for call in message.tool_calls]
        results = [m.tool_call_id for m in messages[index + 1 : index + 1 + len(ids)]]
        if ids != results:
            return False
    return True


class SilentModel:
    """Says one word and then nothing more, until its stream is closed."""

    def __init__(self, *deltas: Delta, model: ChatModel | None = None) -> None:
        self.profile = profile_for("silent")
        self.deltas = deltas or (ReasoningDelta("hm"), TextDelta("so"))
        self.closed = asyncio.Event()
        self.after = model
        self.asked = 0

    async def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        """The second time and later, what `model` says."""
        self.asked += 1
        if self.asked > 1 and self.after is not None:
            async for delta in self.after.stream(conversation, tools, options):
                yield delta
            return
        try:
            for delta in self.deltas:
                yield delta
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        return 0

    async def aclose(self) -> None: ...
