"""Turns that end badly, and what is kept of them. No process, no sandbox: a script and an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chogori.agent import Agent
from chogori.agent.agent import Task, Verbs
from chogori.apps.failures import told
from chogori.apps.runs import Runs
from chogori.apps.session import Crashed, Session
from chogori.chat import (
    Answer,
    Event,
    Finished,
    ModelLoaded,
    Profile,
    Reply,
    ScriptedModel,
    TextDelta,
    ToolCall,
    Waiting,
    assistant,
    tool,
)
from chogori.errors import ConfigError, StreamCut


class Seen:
    """A view that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[int, Event]] = []
        self.was_stopped = False

    def show(self, event: Event, sequence: int) -> None:
        self.events.append((sequence, event))

    def stopped(self) -> None:
        self.was_stopped = True

    def close(self) -> None:
        pass


async def nobody(call: ToolCall) -> bool:
    return False


async def somebody(call: ToolCall) -> bool:
    return True


@tool(effect="once")
def send(text: str) -> str:
    """Send a letter."""
    return f"sent {text}"


def session(tmp_path: Path, verbs: Verbs, person: Any = nobody) -> tuple[Session, Seen]:
    view = Seen()
    return Session(verbs, tmp_path / "runs", view, person, Profile(name="scripted")), view


def kept(tmp_path: Path) -> list[Event]:
    runs = Runs(tmp_path / "runs")
    lines = list(runs.events(runs.find("last")))
    return [line[1] for line in lines if not isinstance(line, ConfigError)]


async def test_turns_of_a_chat_are_one_run_with_running_numbers(tmp_path: Path) -> None:
    talk, view = session(tmp_path, Agent(ScriptedModel(["One.", "Two.", "One."])))
    one, two = await talk.turn("first"), await talk.turn("second")
    assert (one.text, two.text) == ("One.", "Two.")
    assert one.run_id == two.run_id
    assert [number for number, _ in view.events] == list(range(len(view.events)))
    assert len([event for event in kept(tmp_path) if isinstance(event, Answer)]) == 2
    talk.begin_anew()
    assert (await talk.turn("first")).run_id != one.run_id


async def test_what_had_streamed_is_kept_when_the_stream_is_cut(tmp_path: Path) -> None:
    reply = Reply(message=assistant("one two three four"), fault="cut")
    talk, view = session(tmp_path, Agent(ScriptedModel([reply])))
    with pytest.raises(StreamCut) as caught:
        await talk.turn("Well?")
    assert any("chogori runs show" in note for note in caught.value.__notes__)
    assert TextDelta("one two ") in kept(tmp_path)
    assert view.was_stopped
    assert "cut" in Runs(tmp_path / "runs").error(Runs(tmp_path / "runs").find("last"))


async def test_after_a_stopped_turn_the_conversation_goes_on_from_the_last_answer(
    tmp_path: Path,
) -> None:
    script = [
        assistant("One."),
        Reply(message=assistant("x"), at=1, match="stop", delay_seconds=9e9),
    ]
    model = ScriptedModel([*script, Reply(message=assistant("Two."), match="second")])
    talk, _ = session(tmp_path, Agent(model))
    await talk.turn("first")
    turn = asyncio.create_task(talk.turn("stop"))
    while len(model.asked) < 2:
        await asyncio.sleep(0)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert (await talk.turn("second")).text == "Two."
    said = [message.text for message in model.asked[-1].conversation]
    assert said == ["first", "One.", "second"]


@pytest.mark.parametrize(("person", "told"), [(somebody, "sent hi"), (nobody, "refused")])
async def test_a_call_that_needs_a_yes_is_put_to_the_person(
    tmp_path: Path, person: Any, told: str
) -> None:
    call = ToolCall("c1", "send", '{"text": "hi"}')
    model = ScriptedModel([assistant(calls=[call]), "Done."])
    talk, view = session(tmp_path, Agent(model, [send]), person)
    assert (await talk.turn("Write.")).text == "Done."
    assert told in model.asked[-1].conversation[-1].text
    assert [type(event) for _, event in view.events].count(Waiting) == 1


async def test_how_long_the_model_loaded_is_told_once(tmp_path: Path) -> None:
    loaded = assistant("One.")
    model = ScriptedModel(lambda conversation: loaded)
    loaded.extra["load_seconds"] = 1.5  # pyright: ignore[reportIndexIssue]
    talk, view = session(tmp_path, Agent(model))
    await talk.turn("a")
    await talk.turn("b")
    events = [event for _, event in view.events]
    assert [e for e in events if isinstance(e, ModelLoaded)] == [ModelLoaded("scripted", 1.5)]
    assert len([e for e in events if isinstance(e, Finished)]) == 2


class Broken(Verbs):
    """An agent with a bug."""

    def stream(self, task: Task, *, run_id: str | None = None) -> AsyncIterator[Event]:
        return self._fail()

    def continue_(
        self,
        leg: Answer | Waiting,
        message: Task | None = None,
        *,
        approve: Mapping[str, bool] | None = None,
        results: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Event]:
        return self._fail()

    async def _fail(self) -> AsyncIterator[Event]:
        yield TextDelta("half")
        raise ZeroDivisionError("a bug")


async def test_a_bug_is_told_in_a_line_with_the_run_and_where_its_traceback_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk, _ = session(tmp_path, Broken())
    with pytest.raises(Crashed) as caught:
        await talk.turn("Well?")
    assert "Traceback" in caught.value.path.read_text()
    assert kept(tmp_path) == [TextDelta("half")]
    with pytest.raises(SystemExit) as ended, told(tmp_path):
        raise caught.value
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"run {caught.value.run_id} failed unexpectedly (ZeroDivisionError: a bug)" in said
    assert str(caught.value.path) in said


def test_a_bug_outside_a_run_has_its_traceback_in_a_file_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), told(tmp_path):
        raise ZeroDivisionError("a bug")
    said = capsys.readouterr().err
    (path,) = (tmp_path / "failures").iterdir()
    assert said.count("\n") == 1
    assert str(path) in said
    assert "Traceback" in path.read_text()
