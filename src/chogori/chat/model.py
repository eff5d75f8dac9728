"""The narrow waist of the system: what it takes to be a chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from chogori.chat.conversation import Conversation
from chogori.chat.messages import Delta, ToolSpec
from chogori.chat.profiles import Profile
from chogori.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool choice: this tool and no other."""

    name: str


@dataclass(frozen=True, slots=True)
class AllowedTools:
    """A tool choice: one of these; `required` if one must be called."""

    names: tuple[str, ...]
    required: bool = False


ToolChoice = Literal["auto", "none", "required"] | NamedTool | AllowedTools


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The text is to be JSON: any object, or one that fits `schema`."""

    schema: Mapping[str, Any] | None = None
    name: str = "reply"
    strict: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every knob of a request. None leaves the choice to the model's profile. Raises `ConfigError`
    for what no model can do."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    """Reasoning included. None: up to the end of the context."""
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many alternatives to report beside each token; 0: the token's own alone."""
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    response_format: JsonFormat | None = None
    prefill: str | None = None
    """The reply begins with this text; the stream holds what follows it (partial mode)."""
    thinking: bool | None = None
    effort: str | None = None
    """How hard to think, in the model's own word ("low", "high", ...)."""
    stream: bool = True
    """Whether the reply comes as it is written. False, where nobody watches, costs least: an
    endpoint then sends it whole, and says nothing until then."""
    cache_key: str | None = None
    """Requests that share a prefix share a key; some endpoints route by it."""
    user: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of one endpoint's own, sent as they are."""

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be 1 or more")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be a whole number of 64 bits")


class ChatModel(Protocol):
    """Answers a conversation: an engine here, a server elsewhere, or a script in a test."""

    @property
    def profile(self) -> Profile:
        """What is known of this model."""
        ...

    def stream(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> AsyncIterator[Delta]:
        """Stream the next assistant message; the last delta is always `Finished`.

        Closing the iterator cancels the request. Raises `ModelUnavailable`, `ContextTooLong` or
        `RequestError`.
        """
        ...

    async def count(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> int:
        """Tokens the conversation takes up as a prompt; at least roughly right."""
        ...

    async def aclose(self) -> None:
        """Give back what the model holds: connections, memory, threads."""
        ...


@runtime_checkable
class ChecksRequests(Protocol):
    """A `ChatModel` that knows without doing it that it could not do what is asked."""

    def check(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> None:
        """Raise the `RequestError` that `stream` would raise. Reads no weights and waits for
        nobody, but may take seconds the first time a large schema is asked for: whoever has others
        waiting calls it in a thread."""
        ...


@runtime_checkable
class HasSlots(Protocol):
    """A `ChatModel` that answers in this process, a few requests at once; more wait their turn."""

    @property
    def slots(self) -> int:
        """How many requests it answers at once."""
        ...

    @property
    def active(self) -> int:
        """Requests that it has been given and not finished, those that wait among them."""
        ...
