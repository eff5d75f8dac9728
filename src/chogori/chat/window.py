"""How many requests an endpoint takes at once, learnt from what it does. It never waits.

The width doubles with each round trip until the endpoint refuses; a refusal tells what it takes: as
many as are still inside. From there the width goes back up by one each round trip, rests at the
level that was refused, and then feels its way ahead: by one, by two, by four, as long as nothing is
refused. So a limit that has risen is found within seconds, and one that stands costs a refusal now
and then. A refusal at a level that was taken before, or answers that come late, cut the width by a
fifth and let it double again up to half of what it was; a burst of them counts once.

Additive increase, multiplicative decrease: Chiu and Jain 1989, as in TCP (RFC 5681, 3.1). Reading
the level off a refusal is our own: a server that counts requests says at once that it is full.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

CUT = 0.8
MOST = 512
"""Each request holds a connection, and a process may open about a thousand files."""
REFUSALS = (429, 503, 529)
"""Statuses that say "less at once" (529: Anthropic's for 503). All others say nothing of it."""
_FIRST_PATIENCE, _MOST_PATIENCE = 8, 1024
_REST_ANSWERS, _REST_SECONDS = 50, 1.0
"""The longest rest before feeling ahead: so many answers, which keeps refusals below two in a
hundred, and so many seconds, which bounds how late a risen limit is found."""
_REST_FOR_EACH_SECOND = 20.0
"""An endpoint that holds everybody back after a refusal is tempted seldom enough: at most a
twentieth of the time is spent waiting."""
_QUIET_SECONDS, _QUIET_TIMES = 0.25, 4.0
"""After so long without a refusal, and so many times what the last one took, a level is taken:
where replies take minutes, nobody need wait for one to know."""
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 0.05, 1.0
_SAMPLE = 16
"""Answers whose median stands for how long an answer takes now."""
_LATE_TIMES, _LATE_SECONDS = 2.0, 0.5


@dataclass(slots=True)
class Window:
    """See the module's docstring. All times are those of one clock, in seconds."""

    width: float = 64.0
    most: float = MOST
    _ceiling: float | None = None
    """The level that was refused; None as long as none was. Above it the width feels ahead."""
    _threshold: float = 0.0
    """Below it the width doubles, at any time."""
    _step: float = 1.0
    _patience: int = _FIRST_PATIENCE
    """Answers to wait for before feeling ahead; doubles when that was in vain."""
    _answers: int = 0
    """Since the last refusal."""
    _answers_ahead: int = 0
    """Since the last step ahead."""
    _stepped_at: float = 0.0
    _refused_at: float = 0.0
    _refusal_seconds: float = float("inf")
    """How long the last refusal took to come; without end where it was lateness that told."""
    _rests_until: float = 0.0
    _in_vain: int = 0
    """Refusals, one after another, with no answer between."""
    _fell_ahead: bool = False
    """Whether the last burst of refusals came of feeling ahead."""
    _times: list[float] = field(default_factory=list[float])
    _usual_seconds: float | None = None

    @property
    def is_ahead(self) -> bool:
        """Whether the width is beyond what the endpoint is known to take."""
        return self._ceiling is None or self.width > self._ceiling

    @property
    def pause_seconds(self) -> float:
        """How long to leave the endpoint alone, if it has nothing of ours and refuses."""
        return min(_MOST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**self._in_vain)

    def refused(
        self,
        now: float,
        seconds: float,
        *,
        inside: int,
        is_new: bool,
        after_seconds: float | None = None,
    ) -> None:
        """The endpoint refused one, after `seconds`; `inside` others are still there. `is_new`: it
        set out after the last refusal was known, so that it is no part of the same burst."""
        if is_new and not self.is_ahead:
            self._cut()
        else:
            self._fall(inside, is_new=is_new)
        self._refusal_seconds = seconds
        self._in_vain = 0 if self._answers else self._in_vain + 1
        self._begin_again(now)
        rest = _REST_FOR_EACH_SECOND * (after_seconds or 0.0)
        self._rests_until = max(self._rests_until, now + rest)

    def answered(self, now: float, seconds: float, *, inside: int, is_full: bool) -> None:
        """The endpoint answered, after `seconds`; `is_full`: a wider one would have been used."""
        self._answers += 1
        if self._is_late(seconds, is_known=self._ceiling is None or self._answers > inside):
            self._cut()
            self._begin_again(now)
            self._refusal_seconds = float("inf")
        elif is_full:
            self._grow(now)
            self.width = min(self.width, self.most)

    def _grow(self, now: float) -> None:
        if self._ceiling is None or self.width < self._threshold:
            self.width += 1
        elif self.width < self._ceiling:
            self.width = min(self._ceiling, self.width + 1 / self.width)
        elif not self.is_ahead:
            if self._has_rested(now):
                self._step_ahead(now)
        elif self._is_taken(now):
            self._patience = _FIRST_PATIENCE
            self._step = min(2 * self._step, max(1.0, self.width / 4))
            self._step_ahead(now)

    def _has_rested(self, now: float) -> bool:
        if now < self._rests_until:
            return False
        is_long_ago = now - self._refused_at >= _REST_SECONDS
        return self._answers >= self._patience or (is_long_ago and self._answers >= _REST_ANSWERS)

    def _is_taken(self, now: float) -> bool:
        """Whether the endpoint takes as many as were sent ahead."""
        self._answers_ahead += 1
        quiet = max(_QUIET_SECONDS, _QUIET_TIMES * self._refusal_seconds)
        return self._answers_ahead >= self.width or now - self._stepped_at >= quiet

    def _step_ahead(self, now: float) -> None:
        self.width = int(self.width) + int(self._step)
        self._answers_ahead, self._stepped_at = 0, now

    def _fall(self, inside: int, *, is_new: bool) -> None:
        """Back to what the endpoint still holds; if that is next to nothing, it is down, and what
        it took before is soon tried again."""
        known = self._ceiling
        self.width = max(1.0, min(self.width, inside))
        if not self._fell_ahead and not is_new:
            return
        self._fell_ahead = True
        if is_new:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
            self._threshold = 0.0 if known is None else known / 2
        self._ceiling = max(self.width, self._threshold)

    def _cut(self) -> None:
        if self._answers or self._ceiling is None:  # else it was down, which says nothing of levels
            self._threshold = max(1.0, self.width / 2)
        self.width = max(1.0, self.width * CUT)
        self._ceiling, self._fell_ahead = self.width, False

    def _begin_again(self, now: float) -> None:
        self._refused_at, self._answers, self._step = now, 0, 1.0

    def _is_late(self, seconds: float, *, is_known: bool) -> bool:
        """Whether answers take much longer than usual: then they wait for each other there. What
        `is_known` counts; what sets out before a cut tells nothing of what came of it."""
        self._times.append(seconds)
        if len(self._times) < _SAMPLE:
            return False
        now, usual = statistics.median(self._times), self._usual_seconds
        self._times.clear()
        if usual is None or now <= usual:
            self._usual_seconds = now
            return False
        if now <= _LATE_TIMES * usual + _LATE_SECONDS:
            self._usual_seconds = usual + (now - usual) / 64
            return False
        if is_known:  # what is late for long is usual: prompts grow, models are exchanged
            self._usual_seconds = usual + (now - usual) / 8
        return is_known
