"""What a model was asked, in a few bytes: enough to tell later whether it would be asked the same.

Each message is hashed once, when it first is part of a request, together with the hash of all that
came before; so a step costs what it adds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Protocol, cast

from chogori.agent.bodies import dump
from chogori.agent.journal import Entry
from chogori.chat import ChatModel, Conversation, Message, Options, TextPart, ToolSpec
from chogori.errors import RunChanged


class Fingerprinted(Protocol):
    """A model that can tell what it would send, without sending it. A model need not be one."""

    def fingerprint(
        self, conversation: Conversation, tools: Sequence[ToolSpec], options: Options
    ) -> str:
        """ "ENCODER/VERSION:HASH" of the very bytes of the request; "" where that cannot be told.
        Fingerprints of one encoder and version are equal when the bytes are."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    messages: int
    digest: str
    """Of the canonical conversation, the tools and the options."""
    wire: str
    """The model's own fingerprint of it, or ""."""

    def told(self, *, upto: int, salt: bytes) -> dict[str, Any]:
        """For the record of its reply; it was composed of the events up to `upto`. The hashes are
        salted: once a run's salt is deleted, nobody who guesses what was said can confirm it."""
        return {
            "messages": self.messages,
            "digest": _salted(self.digest, salt),
            "wire": _salted(self.wire, salt),
            "upto": upto,
        }

    def check(self, entry: Entry, salt: bytes) -> bool:
        """Whether the very bytes could be compared. Raises `RunChanged` where they, or what they
        say, are not what was recorded."""
        then = cast(dict[str, Any], entry.fields["request"])
        if then["digest"] != _salted(self.digest, salt):
            raise RunChanged(
                f"the run took another way than it did: the request of record {entry.sequence} had "
                f"{then['messages']} messages and would not be the same now. Something that "
                "decides the run has changed; resume --accept-changes goes on all the same"
            )
        wire = _salted(self.wire, salt)
        is_comparable = bool(wire) and _encoder(then["wire"]) == _encoder(wire)
        if is_comparable and then["wire"] != wire:
            raise RunChanged(f"the bytes of the request of record {entry.sequence} have changed")
        return is_comparable


def _salted(hash: str, salt: bytes) -> str:
    """`hash`, what stands before a colon in it kept."""
    name, colon, value = hash.rpartition(":")
    if not value:
        return hash
    return f"{name}{colon}{hashlib.blake2b(value.encode(), digest_size=32, key=salt).hexdigest()}"


def request_of(
    model: ChatModel, conversation: Conversation, tools: Sequence[ToolSpec], options: Options
) -> Request:
    """What `model` is about to be asked."""
    digests = conversation.folded("chogori.agent.request", _digest_upto)
    said = digests[-1] if digests else b""
    whole = hashlib.sha256(said + tools_digest(tuple(tools)) + _options_digest(options))
    # Asked by name: to ask for the protocol takes longer than all the rest.
    fingerprint = getattr(model, "fingerprint", None)
    wire = fingerprint(conversation, tools, options) if fingerprint else ""
    return Request(len(digests), whole.hexdigest(), wire)


def message_digest(message: Message) -> bytes:
    """Of what a message says; what an adapter keeps with it (`extra`) is not part of that."""
    said = {
        "role": message.role,
        "content": [
            part.text if isinstance(part, TextPart) else {type(part).__name__: asdict(part)}
            for part in message.content
        ],
        "reasoning": message.reasoning,
        "calls": [[call.id, call.name, call.arguments] for call in message.tool_calls],
        "answers": message.tool_call_id,
        "name": message.name,
    }
    return hashlib.sha256(dump(said)).digest()


def _digest_upto(before: bytes | None, message: Message) -> bytes:
    """Of a conversation up to and with `message`."""
    return hashlib.sha256((before or b"") + message_digest(message)).digest()


class _ById:
    """Keys a cache by identity: tools and options hold mappings, and are the same all run long."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.value is other.value


@lru_cache(maxsize=1024)
def _spec_digest(spec: _ById) -> bytes:
    return hashlib.sha256(dump(asdict(spec.value))).digest()


@lru_cache(maxsize=256)
def _digest_of_options(options: _ById) -> bytes:
    return hashlib.sha256(dump(asdict(options.value))).digest()


def tools_digest(tools: tuple[ToolSpec, ...]) -> bytes:
    """Of what a model is told of its tools, in their order."""
    return hashlib.sha256(b"".join(_spec_digest(_ById(spec)) for spec in tools)).digest()


def _options_digest(options: Options) -> bytes:
    return _digest_of_options(_ById(options))


def _encoder(wire: str) -> str:
    return wire.partition(":")[0]
