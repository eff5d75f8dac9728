"""So many tokens in a time, by GCRA (the generic cell rate algorithm): what is taken drains away
evenly, and what has not drained must fit the bucket. Reserve, then give back what was not used.

A refund leaves the bucket exactly where it would stand had only what was used been taken at the
start, neither fuller nor emptier. That asks more than adding tokens: what has drained in between
may be part of what is given back, and would have been nothing to drain. The rule that comes of it:
let the newest reservation drain first; then a refund takes from what is left of its own
reservation and of older ones, never from newer ones, and what finds nothing there is void.

Work is counted in token-nanoseconds (a token is as many as the time has nanoseconds), of which
`limit` drain each nanosecond: whole numbers, so nothing is ever rounded. A state machine without a
clock, like `sliding_log`.
"""

from __future__ import annotations

from dataclasses import dataclass

from chogori.service.sliding_log import SECOND_NS


@dataclass(slots=True, eq=False)
class Share:
    """What is left of one reservation, or of several between which nobody tells any more."""

    work: int
    below: Share | None
    """The next older. Of a share that is gone: where its refunds take from."""
    above: Share | None = None
    open: int = 0
    """Reservations not settled yet whose refunds begin here."""
    is_gone: bool = False


class Bucket:
    """`limit` tokens in `seconds`; the limit may be changed at any time."""

    __slots__ = ("_at", "_span_ns", "_top", "_work", "limit")

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self._span_ns = seconds * SECOND_NS
        self._work = 0
        self._at = 0
        self._top: Share | None = None

    def wait(self, tokens: int, now: int) -> int | None:
        """Nanoseconds until so many may be taken; 0: now; None: never."""
        if tokens > self.limit:
            return None
        self._drain(now)
        over = self._work + (tokens - self.limit) * self._span_ns
        return max(0, -(-over // self.limit))

    def take(self, tokens: int, now: int) -> Share:
        """Take so many, whether they fit or not; the share is for `settle`."""
        self._drain(now)
        work = tokens * self._span_ns
        self._work += work
        below = self._top
        if below is not None and not below.open:  # nobody will ask what was there before
            work += below.work
            below = below.below
        share = Share(work, below, open=1)
        if below is not None:
            below.above = share
        self._top = share
        return share

    def settle(self, share: Share, unused: int, now: int) -> None:
        """Give back so many of a share's tokens; once for each share."""
        self._drain(now)
        found = _standing(share)
        if found is None:
            return
        left, at = unused * self._span_ns, found
        while left > 0 and at is not None:
            paid = min(left, at.work)
            at.work -= paid
            self._work -= paid
            left -= paid
            at = at.below
        found.open -= 1
        self._tidy(found)

    def left(self, now: int) -> int:
        """The tokens that may be taken now."""
        self._drain(now)
        return max(0, (self.limit * self._span_ns - self._work) // self._span_ns)

    def reset(self, now: int) -> int:
        """Nanoseconds until all of it is free again."""
        self._drain(now)
        return -(-self._work // self.limit)

    def _drain(self, now: int) -> None:
        if now == self._at:
            return
        drained = max(0, min((now - self._at) * self.limit, self._work))
        self._at = now
        self._work -= drained
        while self._top is not None and drained >= self._top.work:
            drained -= self._top.work
            self._remove(self._top)
        if self._top is not None:
            self._top.work -= drained

    def _tidy(self, at: Share | None) -> None:
        """Take out what is empty from there downwards, and what nobody tells from the next."""
        while at is not None:
            below = at.below
            if at.work == 0:
                self._remove(at)
            elif not at.open and at.above is not None:
                at.above.work += at.work
                self._remove(at)
            elif at.work:
                break
            at = below

    def _remove(self, share: Share) -> None:
        """Take a share out of the pile; who had it goes by what lies below it."""
        below, above = share.below, share.above
        if below is not None:
            below.above = above
            below.open += share.open
        if above is not None:
            above.below = below
        else:
            self._top = below
        share.is_gone = True
        share.above = None


def _standing(share: Share) -> Share | None:
    """The share that stands for one that may be gone; the way to it is shortened."""
    at: Share | None = share
    while at is not None and at.is_gone:
        if at.below is not None and at.below.is_gone:
            at.below = at.below.below
        at = at.below
    return at
