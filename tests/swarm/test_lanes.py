"""A run as lanes on a clock: who waited for what, and where the critical steps are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarm_harness import RUN, World, assign, create, scripted, swarm, works

from chogori.store import open_store
from chogori.swarm.lanes import Lane, Span, Timeline, _without_idle, timeline

STEPS = {"a": 1, "b": 4, "c": 2, "d": 0}


async def drawn(folder: Path) -> Timeline:
    stages = [[create()], [assign("a"), assign("b"), assign("c")], [assign("d")]]
    model = scripted(stages, works(lambda task: STEPS[task]))
    async with open_store(folder) as store:
        await swarm(model, World().tools(), store=store).run("go", run_id=RUN)
        return await timeline(store, RUN)


async def test_each_agent_has_a_lane_with_what_it_waited_for(tmp_path: Path) -> None:
    told = await drawn(tmp_path)
    assert [lane.depth for lane in told.lanes] == [0, 1, 1, 1, 1]
    lead, *others = told.lanes
    kinds = [[span.kind for span in lane.spans].count("model") for lane in told.lanes]
    assert kinds[0] == 4
    assert sorted(kinds[1:]) == sorted(steps + 1 for steps in STEPS.values())
    assert {span.what for span in lead.spans if span.kind == "others"} == {
        "create_subagent",
        "assign_task",
    }
    assert {span.what for lane in others for span in lane.spans if span.kind == "tool"} == {"look"}


async def test_the_critical_steps_run_through_the_longest_of_each_stage(tmp_path: Path) -> None:
    told = await drawn(tmp_path)
    critical = [lane.steps for lane in told.lanes if lane.is_critical]
    assert critical == [4, 5, 1], "the orchestrator, then b of the second stage, d of the third"
    assert told.critical_steps == 4 + 5 + 1
    assert told.steps == 4 + sum(steps + 1 for steps in STEPS.values())


async def test_every_span_lies_within_its_lane_and_every_lane_within_the_whole(
    tmp_path: Path,
) -> None:
    told = await drawn(tmp_path)
    assert told.lanes[0].begin == pytest.approx(0, abs=0.01)
    for lane in told.lanes:
        assert 0 <= lane.begin <= lane.end <= told.seconds
        assert all(lane.begin <= s.begin <= s.end <= lane.end + 0.002 for s in lane.spans)


_spans = st.lists(st.tuples(st.floats(0, 10_000), st.floats(0, 100)), min_size=1, max_size=20)


@given(_spans)
def test_idle_time_is_cut_out_and_no_span_is_made_longer_or_shorter(
    times: list[tuple[float, float]],
) -> None:
    spans = [Span("model", begin, begin + length) for begin, length in times]
    begin, end = min(s.begin for s in spans), max(s.end for s in spans)
    [lane], cuts = _without_idle([Lane("r", "n", "", 0, begin, end, spans)])
    for before, after in zip(spans, lane.spans, strict=True):
        assert after.end - after.begin == pytest.approx(before.end - before.begin, abs=1e-6)
    whole = sum(length for _, length in times)
    assert lane.end <= whole + len(times) * max(2.0, whole / 10) + 1e-6, "no idle time is longer"
    assert (len(cuts) == 0) == (lane.end == pytest.approx(end - begin))
    assert lane.begin == 0
