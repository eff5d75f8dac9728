"""Runs that are kept: listed, branched, replayed, checked, deleted. Through the real command."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cli_harness import Cli

SECRET = "swordfish-7f3a"
READING = "tee /out/log < /work/notes"
LOOK = {"calls": [{"name": "shell", "arguments": {"command": READING}}]}
DONE = {"content": "It is done."}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    (made.work / "notes").write_text(f"the word is {SECRET}\n")
    return made


def asked(cli: Cli, *options: str) -> str:
    """The id of a run of two steps."""
    cli.run("ask", "-q", *options, "--model", cli.script(LOOK, DONE), "What is the word?")
    return cli.kept()[0]["run_id"]


def tampered(cli: Cli, statement: str) -> None:
    with closing(sqlite3.connect(cli.data / "chogori.db")) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


def holding(cli: Cli, text: str) -> list[str]:
    """The files of the data folder that hold `text`."""
    return [name for name, data in cli.files().items() if text.encode() in data]


def test_the_list_says_how_each_run_stands(cli: Cli) -> None:
    assert cli.run("runs", "list").stderr == f"no runs are kept in {cli.data}\n"
    asked(cli)
    asked(cli, "--steps", "1")
    cli.run("ask", "--model", cli.script({"content": "a b c", "fault": "fail"}), "Well?")
    assert cli.states() == ["stopped", "budget", "answered"]
    lines = cli.run("runs", "list", "-n", "1").stdout.splitlines()
    assert lines[0].split() == ["ID", "MODEL", "STATE", "STEPS", "SECONDS", "QUESTION"]
    assert len(lines) == 2


def test_a_question_is_cut_and_made_harmless_in_the_list(cli: Cli) -> None:
    cli.run("ask", "-q", "--model", cli.script(DONE), "a\nb\x1b[31m " + "c" * 100)
    line = cli.run("runs", "list").stdout.splitlines()[1]
    assert "a b" in line
    assert line.endswith("c…")
    assert "\x1b" not in line


def test_a_run_is_found_by_its_beginning_if_that_is_of_one_alone(cli: Cli) -> None:
    one, two = asked(cli), asked(cli)
    assert cli.kept(one)[0]["run_id"] == one
    done = cli.run("runs", "show", "2")
    assert done.returncode == 1
    assert f"'2' begins 2 runs: {two}, {one}" in done.stderr


def test_a_fork_has_done_the_same_and_goes_on_in_its_own_way(cli: Cli) -> None:
    first = asked(cli)
    cli.script({"content": "asked again"}, {"match": "in German", "content": "Fertig."})
    done = cli.run("runs", "fork", first, "--at", "1", "--json", "Say it in German.")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    fork = told[0]["run_id"]
    assert fork != first
    assert told[-1]["text"] == "Fertig."
    assert f"{fork} goes on from step 1 of {first}. Its /out is a copy" in done.stderr
    assert not [event for event in told if event["type"] == "tool_started"], "nothing done again"
    copied = cli.data / "runs" / fork / "out" / "log"
    assert copied.read_text() == (cli.data / "runs" / first / "out" / "log").read_text()
    assert cli.states() == ["answered", "answered"]
    for run in (first, fork):
        assert cli.run("runs", "verify", run).returncode == 0
        assert cli.run("runs", "replay", run).returncode == 0


def test_a_fork_before_the_first_step_does_everything_itself(cli: Cli) -> None:
    first = asked(cli)
    done = cli.run("runs", "fork", first, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in told].count("tool_finished") == 1
    assert told[-1]["text"] == "It is done."


def test_a_fork_at_a_step_that_there_is_not_is_refused(cli: Cli) -> None:
    first = asked(cli)
    done = cli.run("runs", "fork", first, "--at", "3")
    assert done.returncode == 1
    assert f"{first} has 2 steps; fork it at one of them, or at 0" in done.stderr
    assert len(cli.states()) == 1


def test_what_cannot_be_copied_does_not_keep_a_run_from_being_forked(cli: Cli) -> None:
    command = "mkfifo /out/pipe; ln -s /etc/hostname /out/link; mkdir /out/a; touch /out/a/b"
    call = {"calls": [{"name": "shell", "arguments": {"command": command}}]}
    cli.run("ask", "-q", "--model", cli.script(call, DONE), "Go.")
    done = cli.run("runs", "fork", "last", "--at", "1", "-q")
    assert (done.returncode, done.stdout) == (0, "It is done.\n"), done.stderr
    out = cli.data / "runs" / done.stderr.split()[0] / "out"
    assert (out / "a" / "b").exists()
    assert (out / "link").is_symlink(), "what a link leads to is not copied"
    assert not (out / "pipe").exists()


def test_a_replay_counts_the_requests_that_would_be_the_same(cli: Cli) -> None:
    run = asked(cli)
    before = cli.files()
    assert cli.run("runs", "replay", "last").stdout == (
        f"{run}: 2 requests would be the same again, 0 of them byte for byte; 8 events\n"
    )
    (told,) = cli.told("runs", "replay", "last", "--json")
    assert told == {"run": run, "requests": 2, "same_bytes": 0, "events": 8, "is_whole": True}
    assert cli.files() == before, "a replay changes nothing"


def test_a_replay_needs_neither_the_model_nor_the_files(cli: Cli) -> None:
    asked(cli)
    (cli.work.parent / "script.jsonl").unlink()
    (cli.work / "notes").unlink()
    assert cli.run("runs", "replay", "last").returncode == 0


def test_a_replay_finds_an_agent_that_has_changed(cli: Cli) -> None:
    server = cli.work.parent / "server.py"
    source = Path(__file__).with_name("mcp_bell.py").read_text()
    server.write_text(source)
    command = f"{sys.executable} {server} {cli.work.parent / 'rung'}"
    cli.run("ask", "-q", "--mcp", command, "--model", cli.script(DONE), "Ring.")
    assert cli.run("runs", "replay", "last").returncode == 0
    server.write_text(source.replace("Ring the bell.", "Ring it."))
    done = cli.run("runs", "replay", "last")
    assert done.returncode == 1
    assert "would not be the same now" in done.stderr
    done = cli.run("runs", "resume", "last", "And?")
    assert done.returncode == 1
    assert "the tool 'ring' changed its description" in done.stderr
    assert "--accept-changes" in done.stderr


def test_export_writes_what_show_shows(cli: Cli) -> None:
    asked(cli)
    lines = cli.run("runs", "export", "last").stdout
    assert [json.loads(line) for line in lines.splitlines()] == cli.kept()
    text = cli.run("runs", "export", "last", "--format", "markdown").stdout
    for expected in ("# Run ", "> What is the word?", "## Step 2", SECRET, "## Answer"):
        assert expected in text
    assert text.index("## Step 1") < text.index("## Step 2") < text.index("## Answer")


def test_records_are_verified_and_a_noted_head_with_them(cli: Cli) -> None:
    asked(cli)
    done = cli.run("runs", "verify", "last")
    assert done.returncode == 0
    first, head = done.stdout.splitlines()
    assert "is as it was written: " in first
    noted = head.removeprefix("head ")
    cli.run("runs", "resume", "last", "-q", "again")
    assert cli.run("runs", "verify", "last", "--head", noted).returncode == 0, "it has grown"
    done = cli.run("runs", "verify", "last", "--head", "0" * 64)
    assert done.returncode == 1
    assert "no entry has the head that was noted" in done.stderr


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("update entries set body = replace(body, '1', '2') where sequence = 3", "entry 3 is not"),
        ("delete from entries where sequence = 4", "entry 4 is missing"),
        ("delete from entries where sequence >= 6", "entry 6 is missing: the log was sealed with"),
        (
            "update blobs set content = x'7b7d' where instr(content, cast('swordfish' as blob))",
            "content of entry",
        ),
    ],
)
def test_what_was_tampered_with_is_named_and_not_gone_on_with(
    cli: Cli, statement: str, words: str
) -> None:
    run = asked(cli)
    tampered(cli, statement)
    done = cli.run("runs", "verify", "last")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{run} is not as it was written: {words}" in done.stderr
    before = cli.files()
    for command in (["replay", run], ["resume", run, "And?"]):
        done = cli.run("runs", *command)
        assert done.returncode == 1
        assert f"the run {run} was changed after it was written" in done.stderr
    assert cli.files() == before


def test_what_one_event_said_is_deleted_from_every_file_and_the_rest_stays(cli: Cli) -> None:
    run = asked(cli)
    (cli.data / "runs" / run / "out" / "log").unlink()
    number = next(event["sequence"] for event in cli.kept() if event["type"] == "tool_finished")
    assert holding(cli, SECRET) == ["chogori.db"]
    done = cli.run("runs", "redact", "last", "--event", str(number))
    assert done.returncode == 0, done.stderr
    assert holding(cli, SECRET) == []
    verified = cli.run("runs", "verify", "last")
    assert verified.returncode == 0
    assert "2 were deleted by somebody who may" in verified.stdout
    shown = cli.run("runs", "show", "last")
    assert "It is done." in shown.stdout
    assert "was redacted" in shown.stderr
    done = cli.run("runs", "resume", "last", "And?")
    assert done.returncode == 1
    assert "was redacted" in done.stderr
    done = cli.run("runs", "fork", "last", "--at", "1")
    assert done.returncode == 1
    assert f"something that was said in {run} was deleted, so it can no longer be forked" in (
        done.stderr
    )
    done = cli.run("runs", "redact", "last", "--event", "1")
    assert done.returncode == 1
    assert "(step_started) holds no words to delete" in done.stderr
    done = cli.run("runs", "redact", "last", "--event", "99")
    assert done.returncode == 1
    assert f"{run} has no event 99; it has 8, from 0" in done.stderr


def test_a_run_is_shown_though_what_made_its_calls_was_deleted(cli: Cli) -> None:
    asked(cli)
    number = next(event["sequence"] for event in cli.kept() if event["type"] == "reply_finished")
    assert cli.run("runs", "redact", "last", "--event", str(number)).returncode == 0
    shown = cli.run("runs", "show", "last")
    assert "It is done." in shown.stdout
    assert "shell" in shown.stdout
    assert "unexpectedly" not in shown.stderr
    exported = cli.run("runs", "export", "last", "--format", "markdown")
    assert "It is done." in exported.stdout


def test_what_was_deleted_by_somebody_else_is_found(cli: Cli) -> None:
    asked(cli)
    tampered(cli, "update blobs set content = null, nonce = null where rowid = 3")
    done = cli.run("runs", "verify", "last")
    assert done.returncode == 1
    assert "was deleted, and no record says so" in done.stderr


def test_a_damaged_run_hides_no_other(cli: Cli) -> None:
    asked(cli)
    asked(cli)
    tampered(cli, "delete from blobs where log = 1")
    assert cli.states() == ["answered", "damaged"]


def test_what_was_tampered_with_is_not_forked(cli: Cli) -> None:
    asked(cli)
    tampered(cli, "update entries set body = replace(body, '1', '2') where sequence = 3")
    before = cli.files()
    done = cli.run("runs", "fork", "last", "--at", "1")
    assert done.returncode == 1
    assert "was changed after it was written" in done.stderr
    assert cli.files() == before


def test_a_fork_that_cannot_go_on_is_not_left(cli: Cli) -> None:
    server = cli.work.parent / "server.py"
    source = Path(__file__).with_name("mcp_bell.py").read_text()
    server.write_text(source)
    command = f"{sys.executable} {server} {cli.work.parent / 'rung'}"
    cli.run("ask", "-q", "--mcp", command, "--model", cli.script(DONE), "Ring.")
    [run] = cli.runs()
    server.write_text(source.replace("Ring the bell.", "Ring it."))
    done = cli.run("runs", "fork", "last", "--at", "0", "And?")
    assert done.returncode == 1
    assert "the tool 'ring' changed its description" in done.stderr
    assert cli.runs() == [run]
    assert cli.run("runs", "show", "last").stdout == cli.run("runs", "show", run).stdout
    assert cli.states()[-1] == "answered"


def test_a_run_that_is_removed_leaves_no_word_in_any_file(cli: Cli) -> None:
    run = asked(cli)
    cli.run("runs", "steer", run, f"and {SECRET} too")
    words = (SECRET, "What is the word?", "It is done.", "/work/notes")
    assert all(holding(cli, word) for word in words)
    done = cli.run("runs", "rm", "--yes", run)
    assert (done.returncode, done.stderr) == (0, f"deleted {run}\n")
    assert [word for word in words if holding(cli, word)] == []
    assert cli.runs() == []
    assert cli.states() == []
    assert cli.run("runs", "verify", run).returncode == 0, "its chain is still whole"
    assert cli.run("runs", "resume", run).returncode == 1


def test_a_reward_of_any_finite_size_is_recorded(cli: Cli) -> None:
    asked(cli)
    assert cli.run("runs", "reward", "last", "-0.5", "--source", "me").returncode == 0
    done = cli.run("runs", "reward", "last", "nan")
    assert done.returncode == 1
    assert "a reward is a finite number" in done.stderr
    assert cli.states() == ["answered"]
    assert cli.run("runs", "replay", "last").returncode == 0


def test_a_run_that_waits_for_nobody_takes_no_decision(cli: Cli) -> None:
    run = asked(cli)
    for word in ("approve", "refuse"):
        done = cli.run("runs", word, "last")
        assert done.returncode == 1
        assert f"{run} waits for no approval" in done.stderr
