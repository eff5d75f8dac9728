"""Disks that are full, torn or read-only, and clocks that go back: each is one trial.

A trial returns what was wrong, "" if nothing was; `NotHere` says that this machine cannot try it.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from chogori.store.database import NAME

from .child import Order
from .launch import result, run
from .trials import Baseline, folder, judged

FRAME_BYTES = 4_096 + 24
"""A page of SQLite's log of writes, and its header."""


class NotHere(Exception):
    """It takes a right that we lack; the text says which."""


def full_disk(baseline: Baseline, chance: random.Random) -> str:
    """A disk that is full in the middle of a run, and has space again when it is resumed."""
    with folder() as path, small_disk(path / "disk", 1_000) as disk:
        order, ballast = Order(path, baseline.calls, disk=disk), disk / "ballast"
        ballast.write_bytes(bytes(1_000_000 - chance.randint(250_000, 380_000)))
        run(order)
        said = _refused(order, "no space left", "disk is neither full nor failing")
        ballast.unlink()
        return said or _ends_well(order, baseline)


def full_database(baseline: Baseline, chance: random.Random) -> str:
    """The same where nothing can be mounted: the database may have so many pages and no more."""
    with folder() as path:
        order = Order(path, baseline.calls)
        run(replace(order, pages=chance.randint(20, 26)))
        said = _refused(order, "no space left")
        return said or _ends_well(order, baseline)


def torn_page(baseline: Baseline, chance: random.Random) -> str:
    """The last page that was being written when the power went is there in part."""
    with folder() as path:
        order = Order(path, baseline.calls)
        number = chance.randint(3, baseline.boundaries["durable"])
        if run(replace(order, kind="durable", number=number)):
            return f"it was not killed as number {number} was written"
        log = order.data / f"{NAME}-wal"
        os.truncate(log, log.stat().st_size - chance.randint(1, FRAME_BYTES))
        return _ends_well(order, baseline)


def read_only(baseline: Baseline, chance: random.Random) -> str:
    """Nothing can be written when the run is to be resumed; then it can again."""
    with folder() as path, small_disk(path / "disk", 4_000) as disk:
        order = Order(path, baseline.calls, disk=disk)
        run(replace(order, kind="done", number=chance.randint(1, baseline.boundaries["done"])))
        with unwritable(disk):
            before = {it: it.read_bytes() for it in order.data.iterdir()}
            run(order)
            if {it: it.read_bytes() for it in order.data.iterdir()} != before:
                return "files have changed"
        return _refused(order, "read-only") or _ends_well(order, baseline)


def clock_goes_back(baseline: Baseline, chance: random.Random) -> str:
    """Every look at the clock is an hour before the last one, in the run and when it is resumed."""
    start = time.time()
    looks = iter(range(10**9))

    def clock() -> float:
        return start - 3_600 * next(looks)

    with folder() as path:
        order = Order(path, baseline.calls, clock=clock)
        kind, number = chance.choice(baseline.points)
        run(replace(order, kind=kind, number=number))
        later = replace(order, clock=lambda: start - 10**7)
        return _ends_well(later, baseline)


def _refused(order: Order, *expected: str) -> str:
    """The child has said in one line what is the matter."""
    said = str(result(order).get("error", "nothing"))
    is_clear = "\n" not in said and any(words in said for words in expected)
    return "" if is_clear else f"it said: {said}"


def _ends_well(order: Order, baseline: Baseline) -> str:
    run(order)
    told = judged(order, baseline, 1)
    wrong = [*told.histories, *told.deeds, *told.unsound]
    return "; ".join(wrong) or ("a reply was asked for again" if told.asked_again else "")


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Generator[Path]:
    """A file system of that size, mounted at `place`."""
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


@contextmanager
def unwritable(place: Path) -> Generator[None]:
    """The file system at `place` cannot be written."""
    _mount("-o", "remount,ro", str(place))
    try:
        yield
    finally:
        _mount("-o", "remount,rw", str(place))


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHere("mounting a file system is not allowed") from error
