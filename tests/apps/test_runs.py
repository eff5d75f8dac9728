"""Keeping runs, finding them, and reading what was damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.apps.runs import Recorder, Runs
from chogori.chat import (
    Answer,
    Conversation,
    Event,
    ReasoningDelta,
    RunStarted,
    StepStarted,
    TextDelta,
    TextPart,
    ToolCallDelta,
)
from chogori.errors import ConfigError, RunNotFound

ONE, TWO = "20261121-120000-aaaaaa", "20261121-120000-bbbbbb"


def keep(folder: Path, id: str, events: list[Event], *, close: bool = True) -> Recorder:
    recorder = Recorder(folder / id)
    for event in events:
        recorder.add(event)
    if close:
        recorder.close()
    return recorder


def started(id: str) -> RunStarted:
    return RunStarted(id, (TextPart(f"question\nof {id}"),), "scripted")


def answer(id: str) -> Answer:
    return Answer("4", id, "answer", Conversation(), steps=2, seconds=1.5)


def events_of(folder: Path, id: str) -> list[Event]:
    return [line[1] for line in Runs(folder).events(id) if not isinstance(line, ConfigError)]


pieces = st.one_of(
    st.builds(TextDelta, st.text(max_size=5)),
    st.builds(ReasoningDelta, st.text(max_size=5)),
    st.builds(StepStarted, st.integers(1, 9)),
)


@given(st.lists(pieces, max_size=30))
def test_joining_deltas_loses_nothing_and_keeps_the_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    keep(folder, ONE, [started(ONE), *events])
    kept = events_of(folder, ONE)[1:]

    def unjoined(events: list[Event]) -> list[object]:
        told: list[object] = []
        for event in events:
            if isinstance(event, TextDelta | ReasoningDelta):
                told += [(type(event), character) for character in event.text]
            else:
                told.append(event)
        return told

    assert unjoined(kept) == unjoined(events)


def test_a_number_means_the_first_of_the_events_that_were_joined(tmp_path: Path) -> None:
    events = [started(ONE), TextDelta("a"), TextDelta("b"), ToolCallDelta(0, "c"), StepStarted(2)]
    keep(tmp_path, ONE, events)
    lines = [line for line in Runs(tmp_path).events(ONE) if not isinstance(line, ConfigError)]
    assert lines == [(0, started(ONE)), (1, TextDelta("ab")), (4, StepStarted(2))]


def test_what_is_no_delta_is_on_disk_at_once(tmp_path: Path) -> None:
    recorder = keep(tmp_path, ONE, [started(ONE), TextDelta("a"), StepStarted(1)], close=False)
    assert events_of(tmp_path, ONE) == [started(ONE), TextDelta("a"), StepStarted(1)]
    recorder.close()


def test_deltas_do_not_wait_for_ever_to_be_joined(tmp_path: Path) -> None:
    recorder = keep(tmp_path, ONE, [started(ONE), *[TextDelta("x" * 999)] * 20], close=False)
    assert sum(len(e.text) for e in events_of(tmp_path, ONE) if isinstance(e, TextDelta)) > 9_000
    recorder.close()


def test_a_later_leg_goes_on_in_the_same_file(tmp_path: Path) -> None:
    recorder = keep(tmp_path, ONE, [started(ONE), answer(ONE)])
    assert recorder.add(started(ONE)) == 2
    recorder.close()
    assert events_of(tmp_path, ONE) == [started(ONE), answer(ONE), started(ONE)]


def test_a_damaged_line_does_not_hide_the_others(tmp_path: Path) -> None:
    keep(tmp_path, ONE, [started(ONE), answer(ONE)])
    with (tmp_path / ONE / "events.jsonl").open("ab") as file:
        file.write(b'{"version": 1, "sequ')
    lines = list(Runs(tmp_path).events(ONE))
    assert [line for line in lines[:2] if not isinstance(line, ConfigError)] == [
        (0, started(ONE)),
        (1, answer(ONE)),
    ]
    assert "line 3 of the run cannot be read" in str(lines[2])
    assert Runs(tmp_path).summary(ONE).state == "unfinished"


def test_a_run_is_found_by_its_beginning_or_as_the_last(tmp_path: Path) -> None:
    for nanoseconds, id in enumerate([TWO, ONE]):
        keep(tmp_path, id, [started(id)])
        os.utime(tmp_path / id / "events.jsonl", ns=(nanoseconds, nanoseconds))
    runs = Runs(tmp_path)
    assert runs.ids() == [TWO, ONE], "within a second, in the order of their files"
    assert runs.find("last") == ONE
    assert runs.find(ONE) == ONE
    assert runs.find("20261121-120000-a") == ONE
    with pytest.raises(RunNotFound, match="begins 2 runs"):
        runs.find("2026")


@pytest.mark.parametrize("wanted", ["", ".", "..", "../x", "/", "a/b", "a\0", "x" * 99, "*", "~"])
def test_an_id_is_never_a_path(tmp_path: Path, wanted: str) -> None:
    keep(tmp_path / "runs", ONE, [started(ONE)])
    (tmp_path / "x").mkdir()
    with pytest.raises(RunNotFound, match="there is no run"):
        Runs(tmp_path / "runs").find(wanted)


def test_where_no_run_is_kept_there_is_none_to_find(tmp_path: Path) -> None:
    assert Runs(tmp_path / "nowhere").ids() == []
    with pytest.raises(RunNotFound, match="chogori runs list"):
        Runs(tmp_path / "nowhere").find("last")


def test_a_summary_says_how_the_run_ended(tmp_path: Path) -> None:
    keep(tmp_path, ONE, [started(ONE), answer(ONE)])
    kept = Runs(tmp_path).summary(ONE)
    assert (kept.state, kept.steps, kept.seconds) == ("answered", 2, 1.5)
    assert kept.question == f"question of {ONE}"
    recorder = keep(tmp_path, TWO, [started(TWO), TextDelta("half")])
    path = recorder.failed("the endpoint is down")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Runs(tmp_path).summary(TWO).state == "failed"
    assert Runs(tmp_path).error(TWO) == "the endpoint is down"
    assert Runs(tmp_path).error(ONE) == ""


def test_a_removed_run_is_gone_with_all_that_it_wrote(tmp_path: Path) -> None:
    keep(tmp_path, ONE, [started(ONE)])
    (tmp_path / ONE / "out").mkdir()
    (tmp_path / ONE / "out" / "figure.png").write_bytes(b"x")
    Runs(tmp_path).remove(ONE)
    assert list(tmp_path.iterdir()) == []
