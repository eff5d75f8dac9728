"""`chogori swarm`: the command itself, with a scripted model, and how a swarm is drawn."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from cli_harness import Cli, Signal
from rich.console import Console

from chogori.apps.lanes import Lanes
from chogori.apps.terminal import Terminal
from chogori.chat import (
    Answer,
    Conversation,
    FromSubagent,
    RunStarted,
    StepStarted,
    ToolCall,
    ToolFinished,
    ToolStarted,
    content_of,
)


def assign(agent: str, prompt: str) -> dict[str, Any]:
    return {"name": "assign_task", "arguments": {"agent": agent, "prompt": prompt}}


SCRIPT = (
    {
        "match": "^Compare",
        "calls": [
            {"name": "create_subagent", "arguments": {"name": "w", "system_prompt": "Be w."}},
            *(assign("w", f"look {number}") for number in (1, 2)),
            assign("reader", "look 3"),
        ],
    },
    {"match": "^look", "calls": [{"name": "list_files", "arguments": {}}]},
    {"match": "a.txt", "content": "There is one file."},
    {"match": "^There is", "content": "All three say: one file."},
)


def test_a_task_is_done_by_a_swarm_and_shown_again_as_a_tree(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (cli.work / "a.txt").write_text("A")
    done = cli.run("swarm", "Compare the files", "--model", cli.script(*SCRIPT), "--unsafe")
    assert done.returncode == 0, done.stderr
    assert "All three say: one file." in done.stdout
    assert done.stdout.count("✓ w  2 steps  There is one file.") == 2
    assert "stage 1: 3 subagents, 3 done · 3 calls" in done.stdout
    assert "3 subagents · 8 steps in all · critical steps 4 (2.0 times) · 3 calls" in done.stdout
    shown = cli.run("runs", "show", "last")
    lines = shown.stdout.splitlines()
    tree = [line for line in lines if line.startswith(("├", "└"))]
    assert [line.split()[2:4] for line in tree] == [
        ["w", "answered"],
        ["w", "answered"],
        ["reader", "answered"],
    ]
    assert lines[-1].startswith("3 subagents · 8 steps in all · critical steps 4 (2.0 times)")
    assert cli.states() == ["answered"], "subagents are not listed among the runs"
    child = tree[0].split()[1]
    assert "There is one file." in cli.run("runs", "show", child).stdout
    assert cli.run("runs", "verify", child).returncode == 0
    report = cli.kept()[-1]["report"]
    assert (report["subagents"], report["critical_steps"]) == (3, 4)
    assert lines[-1] in done.stdout, "it is told again as it was told"


def test_a_swarm_that_is_removed_leaves_no_word_in_any_file(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (cli.work / "a.txt").write_text("A")
    script = cli.script(*SCRIPT)
    assert cli.run("swarm", "Compare the files", "--model", script, "--unsafe").returncode == 0
    assert any(b"There is one file." in content for content in cli.files().values())
    done = cli.run("runs", "rm", "last", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(" and 3 runs below it\n")
    assert not any(b"There is one file." in content for content in cli.files().values())
    assert not cli.runs(), "nor a folder"


def test_the_budget_of_the_command_is_that_of_the_whole_swarm(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (cli.work / "a.txt").write_text("A")
    told = {"match": "^What remains.* 0 of 1 calls", "content": "One of three saw a file."}
    script = cli.script(*SCRIPT, {"match": "not run", "content": "I saw nothing."}, told)
    done = cli.run("swarm", "Compare", "--model", script, "--unsafe", "--calls", "1", "--width=1")
    assert "1 call ·" in done.stdout
    assert "I saw nothing." in done.stdout
    assert "One of three saw a file." in done.stdout


STEP = "echo >> begun; read < never"


def test_all_are_paused_one_is_told_something_and_all_go_on(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    never = Signal(cli.work / "never")
    script = cli.script(
        {"match": "^Compare", "calls": [assign("coder", f"look {number}") for number in (1, 2, 3)]},
        {"match": "^look", "calls": [{"name": "shell", "arguments": {"command": STEP}}]},
        {"match": "^only the north", "content": "North."},
        {"match": "^(North|all of it)", "content": "One says north."},
        {"at": 1, "content": "all of it"},
    )
    whole = ("swarm", "--model", script, "--write", "Compare the files")
    with cli.start(*whole) as started:
        run = started.run
        while len(cli.lines("begun")) < 3:
            time.sleep(0.02)
        paused = cli.run("runs", "pause", run)
        assert f"{run} and 3 subagents stop before their next step" in paused.stderr
        never.release(3)
        code, told = started.end()
    assert code != 0
    assert f"chogori runs resume {run}" in told
    first, second, third = subagents(cli, run)
    assert {state for _, state in (first, second, third)} == {"waiting"}
    assert cli.run("runs", "steer", second[0], "only the north").returncode == 0
    done = cli.run("runs", "resume", run)
    assert done.returncode == 0, done.stderr
    assert "One says north." in done.stdout
    assert {state for _, state in subagents(cli, run)} == {"answered"}
    answers = [cli.kept(id)[-1]["text"] for id, _ in (first, second, third)]
    assert answers == ["all of it", "North.", "all of it"]
    assert len(cli.lines("begun")) == 3, "nothing is done again"
    never.close()


def subagents(cli: Cli, run: str) -> list[tuple[str, str]]:
    """The id of each, and how it stands."""
    lines = cli.run("runs", "show", run).stdout.splitlines()
    tree = [line.split() for line in lines if line.startswith(("├", "└"))]
    return [(id, state) for _, id, _, state, *_ in tree]


def lanes(width: int = 100, height: int = 30) -> Lanes:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None
    )
    return Lanes(Terminal(console), clock=lambda: 7.0)


def at_work(view: Lanes, subagents: int) -> list[str]:
    """The picture of so many at work."""
    view.show(StepStarted(2, role="orchestrator", stage=2))
    for number in range(subagents + 2):
        view.show(ToolStarted(ToolCall(f"c{number}", "assign_task", "{}"), "reconcilable"))
    for number in range(subagents):
        name, begun = f"w{number}", RunStarted(f"r-{number}", content_of("see"), "m")
        view.show(FromSubagent(f"r-{number}", name, begun))
        view.show(FromSubagent(f"r-{number}", name, StepStarted(3)))
        doing = ToolStarted(ToolCall("t", "look", '{"key": "\x1b[2J"}'), "pure")
        view.show(FromSubagent(f"r-{number}", name, doing))
    return [line.plain for line in view.picture(9.0)]


def test_a_few_lanes_are_shown_one_by_one() -> None:
    picture = at_work(lanes(), 3)
    assert picture[0] == "⋔ stage 2: 3 working · 2 waiting · 3 calls · 2 s"
    assert picture[1] == "▪▪▪··"
    assert len(picture) == 5
    assert picture[2].startswith("w0")
    assert "3 steps" in picture[2]
    assert "▸ look" in picture[2]
    assert not any("\x1b" in line for line in picture), "a tool's words move no cursor"


def test_three_hundred_lanes_fit_the_terminal() -> None:
    picture = at_work(lanes(), 298)
    assert len(picture) <= 30
    assert sum(line.count("▪") for line in picture[1:5]) == 298, "each has its mark"
    assert picture[-1].endswith("more at work")


def test_a_stage_gives_way_to_a_line_and_names_who_did_not_finish() -> None:
    view = lanes()
    at_work(view, 2)
    done = Answer("it is so", "r-0", "answer", Conversation())
    view.show(FromSubagent("r-0", "w0", done))
    told = {
        "run_id": "r-1", "name": "w1", "ended": "deadline", "why": "it did not end within 9 s",
        "prompt": "see", "steps": 3, "calls": 1, "seconds": 9.0,
        "usage": {"prompt": 0, "completion": 0},
    }  # fmt: skip
    call = ToolCall("c1", "assign_task", "{}")
    view.show(ToolFinished(call, (), False, 9.0, "reconcilable", {"subagents": [told]}))
    view.show(StepStarted(3, role="orchestrator", stage=3))
    view.close()
    assert isinstance(view.terminal.console.file, io.StringIO)
    drawn = view.terminal.console.file.getvalue()
    assert "stage 2: 2 subagents, 1 done · 2 calls" in drawn
    assert "! w1: it did not end within 9 s" in drawn
