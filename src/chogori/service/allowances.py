"""What is left to each key, project and organisation of its limits: taken from all, or from none.

`Allowances` is all that a server asks, so that state shared by many processes (Redis, one script a
call) can take the place of `MemoryAllowances`, which is right for one process. What a request takes
is held under a lease: a server that lives renews it, and what it left behind when it died frees
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from chogori.service.bucket import Bucket, Share
from chogori.service.limits import Limits, Subject
from chogori.service.sliding_log import SECOND_NS, SlidingLog

LEASE_SECONDS = 60
MINUTE, DAY = 60, 86_400
_BUSY_WAIT_NS = SECOND_NS
"""When to try again where all slots are taken: nobody knows when one comes free."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How a limit stands. `span` is its time in seconds."""

    name: str
    limit: int
    left: int
    reset_ns: int
    """Until all of it is free again."""
    span: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Of requests and of tokens the quota of which the smallest part is left, if any is limited."""

    requests: Quota | None = None
    tokens: Quota | None = None


class Exhausted(Exception):
    """A limit does not allow it. Nothing was taken."""

    def __init__(
        self,
        subject: Subject,
        dimension: str,
        current: int,
        limit: int,
        asked: int,
        wait_ns: int | None,
        standing: Standing,
    ) -> None:
        super().__init__(f"{dimension} of {subject}")
        self.subject = subject
        self.dimension = dimension
        """In words: requests per minute, ..."""
        self.current = current
        """What is taken of it."""
        self.limit = limit
        self.asked = asked
        self.wait_ns = wait_ns
        """Until it would be allowed; None: never, it asks for more than the limit."""
        self.standing = standing


class Taken(Protocol):
    """What a request took of every limit."""

    @property
    def standing(self) -> Standing:
        """How the limits stood just after."""
        ...

    async def settle(self, tokens: int) -> None:
        """Free the slot and give back the tokens that were not used; more of them than were taken
        are taken now. Again, it does nothing."""
        ...

    async def renew(self) -> None:
        """Hold it for another `LEASE_SECONDS`."""
        ...


Levels: TypeAlias = Sequence[tuple[Subject, Limits]]
MonotonicClock: TypeAlias = Callable[[], int]
"""Nanoseconds that do not go back."""


class Allowances(Protocol):
    """The state of every limit."""

    async def take(self, levels: Levels, tokens: int) -> Taken:
        """Take one request and so many tokens from every level. Raises `Exhausted`, for the limit
        with the longest wait."""
        ...


class _Allowance:
    """What one subject has left."""

    __slots__ = ("day", "limits", "minute", "requests", "slots")

    def __init__(self) -> None:
        self.limits = Limits()
        self.requests = SlidingLog(1, MINUTE)
        self.minute = Bucket(1, MINUTE)
        self.day = Bucket(1, DAY)
        self.slots: dict[int, int] = {}
        """Until when each slot is leased, by the number of its request."""

    def set(self, limits: Limits) -> None:
        self.limits = limits
        self.requests.limit = limits.requests_per_minute or 1
        self.minute.limit = limits.tokens_per_minute or 1
        self.day.limit = limits.tokens_per_day or 1

    def refusals(self, subject: Subject, tokens: int, now: int) -> Iterable[Exhausted]:
        """Why not, for each limit that says no."""
        said, none = self.limits, Standing()
        if (limit := said.requests_per_minute) and (wait := self.requests.wait(now)):
            current = self.requests.count(now)
            yield Exhausted(subject, "requests per minute", current, limit, 1, wait, none)
        if (limit := said.concurrent_requests) and (current := self._running(now)) >= limit:
            yield Exhausted(subject, "concurrent requests", current, limit, 1, _BUSY_WAIT_NS, none)
        for limit, bucket, time in (
            (said.tokens_per_minute, self.minute, "minute"),
            (said.tokens_per_day, self.day, "day"),
        ):
            if limit and (wait := bucket.wait(tokens, now)) != 0:
                current = limit - bucket.left(now)
                yield Exhausted(subject, f"tokens per {time}", current, limit, tokens, wait, none)

    def _running(self, now: int) -> int:
        over = [number for number, until in self.slots.items() if until <= now]
        for number in over:
            del self.slots[number]
        return len(self.slots)

    def take(self, number: int, tokens: int, now: int) -> list[tuple[Bucket, Share]]:
        said = self.limits
        if said.requests_per_minute:
            self.requests.take(now)
        if said.concurrent_requests:
            self.slots[number] = now + LEASE_SECONDS * SECOND_NS
        taken: list[tuple[Bucket, Share]] = []
        if said.tokens_per_minute:
            taken.append((self.minute, self.minute.take(tokens, now)))
        if said.tokens_per_day:
            taken.append((self.day, self.day.take(tokens, now)))
        return taken

    def quotas(self, now: int) -> tuple[Quota | None, list[Quota]]:
        """How the limits of requests and of tokens stand."""
        said, requests, tokens = self.limits, None, list[Quota]()
        if limit := said.requests_per_minute:
            log = self.requests
            left = max(0, limit - log.count(now))
            requests = Quota("requests", limit, left, log.reset(now), MINUTE)
        for limit, bucket, name, span in (
            (said.tokens_per_minute, self.minute, "tokens", MINUTE),
            (said.tokens_per_day, self.day, "tokens-per-day", DAY),
        ):
            if limit:
                tokens.append(Quota(name, limit, bucket.left(now), bucket.reset(now), span))
        return requests, tokens


class _Held:
    """A `Taken` of `MemoryAllowances`."""

    __slots__ = ("_clock", "_is_settled", "_number", "_of", "_shares", "_tokens", "standing")

    def __init__(
        self,
        number: int,
        tokens: int,
        of: list[_Allowance],
        shares: list[tuple[Bucket, Share]],
        standing: Standing,
        clock: MonotonicClock,
    ) -> None:
        self._number = number
        self._tokens = tokens
        self._of = of
        self._shares = shares
        self.standing = standing
        self._clock = clock
        self._is_settled = False

    async def settle(self, tokens: int) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        for allowance in self._of:
            allowance.slots.pop(self._number, None)
        now = self._clock()
        for bucket, share in self._shares:
            bucket.settle(share, max(0, self._tokens - tokens), now)
            if tokens > self._tokens:
                bucket.settle(bucket.take(tokens - self._tokens, now), 0, now)

    async def renew(self) -> None:
        until = self._clock() + LEASE_SECONDS * SECOND_NS
        for allowance in self._of:
            if self._number in allowance.slots:
                allowance.slots[self._number] = until


class MemoryAllowances:
    """`Allowances` in this process."""

    def __init__(self, clock: MonotonicClock) -> None:
        self._clock = clock
        self._by_subject: dict[Subject, _Allowance] = {}
        self._number = 0

    async def take(self, levels: Levels, tokens: int) -> Taken:
        """See `Allowances`. It never gives the event loop away, so nothing comes between looking
        and taking."""
        now = self._clock()
        of = [self._of(subject, limits) for subject, limits in levels]
        refusals = [
            refusal
            for (subject, _), allowance in zip(levels, of, strict=True)
            for refusal in allowance.refusals(subject, tokens, now)
        ]
        if refusals:
            tightest = max(
                refusals, key=lambda it: float("inf") if it.wait_ns is None else it.wait_ns
            )
            tightest.standing = _standing(of, now)
            raise tightest
        self._number += 1
        shares = [share for each in of for share in each.take(self._number, tokens, now)]
        return _Held(self._number, tokens, of, shares, _standing(of, now), self._clock)

    def restore(self, levels: Levels, seconds_ago: float, requests: int, tokens: int) -> None:
        """Count what was taken before this process began; the oldest first."""
        then = self._clock() - round(seconds_ago * SECOND_NS)
        for subject, limits in levels:
            allowance = self._of(subject, limits)
            for _ in range(requests if seconds_ago < MINUTE else 0):
                allowance.requests.take(then)
            for bucket in (allowance.minute, allowance.day):
                bucket.settle(bucket.take(tokens, then), 0, then)

    def _of(self, subject: Subject, limits: Limits) -> _Allowance:
        allowance = self._by_subject.get(subject)
        if allowance is None:
            allowance = self._by_subject[subject] = _Allowance()
        if allowance.limits is not limits:
            allowance.set(limits)
        return allowance


def _standing(of: Iterable[_Allowance], now: int) -> Standing:
    requests: list[Quota] = []
    tokens: list[Quota] = []
    for allowance in of:
        of_requests, of_tokens = allowance.quotas(now)
        requests += [of_requests] if of_requests else []
        tokens += of_tokens
    return Standing(_tightest(requests), _tightest(tokens))


def _tightest(quotas: list[Quota]) -> Quota | None:
    return min(quotas, key=lambda quota: quota.left / quota.limit, default=None)
