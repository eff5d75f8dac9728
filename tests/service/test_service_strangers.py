"""Laws of wrong keys: they write nothing, learn nothing and are slowed down."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_harness import HERE, files, world

from chogori.api.platform import Refused
from chogori.service import Peppers, key_text
from chogori.service.key_ring import KeyRing
from chogori.service.sliding_log import SECOND_NS
from chogori.service.strangers import BURST, Strangers


def wrong(number: int, id: str) -> str:
    """A wrong key of one of five kinds."""
    other = key_text.write(id, number.to_bytes(32)).text
    return [
        other,  # of an id that there is
        key_text.make().text,
        other[:-1] + ("A" if other[-1] != "A" else "B"),
        other[:40],
        f"password-{number}",
    ][number % 5]


async def test_ten_thousand_wrong_keys_write_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        key = await here.key()
        before = files(tmp_path)
        told: set[tuple[int, str, str]] = set()
        for number in range(10_000):
            here.clocks.turn(2)
            with pytest.raises(Refused) as refused:
                await here.identified(wrong(number, key.split("-")[2]))
            error = refused.value
            told.add((error.status, error.code, error.message))
        assert len(told) == 1, "nothing is told of what is wrong with a key"
        assert told.pop()[0] == 401
        assert files(tmp_path) == before


async def test_a_wrong_key_takes_as_long_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    """The work is the same, counted rather than timed: one digest of the whole text each."""
    async with world(tmp_path) as here:
        key = await here.key()
        digested: list[int] = []

        class Counting(Peppers):
            def digest(self, key: str, version: int) -> bytes:
                digested.append(len(key))
                return Peppers.digest(self, key, version)

        ring = KeyRing(Counting(here.peppers.by_version))
        ring.update(await here.administration.list_keys())
        assert ring.find(key) is not None
        digested.clear()
        for number in range(10):
            assert ring.find(wrong(number, key.split("-")[2])) is None
        assert len(digested) == 10
        assert digested[0] == digested[1] == len(key)


async def test_an_address_that_fails_too_often_is_told_to_wait_and_good_keys_never_are(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        key = await here.key()
        told: list[Refused] = []
        for _ in range(BURST + 5):
            with pytest.raises(Refused) as refused:
                await here.identified("sk-chg-wrong")
            told.append(refused.value)
        assert [error.status for error in told] == [401] * BURST + [429] * 5
        assert told[-1].headers == {"retry-after": "2", "retry-after-ms": "2000"}
        await here.identified(key, HERE)
        with pytest.raises(Refused) as refused:
            await here.identified("sk-chg-wrong", "10.0.0.1")
        assert refused.value.status == 401, "another address has its own burst"
        here.clocks.turn(2)
        with pytest.raises(Refused) as refused:
            await here.identified("sk-chg-wrong")
        assert refused.value.status == 401


@given(st.lists(st.integers(0, 5 * SECOND_NS), max_size=200))
def test_what_an_address_may_fail_is_a_burst_and_one_every_two_seconds(gaps: list[int]) -> None:
    strangers, now, failed = Strangers(), 0, 0
    for gap in gaps:
        now += gap
        failed += strangers.failed(HERE, now) == 0
    assert failed <= BURST + now // (2 * SECOND_NS) + 1


def test_so_many_addresses_are_remembered_and_networks_of_ipv6_are_one() -> None:
    strangers = Strangers()
    for number in range(BURST):
        strangers.failed(f"2001:db8::{number:x}", 0)
    assert strangers.failed("2001:db8::ffff", 0) > 0
    assert strangers.failed("2001:db8:0:1::1", 0) == 0
    for number in range(20_000):
        strangers.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
    assert len(strangers) == 10_000
