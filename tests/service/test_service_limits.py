"""Laws of the limiters, against slow models that remember everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from chogori.service.bucket import Bucket, Share
from chogori.service.sliding_log import SECOND_NS, SlidingLog

SPAN = 60
steps = st.one_of(
    st.integers(0, 3 * SECOND_NS),
    st.integers(0, 40).map(lambda seconds: seconds * SECOND_NS),
    st.sampled_from([0, 1, SECOND_NS - 1, SECOND_NS, 59 * SECOND_NS, 60 * SECOND_NS - 1]),
    st.sampled_from([60 * SECOND_NS, 60 * SECOND_NS + 1, 61 * SECOND_NS]),
)


@given(st.integers(1, 6), st.lists(steps, max_size=60))
def test_in_no_minute_are_more_requests_admitted_than_the_limit(
    limit: int, gaps: list[int]
) -> None:
    log, now, admitted = SlidingLog(limit, SPAN), 0, list[int]()
    for gap in gaps:
        now += gap
        within = [at for at in admitted if at > now - SPAN * SECOND_NS]
        wait = log.wait(now)
        assert (wait == 0) == (len(within) < limit), "exactly as many as the limit says"
        if wait:
            assert log.wait(now + wait - 1) == 1, "a moment before it is still too early"
            assert wait == within[0] + SPAN * SECOND_NS - now
        else:
            log.take(now)
            admitted.append(now)
    for start in admitted:
        assert sum(start <= at < start + SPAN * SECOND_NS for at in admitted) <= limit


def test_the_101st_request_of_a_minute_waits_until_the_first_is_a_minute_old() -> None:
    log = SlidingLog(100, SPAN)
    for number in range(100):
        assert log.wait(number * SECOND_NS // 10) == 0
        log.take(number * SECOND_NS // 10)
    assert log.wait(10 * SECOND_NS) == 50 * SECOND_NS
    assert log.wait(60 * SECOND_NS - 1) == 1
    assert log.wait(60 * SECOND_NS) == 0


@dataclass
class Reservation:
    at: int
    tokens: int
    share: Share
    used: int | None = None


@dataclass
class Remembered:
    """GCRA as it is written down (ITU-T I.371: a theoretical arrival time), which goes through all
    reservations again, each with what it is known to have used."""

    limit: int
    made: list[Reservation] = field(default_factory=list[Reservation])

    def fill(self, now: int) -> Fraction:
        """Nanoseconds until the bucket is empty."""
        each = Fraction(SPAN * SECOND_NS, self.limit)
        arrival = Fraction(0)
        for one in self.made:
            tokens = one.tokens if one.used is None else one.used
            arrival = max(arrival, Fraction(one.at)) + tokens * each
        return max(arrival - now, Fraction(0))


used = st.one_of(st.just(0), st.integers(0, 40))
doings = st.lists(st.tuples(steps, used, st.integers(0, 40), st.booleans()), max_size=50)
"""When, how many tokens, of which reservation if one is settled."""


@given(st.integers(1, 40), doings)
def test_a_refund_leaves_the_bucket_as_if_only_what_was_used_had_been_taken(
    limit: int, doings: list[tuple[int, int, int, bool]]
) -> None:
    bucket, slow, now = Bucket(limit, SPAN), Remembered(limit), 0
    for gap, tokens, which, settles in doings:
        now += gap
        waiting = [one for one in slow.made if one.used is None]
        if settles and waiting:
            one = waiting[which % len(waiting)]
            one.used = min(tokens, one.tokens)
            bucket.settle(one.share, one.tokens - one.used, now)
        else:
            slow.made.append(Reservation(now, tokens, bucket.take(tokens, now)))
        fill = slow.fill(now)
        full = SPAN * SECOND_NS
        assert bucket.reset(now) == -(-fill // 1)
        assert bucket.left(now) == max(0, (full - fill) * limit // full)
        over = fill + (Fraction(tokens, limit) - 1) * full
        assert bucket.wait(tokens, now) == (None if tokens > limit else max(0, -(-over // 1)))


@given(st.integers(1, 1_000), st.lists(st.tuples(steps, st.integers(1, 400)), max_size=50))
def test_what_is_admitted_never_exceeds_the_limit_and_what_drains_meanwhile(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    bucket, now, admitted = Bucket(limit, SPAN), 0, list[tuple[int, int]]()
    for gap, tokens in asked:
        now += gap
        if bucket.wait(tokens, now) == 0:
            bucket.settle(bucket.take(tokens, now), 0, now)
            admitted.append((now, tokens))
    for start, _ in admitted:
        for end, _ in admitted:
            taken = sum(tokens for at, tokens in admitted if start <= at <= end)
            assert taken * SPAN * SECOND_NS <= limit * (SPAN * SECOND_NS + max(0, end - start))


def test_a_bucket_keeps_no_more_than_the_reservations_that_are_open() -> None:
    bucket = Bucket(1_000_000, SPAN)
    first = bucket.take(10, 0)
    for _ in range(10_000):
        bucket.settle(bucket.take(10, 0), 1, 0)
    depth, at = 0, bucket._top  # pyright: ignore[reportPrivateUsage]
    while at is not None:
        depth, at = depth + 1, at.below
    assert depth <= 3
    bucket.settle(first, 10, 0)
    assert bucket.left(0) == 1_000_000 - 90_000
