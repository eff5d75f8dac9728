from __future__ import annotations

from pathlib import Path

import pytest

from chogori.agent import Agent
from chogori.chat import Message, RunStarted, ScriptedModel, assistant
from chogori.presets.mentions import Mentions

CUE = "Write a program."


async def told(task: str, workspace: Path | None, cue: str = CUE) -> tuple[str, str]:
    """(what the model is asked, what the run says it was asked)."""

    def answer(conversation: object) -> Message:
        return assistant("So it is.")

    model = ScriptedModel(answer)
    events = [event async for event in Mentions(Agent(model), workspace, cue).stream(task)]
    started = next(event for event in events if isinstance(event, RunStarted))
    shown = "".join(getattr(part, "text", "") for part in started.task)
    return model.asked[0].conversation[-1].text, shown


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for number in range(1, 4):
        (tmp_path / f"note_{number}.md").write_text(f"The answer of note {number}.\n")
    (tmp_path / "sales.csv").write_text("order,region\n" + "1,north\n" * 200)
    (tmp_path / "access.log").write_text('10.0.0.1 - - "GET / HTTP/1.1" 200 17\n' * 100)
    return tmp_path


async def test_a_file_that_the_task_names_is_shown_from_its_beginning(workspace: Path) -> None:
    asked, _ = await told("How many rows has sales.csv?", workspace)
    assert "sales.csv (1613 bytes) begins:\norder,region\n1,north" in asked
    assert asked.count("1,north") < 100
    assert "access.log" not in asked


async def test_a_range_of_names_shows_every_file_in_it(workspace: Path) -> None:
    asked, _ = await told("What do note_1.md to note_3.md say?", workspace)
    assert all(f"The answer of note {number}." in asked for number in (1, 2, 3))


async def test_columns_without_names_are_numbered(workspace: Path) -> None:
    asked, _ = await told("How many lines of access.log have 200?", workspace)
    assert "[6] 200" in asked


async def test_the_cue_comes_where_something_is_to_be_computed(workspace: Path) -> None:
    assert (await told("What is 17 times 3?", workspace))[0].endswith(CUE)
    assert (await told("How many rows has sales.csv?", workspace))[0].endswith(CUE)
    assert (await told("What is 17 times 3?", None))[0].endswith(CUE)


async def test_the_cue_stays_away_from_small_talk_and_from_what_is_shown_whole(
    workspace: Path,
) -> None:
    assert CUE not in (await told("Hello", workspace))[0]
    assert CUE not in (await told("What do note_1.md to note_3.md say?", workspace))[0]


async def test_the_run_tells_the_task_as_it_was_asked(workspace: Path) -> None:
    _, shown = await told("How many rows has sales.csv?", workspace)
    assert shown == "How many rows has sales.csv?"


async def test_what_lies_outside_of_the_workspace_is_not_shown(tmp_path: Path) -> None:
    inside, outside = tmp_path / "work", tmp_path / "secret.txt"
    inside.mkdir()
    outside.write_text("hidden\n")
    (inside / "link.txt").symlink_to(outside)
    for name in ("../secret.txt", "link.txt", str(outside)):
        assert "hidden" not in (await told(f"What does {name} say?", inside))[0]
