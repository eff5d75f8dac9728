"""The clock of a run says again what it said, and then goes on from where the records end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chogori.agent.clock import Clock
from chogori.agent.journal import Entry


class Time:
    """The clock of a process."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def entries(*fields: Mapping[str, Any]) -> list[Entry]:
    return [Entry(n, "step_started", 0.0, "", told) for n, told in enumerate(fields)]


def test_what_it_said_is_said_again_and_the_time_of_nobody_is_left_out() -> None:
    first = Time()
    first.now = 1_000.0
    clock = Clock(now=first)
    told = [clock()]
    first.now = 1_003.0
    told.append(clock())
    assert clock.taken() == told
    assert not clock.is_read
    second = Time()
    second.now = 7.0  # another process, another day
    again = Clock(entries({"clock": told}), now=second)
    second.now = 9.0
    assert [again(), again()] == told
    assert not again.is_read
    assert again() == told[-1] + 2, "from when it is driven again"
    assert again.taken() == [told[-1] + 2]


def test_time_in_which_it_was_not_looked_at_counts_as_far_as_records_tell() -> None:
    time = Time()
    past = entries({"clock": [5.0]}, {"unread": 40.0}, {}, {"unread": 60.5}, {})
    clock = Clock(past, now=time)
    assert clock() == 5.0
    assert clock.ago == 60.5
    assert clock() == 65.5
    past = entries({"unread": 9.0}, {"clock": [5.0]}, {"unread": 1.5})
    assert Clock(past, now=time).ago == 0.0, "nothing was said yet"
    clock = Clock(past, now=time)
    assert [clock(), clock()] == [5.0, 6.5], "what was not looked at before counts no more"
