"""The messages of a request as one text, which grows with the conversation.

A request is a view of that text: what was joined once is not joined again, and memory for all of it
is not asked for anew at each step, which for a long conversation takes longer than to fill it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

BEGIN = b'{"messages":['


@dataclass(frozen=True, slots=True)
class Encoded:
    """One message as JSON."""

    bare: bytes
    full: bytes
    """With its reasoning."""
    bare_size: int
    full_size: int
    """Bytes, pictures not counted."""
    pictures: int


@dataclass(frozen=True, slots=True)
class Upto:
    """A message as JSON, and hashes of the conversation up to and with it."""

    message: Encoded
    bare: bytes
    """Of all messages without their reasoning."""
    sent: bytes
    """Of all messages as they are sent: with the reasoning that the profile retains."""


class Joined:
    """Messages in JSON, with commas between them, behind `BEGIN`. Made for the conversations that
    share a log (`Conversation.attached`)."""

    def __init__(self) -> None:
        self._text = bytearray(BEGIN)
        self._ends: list[int] = []
        """Where each message ends."""
        self._bare = 0
        """How many messages at the beginning stand without their reasoning."""
        self._lock = Lock()

    def upto(self, messages: Sequence[Upto], bare: int) -> memoryview:
        """The text up to the last of `messages`, the first `bare` of them without their reasoning.
        Those that were joined before are not looked at again."""
        with self._lock:
            if bare != self._bare:  # a chain has ended, or this is asked for what was before it
                self._text, self._ends, self._bare = bytearray(BEGIN), [], bare
            pieces: list[bytes] = []
            end = len(self._text)
            for at in range(len(self._ends), len(messages)):
                message = messages[at].message
                piece = message.bare if at < bare else message.full
                pieces.append(b"," + piece if at else piece)
                end += len(pieces[-1])
                self._ends.append(end)
            self._add(b"".join(pieces))
            end = self._ends[len(messages) - 1] if messages else len(BEGIN)
            return memoryview(self._text).toreadonly()[:end]

    def _add(self, text: bytes) -> None:
        if not text:
            return
        try:
            self._text += text
        except BufferError:  # an earlier request is still being sent
            self._text = bytearray(self._text) + text
