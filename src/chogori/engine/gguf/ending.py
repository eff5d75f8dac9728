"""Ends a reply validly before its tokens run out.

Every piece is tried before it is told: would the shortest ending of what it makes still fit into
the tokens that are left? If not, the piece is not written, and the ending of what was written
before it is written in its place. So a reply that can end validly does, and where even the shortest
whole would not fit nothing is forced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chogori.chat.schema import Cursor, Grammar
from chogori.errors import ModelUnavailable


class Guard:
    """Follows one reply. `count` tells how many tokens a text takes; `has_code`, whether the reply
    may hold code, which the grammar leaves out."""

    def __init__(
        self, grammar: Grammar, count: Callable[[str], Awaitable[int]], *, has_code: bool = False
    ) -> None:
        self._cursor = Cursor(grammar)
        self._count = count
        self._has_code = has_code
        self._holds: bool | None = None
        self.used = 0
        """Tokens of what was admitted."""
        self.ending = ""
        """What ends the reply from there."""
        self.ending_tokens = 0

    @property
    def can_end(self) -> bool:
        """Whether the ending is known and fits."""
        return bool(self._holds)

    async def admit(self, piece: str, used: int, room: int) -> bool:
        """Whether `piece` may be written, after which `used` of `room` tokens are. Raises
        `ModelUnavailable` for a piece that the form does not allow: the engine has let go of it."""
        if self._holds is None:
            self.ending = self._cursor.ending() or ""
            self.ending_tokens = await self._tokens(self.ending, room)
            self._holds = self.ending_tokens <= room and not self._cursor.is_lost
        if not self._holds:
            return True
        cursor = self._cursor.copy()
        cursor.feed(piece)
        ending = cursor.ending()
        if ending is None:
            if cursor.has_strayed and not self._has_code:
                raise ModelUnavailable(
                    "llama.cpp does not hold the reply to its form, which may be too much for it; "
                    "ask for a simpler schema"
                )
            self._holds = False  # in code, whose ending is not ours to choose
            return True
        tokens = await self._tokens(ending, room - used)
        if tokens > room - used:
            return False
        self._cursor, self.ending, self.ending_tokens, self.used = cursor, ending, tokens, used
        return True

    async def _tokens(self, text: str, room: int) -> int:
        """The tokens of a text; they are counted only where they might not fit."""
        most = len(text.encode())  # a token is a byte at least
        return most if most <= room else await self._count(text)

    async def told(self) -> int:
        """The tokens of the ending, counted."""
        return await self._count(self.ending) if self.ending else 0
