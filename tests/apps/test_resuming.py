"""Runs that are killed, stopped, paused and gone on with, through the real command.

Where a run goes on, the script's replies that are recorded have become others, which nobody wants
to hear: whoever asked for one again would say so.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_harness import Cli, Signal

BELL = Path(__file__).with_name("mcp_bell.py")
ASKED_AGAIN = {"content": "This was asked for again."}
STUCK: Mapping[str, Any] = {
    "reasoning": "I begin to think. ",
    "content": "never",
    "delta_seconds": 600,
}
DEED = "echo done >> /work/deeds; echo > /work/signal; read < /work/never"


def python(code: str) -> dict[str, Any]:
    return {"calls": [{"name": "python", "arguments": {"code": code}}]}


def shell(command: str) -> dict[str, Any]:
    return {"calls": [{"name": "shell", "arguments": {"command": command}}]}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def signal(cli: Cli) -> Iterator[Signal]:
    """Pipes in the workspace: for a program to say that it came so far, and to stay there."""
    made, never = Signal(cli.work / "signal"), Signal(cli.work / "never")
    yield made
    made.close()
    never.close()


def outputs(told: list[dict[str, Any]]) -> list[str]:
    """What the calls of a run brought."""
    ended = [event for event in told if event["type"] == "tool_finished"]
    return ["".join(part["text"] for part in event["content"]) for event in ended]


def deeds(cli: Cli) -> list[str]:
    return (cli.work / "deeds").read_text().split()


def test_a_run_killed_in_the_middle_of_a_reply_comes_to_the_end_it_would_have_come_to(
    cli: Cli,
) -> None:
    first, last = shell("echo done >> /work/deeds; cat deeds"), {"content": "It is done."}
    whole = cli.told("ask", "--json", "--write", "--model", cli.script(first, last), "Do it.")
    (cli.work / "deeds").unlink()
    spec = cli.script(first, STUCK)
    with cli.start("ask", "--write", "--model", spec, "Do it.") as started:
        started.until("reasoning_delta")
        time.sleep(1)  # by then what came before the reply is on the disk
        started.kill()
    assert cli.states() == ["unfinished", "answered"]
    before = cli.kept()
    cli.script(ASKED_AGAIN, last)
    told = cli.told("runs", "resume", started.run[:18], "--json")
    assert told[0]["type"] == "resumed"
    assert (told[0]["step"], told[0]["events"]) == (2, len(before))
    assert told[-1]["text"] == "It is done."
    assert deeds(cli) == ["done"], "nothing is done twice"
    kept = cli.kept(started.run)
    assert kept[: len(before)] == before
    assert [event["type"] for event in kept] == [
        event["type"] for event in whole if not event["type"].endswith(("delta", "finished"))
        or event["type"] in ("reply_finished", "tool_finished")
    ]  # fmt: skip
    assert {event["sequence"]: event for event in told if event in kept} == {
        event["sequence"]: event for event in kept[len(before) :]
    }, "a number means the same event for whoever looked on and for whoever looks later"


def test_a_call_that_was_under_way_when_the_run_was_killed_is_not_made_again(
    cli: Cli, signal: Signal
) -> None:
    spec = cli.script(shell(DEED))
    with cli.start("ask", "--write", "--model", spec, "Do it.") as started:
        started.until("tool_started")
        signal.wait()
        started.kill()
    cli.script(ASKED_AGAIN, {"match": "unknown", "content": "I will look."})
    told = cli.told("runs", "resume", "last", "--json")
    assert told[-1]["text"] == "I will look."
    (output,) = outputs(told)
    assert "whether it took effect is unknown, and it was not repeated" in output
    assert deeds(cli) == ["done"]
    assert "? shell" in cli.run("runs", "show", "last").stdout


def test_ctrl_c_in_a_reply_ends_ask_with_130_and_the_line_that_goes_on(cli: Cli) -> None:
    spec = cli.script(python("print(6 * 7)"), STUCK)
    with cli.on_terminal("ask", "--model", spec, "Well?") as terminal:
        terminal.until("I begin to think.")
        terminal.type("\x03")
        assert terminal.end() == 130
    (run,) = cli.runs()
    line = f"chogori runs resume {run}"
    assert terminal.screen.rstrip().splitlines()[-1] == f"it goes on with: {line}"
    assert cli.states() == ["stopped"]
    shown = cli.run("runs", "show", "last")
    assert "42" in shown.stdout
    assert "Cancelled" in shown.stderr
    cli.script(ASKED_AGAIN, {"content": "It is 42."})
    done = cli.run(*shlex.split(line)[1:], "-q")
    assert (done.returncode, done.stdout) == (0, "It is 42.\n")
    assert cli.states() == ["answered"]


def test_ctrl_c_in_a_call_ends_it_and_the_run_goes_on_without_repeating_it(
    cli: Cli, signal: Signal
) -> None:
    with cli.on_terminal("ask", "--write", "--model", cli.script(shell(DEED)), "Do.") as terminal:
        signal.wait()
        terminal.type("\x03")
        assert terminal.end() == 130
    cli.script(ASKED_AGAIN, {"match": "unknown", "content": "I will look."})
    assert cli.run("runs", "resume", "last", "-q").stdout == "I will look.\n"
    assert deeds(cli) == ["done"]


def test_what_python_remembered_is_there_again(cli: Cli) -> None:
    with cli.start("ask", "--model", cli.script(python("x = 41"), STUCK), "Go.") as started:
        started.until("reasoning_delta")
        time.sleep(1)  # by then what came before the reply is on the disk
        started.kill()
    cli.script(ASKED_AGAIN, python("print(x + 1)"), {"content": "Done."})
    told = cli.told("runs", "resume", "last", "--json")
    assert outputs(told)[0].splitlines()[0] == "42"


def test_where_what_python_remembered_is_lost_the_model_is_told(cli: Cli) -> None:
    first = python("x = 41; open('/out/seen', 'a').write('x')")
    with cli.start("ask", "--model", cli.script(first, STUCK), "Go.") as started:
        started.until("reasoning_delta")
        time.sleep(1)  # by then what came before the reply is on the disk
        started.kill()
    cli.script(ASKED_AGAIN, python("print('x' in globals())"), {"content": "Done."})
    told = cli.told("runs", "resume", "last", "--json")
    assert outputs(told)[0].startswith("False\n")
    assert "lost" in outputs(told)[0]
    seen = cli.data / "runs" / started.run / "out" / "seen"
    assert seen.read_text() == "x", "a cell that changed a file is not run again"


def test_two_processes_cannot_drive_one_run(cli: Cli) -> None:
    with cli.start("ask", "--model", cli.script(STUCK), "Well?") as started:
        started.until("reasoning_delta")
        assert cli.states() == ["running"]
        before = cli.kept()
        for command in (["resume"], ["reward"], ["rm", "--yes"], ["redact", "--event", "0"]):
            value = ["1"] if command == ["reward"] else []
            done = cli.run("runs", command[0], "last", *value, *command[1:])
            assert done.returncode == 1, command
            assert f"run {started.run} is driven by process" in done.stderr
        assert cli.kept() == before
    assert cli.states() == ["unfinished"]


def test_a_run_is_paused_from_elsewhere_and_goes_on(cli: Cli, signal: Signal) -> None:
    spec = cli.script(shell("echo > signal; read < never"), {"content": "Done."})
    with cli.start("ask", "--write", "--model", spec, "Go.") as started:
        signal.wait()
        assert cli.run("runs", "pause", "last").returncode == 0
        (cli.work / "never").write_text("on\n")
        code, said = started.end()
    assert code == 1
    assert said.splitlines() == [
        f"error: the run was paused; it goes on with: chogori runs resume {started.run}"
    ]
    assert started.told[-1]["reason"] == "person"
    assert cli.states() == ["waiting"]
    assert cli.run("runs", "resume", "last", "-q").stdout == "Done.\n"


def test_what_is_said_to_a_run_under_way_is_heard_at_the_next_step(
    cli: Cli, signal: Signal
) -> None:
    spec = cli.script(
        shell("echo > signal; read < never"), {"match": "in German", "content": "Fertig."}
    )
    with cli.start("ask", "--write", "--model", spec, "Go.") as started:
        signal.wait()
        done = cli.run("runs", "steer", "last", "Answer in German.")
        assert done.stderr == f"{started.run} is told before its next step\n"
        (cli.work / "never").write_text("on\n")
        code, _ = started.end()
    assert code == 0
    assert started.told[-1]["text"] == "Fertig."
    assert "» Answer in German." in cli.run("runs", "show", "last").stdout


def test_an_answered_run_goes_on_with_a_message(cli: Cli) -> None:
    spec = cli.script({"content": "One."}, {"match": "And\\?", "content": "Two."})
    cli.run("ask", "-q", "--model", spec, "Well?")
    assert cli.run("runs", "resume", "last", "-q").stdout == "One.\n", "without one, its answer"
    assert cli.run("runs", "resume", "last", "-q", "And?").stdout == "Two.\n"
    assert [e["type"] for e in cli.kept()].count("answer") == 2


def test_a_run_goes_on_from_any_folder(cli: Cli, tmp_path: Path) -> None:
    cli.script({"content": "One."}, {"content": "Two."})
    cli.run("ask", "-q", "--model", "scripted:../script.jsonl", "Well?")
    work, cli.work = cli.work, tmp_path / "elsewhere"
    cli.work.mkdir()
    assert cli.run("runs", "resume", "last", "-q", "And?").stdout == "Two.\n"
    assert cli.kept()[0]["agent"]["made_by"]["workspace"] == str(work)


def test_a_chat_takes_a_run_over(cli: Cli) -> None:
    spec = cli.script({"content": "One."}, {"content": "Two."}, {"content": "Three."})
    cli.run("ask", "-q", "--model", spec, "--steps", "7", "Well?")
    done = cli.run("chat", "-q", "--run", "last", stdin=b"And?\nAnd then?\n")
    assert (done.returncode, done.stdout) == (0, "Two.\nThree.\n"), done.stderr
    assert len(cli.runs()) == 1


def test_a_chat_goes_on_with_the_run_it_took_over_after_a_turn_that_failed(cli: Cli) -> None:
    spec = cli.script({"content": "One."}, {"match": "second", "content": "Three."})
    cli.run("ask", "-q", "--model", spec, "Well?")
    done = cli.run("chat", "-q", "--run", "last", stdin=b"first\nsecond\n")
    assert "the script has no reply" in done.stderr
    assert done.stdout == "Three.\n"
    assert len(cli.runs()) == 1


RING = {"calls": [{"name": "ring", "arguments": {"times": 1}, "id": "c1"}]}


@pytest.mark.parametrize(("word", "rings"), [("approve", 1), ("refuse", 0)])
def test_a_call_that_waits_is_decided_by_another_process_after_the_first_was_killed(
    cli: Cli, word: str, rings: int
) -> None:
    rung = cli.work.parent / "rung"
    command = f"{sys.executable} {BELL} {rung}"
    spec = cli.script(RING, {"content": "Done."})
    with cli.on_terminal("ask", "--mcp", command, "--model", spec, "Ring.") as terminal:
        terminal.until("allow ring? [y/N] ")
    assert cli.states() == ["waiting"], "it was killed, and still it waits"
    assert not rung.exists()
    done = cli.run("runs", word, "last", "c9")
    assert done.returncode == 1
    assert "has no call 'c9' to decide about; it waits for: c1" in done.stderr
    assert cli.run("runs", word, "last").returncode == 0
    assert not rung.exists(), "it is done when the run goes on"
    cli.script(ASKED_AGAIN, {"content": "Done."})
    assert cli.run("runs", "resume", "last", "-q").stdout == "Done.\n"
    assert (len(rung.read_text().split()) if rung.exists() else 0) == rings
    later = cli.run("runs", word, "last")
    assert later.returncode == 1
    assert "waits for no approval" in later.stderr


def test_of_two_calls_that_wait_one_may_be_decided_before_the_other(cli: Cli) -> None:
    rung = cli.work.parent / "rung"
    command = f"{sys.executable} {BELL} {rung}"
    calls = [{"name": "ring", "arguments": {"times": n}, "id": f"c{n}"} for n in (1, 2)]
    spec = cli.script({"calls": calls}, {"content": "Done."})
    with cli.on_terminal("ask", "--mcp", command, "--model", spec, "Ring.") as terminal:
        terminal.until("allow ring? [y/N] ")
    assert cli.run("runs", "approve", "last", "c2").returncode == 0
    cli.script(ASKED_AGAIN, {"content": "Done."})
    assert cli.run("runs", "resume", "last", "-q").stdout == "Done.\n"
    assert rung.read_text() == "ding\nding\n", "the other was refused: nobody was there to ask"


def test_ctrl_c_at_the_question_leaves_the_call_waiting_for_whoever_resumes(cli: Cli) -> None:
    rung = cli.work.parent / "rung"
    command = f"{sys.executable} {BELL} {rung}"
    spec = cli.script(RING, {"content": "Done."})
    with cli.on_terminal("ask", "--mcp", command, "--model", spec, "Ring.") as terminal:
        terminal.until("allow ring? [y/N] ")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert cli.states() == ["waiting"]
    assert not rung.exists()
    with cli.on_terminal("runs", "resume", "last") as terminal:
        terminal.until("allow ring? [y/N] ")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert rung.read_text() == "ding\n"
    assert cli.states() == ["answered"]
