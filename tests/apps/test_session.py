"""Turns that end badly, and what is kept of them. No process, no sandbox: a script and an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from chogori.agent import Agent, kept
from chogori.agent.run import Run, Start
from chogori.agent.verbs import Verbs
from chogori.apps.failures import told
from chogori.apps.session import Crashed, Paused, Session, read_context
from chogori.apps.settings import Settings
from chogori.chat import (
    Delta,
    Event,
    Finished,
    ModelLoaded,
    Profile,
    Reply,
    Resumed,
    ScriptedModel,
    TextDelta,
    ToolCall,
    Waiting,
    assistant,
    tool,
)
from chogori.errors import ConfigError, StreamCut
from chogori.store import Store, open_store

SLOW = Reply(message=assistant("x"), match="stop", delay_seconds=9e9)


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


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "data") as opened:
        yield opened


def session(store: Any, verbs: Verbs, person: Any = nobody) -> tuple[Session, Seen]:
    view, settings = Seen(), Settings(data=store.path.parent)
    return Session(verbs, settings, view, person, Profile(name="scripted")), view


async def kept_of(store: Store) -> list[tuple[int, Event]]:
    events = kept.events(store, await kept.find(store, "last"))
    return [event async for event in events if isinstance(event, tuple)]


async def test_turns_of_a_chat_are_one_run_with_running_numbers(store: Store) -> None:
    talk, view = session(store, Agent(ScriptedModel(["One.", "Two.", "One."]), store=store))
    one, two = await talk.turn("first"), await talk.turn("second")
    assert (one.text, two.text) == ("One.", "Two.")
    assert one.run_id == two.run_id
    told = [(number, type(event)) for number, event in view.events if not is_streamed(event)]
    assert told == [(number, type(event)) for number, event in await kept_of(store)]
    assert [number for number, _ in told] == list(range(len(told)))
    talk.begin_anew()
    assert (await talk.turn("first")).run_id != one.run_id


def is_streamed(event: Event) -> bool:
    return isinstance(event, Delta)


async def test_what_was_done_is_kept_when_the_stream_is_cut(store: Store) -> None:
    call = ToolCall("c1", "send", '{"text": "hi"}')
    cut = Reply(message=assistant("one two three four"), fault="cut")
    model = ScriptedModel([assistant(calls=[call]), cut])
    talk, view = session(store, Agent(model, [send], store=store), somebody)
    with pytest.raises(StreamCut) as caught:
        await talk.turn("Well?")
    id = await kept.find(store, "last")
    assert caught.value.__notes__ == [
        f"what came before is kept: chogori runs show {id}; "
        f"it goes on with: chogori runs resume {id}"
    ]
    assert view.was_stopped
    assert not any(is_streamed(event) for _, event in await kept_of(store))
    assert "cut" in await kept.why_stopped(store, id)


async def test_after_a_stopped_turn_the_conversation_goes_on_from_the_last_answer(
    store: Store,
) -> None:
    model = ScriptedModel(["One.", SLOW, Reply(message=assistant("Two."), match="second")])
    talk, _ = session(store, Agent(model, store=store))
    await talk.turn("first")
    await stop(talk.turn("stop"), lambda: len(model.asked) == 2)
    assert (await talk.turn("second")).text == "Two."
    assert [m.text for m in model.asked[-1].conversation] == ["first", "One.", "second"]


async def stop(turn: Any, when: Callable[[], bool]) -> None:
    """Ctrl-C, as soon as something is so."""
    task = asyncio.create_task(turn)
    while not when():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert "it goes on with: chogori runs resume" in caught.value.__notes__[0]


async def test_a_run_that_was_stopped_goes_on_under_the_numbers_it_would_have_had(
    store: Store,
) -> None:
    slow, quick = ScriptedModel([SLOW]), ScriptedModel(["Done."])
    talk, _ = session(store, Agent(slow, store=store))
    await stop(talk.turn("stop"), lambda: bool(slow.asked))
    again, view = session(store, Agent(quick, store=store))
    answer = await again.resume(await kept.find(store, "last"))
    assert answer.text == "Done."
    (number, resumed), *told = view.events
    assert isinstance(resumed, Resumed)
    assert number == 1, "that of the event before it: the beginning of the step"
    assert [n for n, event in told if not is_streamed(event)] == [2, 3]
    assert [n for n, _ in await kept_of(store)] == [0, 1, 2, 3]


async def test_a_session_takes_over_an_answered_run_and_one_that_was_stopped(store: Store) -> None:
    slow = ScriptedModel(["One.", SLOW])
    talk, _ = session(store, Agent(slow, store=store))
    answered = (await talk.turn("first")).run_id
    model = ScriptedModel(["One.", SLOW, Reply(message=assistant("Two."), match="second")])
    other, view = session(store, Agent(model, store=store))
    await other.take_over(answered)
    assert view.events == [], "what was told before is not told again"
    await stop(other.turn("stop"), lambda: bool(model.asked))
    assert (await other.turn("second")).text == "Two."
    assert [m.text for m in model.asked[-1].conversation] == ["first", "One.", "second"]
    talk.begin_anew()
    await stop(talk.turn("stop"), lambda: len(slow.asked) == 2)
    stopped = await kept.find(store, "last")
    quick, _ = session(store, Agent(ScriptedModel(["Done.", "Hurried."]), store=store))
    await quick.take_over(stopped)
    end = await quick.turn("Hurry.")
    assert (end.run_id, end.text) == (stopped, "Hurried."), "it heard that before it answered"


@pytest.mark.parametrize(("person", "told"), [(somebody, "sent hi"), (nobody, "refused")])
async def test_a_call_that_needs_a_yes_is_put_to_the_person(
    store: Store, person: Any, told: str
) -> None:
    call = ToolCall("c1", "send", '{"text": "hi"}')
    model = ScriptedModel([assistant(calls=[call]), "Done."])
    talk, view = session(store, Agent(model, [send], store=store), person)
    assert (await talk.turn("Write.")).text == "Done."
    assert told in model.asked[-1].conversation[-1].text
    assert [type(event) for _, event in view.events].count(Waiting) == 1


async def test_a_paused_run_is_told_in_a_line_and_goes_on(store: Store) -> None:
    call = ToolCall("c1", "send", '{"text": "hi"}')
    model = ScriptedModel([assistant(calls=[call]), "Done."])
    talk, _ = session(store, Agent(model, [send], store=store), pausing(store))
    with pytest.raises(Paused, match="chogori runs resume"):
        await talk.turn("Write.")
    again, _ = session(store, Agent(model, [send], store=store))
    assert (await again.resume(await kept.find(store, "last"))).text == "Done."


def pausing(store: Store) -> Any:
    """Somebody who says yes, and pauses the run from elsewhere before."""

    async def person(call: ToolCall) -> bool:
        await kept.pause(store, await kept.find(store, "last"))
        return True

    return person


async def test_how_long_the_model_loaded_is_told_once(store: Store) -> None:
    loaded = assistant("One.")
    model = ScriptedModel(lambda conversation: loaded)
    loaded.extra["load_seconds"] = 1.5  # pyright: ignore[reportIndexIssue]
    talk, view = session(store, Agent(model, store=store))
    await talk.turn("a")
    await talk.turn("b")
    events = [event for _, event in view.events]
    assert [e for e in events if isinstance(e, ModelLoaded)] == [ModelLoaded("scripted", 1.5)]
    assert len([e for e in events if isinstance(e, Finished)]) == 2
    kept_numbers = [number for number, _ in await kept_of(store)]
    assert kept_numbers == sorted({number for number, _ in view.events}), "it takes no number"


class Broken(Verbs):
    """An agent with a bug."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def kept_in(self) -> Store:
        return self.store

    def describe(self) -> dict[str, Any]:
        return {}

    async def drive(self, start: Start, run: Run, branch: str = "") -> AsyncIterator[Event]:
        yield TextDelta("half")
        raise ZeroDivisionError("a bug")


async def test_a_bug_is_told_in_a_line_with_the_run_and_where_its_traceback_is(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    talk, view = session(store, Broken(store))
    with pytest.raises(Crashed) as caught:
        await talk.turn("Well?")
    assert "Traceback" in caught.value.path.read_text()
    assert view.events == [(0, TextDelta("half"))]
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


def test_a_context_is_a_policy_and_perhaps_a_length() -> None:
    assert read_context("summary:9000").tokens == 9_000
    assert read_context("none").policy == "none"
    for wrong in ("summary:many", "nope", "summary:-1"):
        with pytest.raises(ConfigError):
            read_context(wrong)


@pytest.mark.parametrize("question", ["", " \n", "x" * 10_000_000])
async def test_a_turn_that_cannot_be_asked_begins_no_run(store: Store, question: str) -> None:
    talk, _ = session(store, Agent(ScriptedModel(["One."]), store=store))
    with pytest.raises(ConfigError, match="the question"):
        await talk.turn(question)
    assert await kept.newest(store, 9) == []
