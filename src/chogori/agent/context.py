"""How a run that outgrows the model's context goes on: what the model is no longer shown.

A view shows the conversation as it is until that takes up a threshold, and then compacts it at one
stroke. Between two compactions each request extends the one before, so an endpoint finds all of it
in its cache. A compaction loses, of the request before it, what follows the first message that
changes: at most what has come since the compaction before. So nothing is lost twice, and over a run
whose steps add r tokens and whose requests hold m on average,

    the share of a request that does not return in the next  <=  r / m,

under 2 % once a request holds fifty steps (`bench/context_stability.py` measures it).

The system message and what persons said are always shown, whole; where these alone do not fit, the
model raises `ContextTooLong`.

The policies are those of Kimi K2 Thinking and K2.5 (K2.5's technical report, appendix E.6); its
thresholds are not published.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from chogori.agent.recall import size
from chogori.agent.view import Compacting, View, characters
from chogori.chat import (
    ChatModel,
    Conversation,
    Delta,
    Message,
    MessageBuilder,
    Options,
    ToolSpec,
    content_of,
    user,
)
from chogori.errors import ConfigError

ContextPolicy = Literal["none", "hide_tool_results", "discard_all", "summary"]

SHARE = 0.7
"""Of the model's context. The rest is for a reply (Kimi's may reason for 48k of its 262k tokens,
18 %) and for a round of results, which is only estimated until the endpoint has counted it."""
NOTE = "[To make room, your work so far was set aside. {recall}Go on with the task.]"
RECALL = (
    "What tools returned can be read again: recall() lists it, recall(query=...) searches it, "
    "recall(call_id=...) reads a result. "
)
SUMMARY = "\n\nYour own summary of it:\n\n"
ASK = (
    "[To make room, your work so far is about to be set aside; the task and whatever else a person "
    "said stays. Write down what you need to go on: what you found, with the names, numbers and "
    "call ids that matter; what you tried in vain; what is left to do. Write nothing else, and "
    "call no tool.]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How a run is kept within the model's context; part of an agent's description."""

    policy: ContextPolicy = "none"
    """`none`: it is not. `hide_tool_results`: all but the latest round of results are hidden.
    `discard_all`: every reply that calls is dropped with its results. `summary`: whatever the
    model said or was told by tools is replaced by its own summary."""
    tokens: int | None = None
    """A request of so many is too long; None: `SHARE` of the model's context."""
    recall: bool = True
    """Whether the model has a tool that reads what is no longer shown. Models that were not trained
    on tools take it for the way to go on: the presets give them none (docs/decisions/0011)."""

    def __post_init__(self) -> None:
        if self.policy not in get_args(ContextPolicy):
            known = ", ".join(get_args(ContextPolicy))
            raise ConfigError(f"there is no context policy {self.policy!r}; there are: {known}")
        if self.tokens is not None and self.tokens < 1:
            raise ConfigError(f"a context holds at least 1 token, not {self.tokens}")

    def view(self, context_tokens: int) -> View:
        """The view of one new run, for a model whose context is so long."""
        threshold = self.tokens or round(SHARE * context_tokens)
        match self.policy:
            case "none":
                return View()
            case "hide_tool_results":
                return Hiding(self.policy, threshold, context_tokens, recalls=self.recall)
            case "discard_all":
                return Restarting(self.policy, threshold, context_tokens, recalls=self.recall)
            case "summary":
                return Summarizing(self.policy, threshold, context_tokens, recalls=self.recall)


