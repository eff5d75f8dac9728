"""Stop strings: text ends where one of them begins, and none of it comes out.

What may yet become one is held back, so a stop string is found however the text is cut.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Fed text, it gives back what is certain to be kept."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.has_stopped = False

    def feed(self, text: str) -> str:
        """What of it can be told; nothing once it has stopped."""
        if self.has_stopped:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            # The first that was complete, as if the text had come letter by letter.
            self.has_stopped = True
            told, self._held = self._held[: min(found)[1]], ""
            return told
        keep = max((self._begun(stop) for stop in self._stops), default=0)
        at = len(self._held) - keep
        told, self._held = self._held[:at], self._held[at:]
        return told

    def end(self) -> str:
        """What was held back, since nothing more comes."""
        told, self._held = self._held, ""
        return told

    def _begun(self, stop: str) -> int:
        """How many characters of `stop` the text ends with."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
