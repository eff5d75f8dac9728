"""The conversation: immutable, append-only, sharing its prefix.

Every conversation is a length over a log that it shares with those it grew from and those that
grew from it, so appending costs what is appended. Only when two grow from the same place is the
log copied (its references, once, for the second). Adapters attach an encoding to each message
(wire bytes, token ids); encodings are shared the same way, so a step encodes what it adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any, TypeVar, overload

from chogori.chat.messages import Message

E = TypeVar("E")


class _Log:
    """Messages, and for each adapter the encodings of the first so many of them."""

    __slots__ = ("attached", "encodings", "lock", "messages")

    def __init__(self, messages: list[Message], encodings: dict[object, list[Any]]) -> None:
        self.messages = messages
        self.encodings = encodings
        self.attached: dict[object, Any] = {}
        self.lock = Lock()


class Conversation:
    """Messages in order. `append` returns a longer one and leaves this one as it is."""

    __slots__ = ("_length", "_log", "chain_start")

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._log = _Log([], {})
        self._length = 0
        self.chain_start = 0
        """Where the current tool-calling chain begins: one past the last assistant message that
        called no tool (Kimi K2 Thinking: reasoning before it is not sent back)."""
        for message in messages:
            self._grow(message)

    def append(self, *messages: Message) -> Conversation:
        """This conversation and then `messages`."""
        longer = Conversation.__new__(Conversation)
        longer._log, longer._length, longer.chain_start = self._log, self._length, self.chain_start
        for message in messages:
            longer._grow(message)
        return longer

    def _grow(self, message: Message) -> None:
        with self._log.lock:
            if self._length < len(self._log.messages):
                self._log = _Log(
                    self._log.messages[: self._length],
                    {key: made[: self._length] for key, made in self._log.encodings.items()},
                )
            self._log.messages.append(message)
            self._length += 1
        if message.role == "assistant" and not message.tool_calls:
            self.chain_start = self._length

    def encoded(self, key: object, encode: Callable[[Message], E]) -> list[E]:
        """The encoding of every message under `key`; `encode` is asked once for each message.

        The list is the caller's own. `encode` must depend on the message and `key` alone.
        """
        return self.folded(key, lambda _, message: encode(message))

    def folded(self, key: object, fold: Callable[[E | None, Message], E]) -> list[E]:
        """As `encoded`, but `fold` is given what it made of the messages before, too (None before
        the first), so that what a whole conversation comes to is known by its last message alone:
        a sum, a hash, whether anything comes twice."""
        with self._log.lock:
            made: list[E] = self._log.encodings.setdefault(key, [])
            before = made[-1] if made else None
            for message in self._log.messages[len(made) : self._length]:
                before = fold(before, message)
                made.append(before)
            return made[: self._length]

    def attached(self, key: object, make: Callable[[], E]) -> E:
        """What an adapter keeps for this conversation and for all that grow from it: made once.
        One that grows from its middle, beside another, has its own."""
        with self._log.lock:
            if key not in self._log.attached:
                self._log.attached[key] = make()
            return self._log.attached[key]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Message]:
        return iter(self._log.messages[: self._length])

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return self._log.messages[slice(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(f"message {index} of a conversation of {self._length}")
        return self._log.messages[index % self._length]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conversation) and list(self) == list(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # messages hold mappings

    def __repr__(self) -> str:
        return f"Conversation({', '.join(message.role for message in self)})"