class Hiding(Compacting):
    """Hides all results but those of the latest round. Every message keeps its place."""

    def __init__(
        self, policy: str, threshold: int, context_tokens: int, *, recalls: bool = True
    ) -> None:
        super().__init__(policy, threshold, context_tokens, recalls=recalls)
        self._settled = Conversation()
        """What no later compaction changes: all before the latest round of the last one."""
        self._since: list[Message] = []
        """The messages after these, as they will be once they are settled."""
        self._round = 0
        """How many messages come before the results of the latest round."""
        self._frees = self._latest = 0
        """Characters that hiding saves: before the latest round, and in that round."""

    def add(self, message: Message) -> None:
        settled = message
        if message.role == "tool":
            key = self.record.add(message)
            settled = hidden(message, key if self.recalls else None)
            self._latest += characters(message) - characters(settled)
        self._since.append(settled)
        if message.tool_calls:
            self._round = len(self._settled) + len(self._since)
            self._frees, self._latest = self._frees + self._latest, 0

    def frees(self) -> int:
        return self._frees

    def worth(self) -> int:
        """Halfway from the threshold to the end of the context a tenth is worth while: the latest
        round stays, so the run gets on however often it is compacted."""
        pressing = (self.threshold + max(self.threshold, self.context_tokens)) // 2
        worth = super().worth()
        return worth // 10 or 1 if self.size.tokens >= pressing else worth

    def compact(self, conversation: Conversation) -> int:
        start, stop = len(self._settled), self._round
        settled, self._since = self._since[: stop - start], self._since[stop - start :]
        before = conversation[start:stop]
        changed = sum(new != old for new, old in zip(settled, before, strict=True))
        # Grown from what was settled before, so that its encodings are kept.
        self._settled = self._settled.append(*settled)
        self._frees = 0
        self.shown = self._settled.append(*conversation[stop:])
        return changed


class Restarting(Compacting):
    """Drops the work: replies that call, and results. What was said stays, by persons and to
    them; in the place of the work a note says that it was set aside."""

    kept_roles: tuple[str, ...] = ("system", "user", "assistant")

    def __init__(
        self, policy: str, threshold: int, context_tokens: int, *, recalls: bool = True
    ) -> None:
        super().__init__(policy, threshold, context_tokens, recalls=recalls)
        self.note = self.aside()
        self._kept: list[Message] = []
        self._kept_characters = 0
        self._before = 0
        """How many of those that are kept came before the latest work."""

    def aside(self) -> str:
        """Says that the work was set aside."""
        return NOTE.format(recall=RECALL if self.recalls else "")

    def add(self, message: Message) -> None:
        if message.role == "tool":
            self.record.add(message)
        if message.role in self.kept_roles and not message.tool_calls:
            self._kept.append(message)
            self._kept_characters += characters(message)
        else:
            self._before = len(self._kept)

    def frees(self) -> int:
        return self.size.characters - self._kept_characters - len(self.note)

    def compact(self, conversation: Conversation) -> int:
        dropped = len(self.shown) - len(self._kept)
        earlier, later = self._kept[: self._before], self._kept[self._before :]
        self.shown = Conversation([*earlier, user(self.note), *later])
        return dropped


class Summarizing(Restarting):
    """Drops what the model said, too, and has it write a summary first."""

    kept_roles: tuple[str, ...] = ("system", "user")

    async def prepare(self, model: ChatModel, options: Options, tools: Sequence[ToolSpec]) -> None:
        """The request extends what is shown, so nearly all of it is cached. Where it would not
        fit the context, the work is set aside without a summary."""
        text = ""
        if self.size.tokens < self.context_tokens:
            text = await self._ask(model, options, tools)
        self.note = self.aside() + (SUMMARY + text if text else "")

    async def _ask(self, model: ChatModel, options: Options, tools: Sequence[ToolSpec]) -> str:
        plain = replace(options, tool_choice="none", response_format=None, prefill=None, stop=())
        builder = MessageBuilder()
        stream = model.stream(self.shown.append(user(ASK)), tools, plain)
        async with aclosing(cast(AsyncGenerator[Delta], stream)) as deltas:
            async for delta in deltas:
                builder.add(delta)
        if builder.finished is not None:
            self.spent += builder.finished.usage
        return builder.message.text.strip()


def hidden(result: Message, key: str | None) -> Message:
    """What stands for `result` once it is hidden, or `result` itself where that is no longer. `key`
    is what `recall` knows it by.

    Place, id and name stay, so that its call still has a result."""
    reads = f'; recall(call_id="{key}") reads it' if key else ""
    text = f"[{size(result)} hidden{reads}]"
    short = replace(result, content=content_of(text))
    return short if characters(short) < characters(result) else result
