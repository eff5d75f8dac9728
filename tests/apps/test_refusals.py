"""What cannot be gone on with: one clear error each, exit code 1, and nothing changed on disk."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from os import geteuid
from pathlib import Path

import pytest
from cli_harness import Cli

from store.store_harness import read_only, small_disk

TOOLS = '''
from chogori import tool


@tool(effect="pure")
def add(a: int, b: int) -> str:
    """Add."""
    return str(a + b)
'''
PROGRAM = """
import asyncio, sys
from pathlib import Path
from chogori import Agent, load
from chogori.store import open_store
from own_tools import add


async def main():
    async with open_store(Path(sys.argv[1])) as store:
        await Agent(load(sys.argv[2]), [add], store=store).run("Add.")


asyncio.run(main())
"""
ADD = {"calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def asked(cli: Cli, *options: str) -> str:
    """The id of an answered run."""
    spec = cli.script({"content": "One."}, {"content": "Two."})
    assert cli.run("ask", "-q", *options, "--model", spec, "Well?").returncode == 0
    return cli.kept()[0]["run_id"]


def refused(cli: Cli, *arguments: str) -> str:
    """The one error that a command ends with, having changed nothing."""
    before = cli.files()
    done = cli.run(*arguments)
    assert (done.returncode, done.stdout) == (1, ""), arguments
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    assert cli.files() == before, f"{arguments} changed something"
    return done.stderr


COMMANDS = [
    ["show", "ID"],
    ["resume", "ID"],
    ["fork", "ID"],
    ["replay", "ID"],
    ["verify", "ID"],
    ["export", "ID"],
    ["steer", "ID", "word"],
    ["reward", "ID", "1"],
    ["pause", "ID"],
    ["approve", "ID"],
    ["refuse", "ID"],
    ["redact", "ID", "--event", "0"],
    ["rm", "--yes", "ID"],
]


def test_an_id_that_is_not_known_is_refused_by_every_command(cli: Cli) -> None:
    asked(cli)
    for command in COMMANDS:
        error = refused(cli, "runs", *("nope" if word == "ID" else word for word in command))
        assert error == "error: there is no run 'nope' here; see: chogori runs list\n"
    assert "there is no run 'nope'" in refused(cli, "chat", "--run", "nope")


def test_an_id_is_never_a_path_or_a_pattern(cli: Cli) -> None:
    asked(cli)
    for wanted in ("", "..", "../x", "/", "x" * 200, "*", "%", "'"):
        assert "there is no run" in refused(cli, "runs", "rm", "--yes", wanted)


def test_a_database_of_a_newer_version_is_left_alone(cli: Cli) -> None:
    run = asked(cli)
    with closing(sqlite3.connect(cli.data / "chogori.db")) as connection:
        connection.execute("update versions set version = 99")
        connection.commit()
    spec = cli.script({"content": "One."})
    for command in (["runs", "list"], ["runs", "resume", run], ["ask", "--model", spec, "Hi"]):
        assert "was written by a newer chogori" in refused(cli, *command)


def test_a_run_whose_folder_is_gone_is_not_gone_on_with(cli: Cli) -> None:
    folder = cli.work.parent / "elsewhere"
    folder.mkdir()
    run = asked(cli, "--workspace", str(folder))
    folder.rmdir()
    error = refused(cli, "runs", "resume", run, "And?")
    assert f"the folder {folder}, which the run works in, is not there now" in error


def test_a_run_whose_model_is_gone_is_not_gone_on_with(cli: Cli) -> None:
    run = asked(cli)
    (cli.work.parent / "script.jsonl").unlink()
    assert "no script at" in refused(cli, "runs", "resume", run, "And?")
    assert "no script at" in refused(cli, "chat", "--run", run)


def test_a_run_whose_mcp_server_is_gone_is_not_gone_on_with(cli: Cli) -> None:
    server = cli.work.parent / "server.py"
    shutil.copy(Path(__file__).with_name("mcp_bell.py"), server)
    run = asked(cli, "--mcp", f"{sys.executable} {server} {cli.work.parent / 'rung'}")
    server.unlink()
    assert str(server) in refused(cli, "runs", "resume", run, "And?")


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        (None, "the tool 'add' cannot be imported from own_tools:add: No module named"),
        ("", "the tool 'add' cannot be imported from own_tools:add: module 'own_tools' has no"),
        ("def", "the tool 'add' cannot be imported from own_tools:add: invalid syntax"),
        ("def add(): ...", "what own_tools:add names is no tool now (function)"),
        (TOOLS.replace("pure", "once"), "the tool 'add' changed its effect"),
        (TOOLS.replace("b: int", "c: int"), "the tool 'add' changed its parameters"),
    ],
)
def test_a_run_whose_tool_is_gone_or_another_is_refused_naming_it(
    cli: Cli, tools: str | None, words: str
) -> None:
    program = begun_by_a_program(cli)
    own = program / "own_tools.py"
    own.write_text(tools) if tools is not None else own.unlink()
    before = cli.files()
    done = cli.run("runs", "resume", "last", PYTHONPATH=str(program), PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 1
    assert words in done.stderr
    assert cli.files() == before


def begun_by_a_program(cli: Cli) -> Path:
    """The folder of a program that has begun a run, which its model's stream ended."""
    folder = cli.work.parent / "program"
    folder.mkdir()
    (folder / "own_tools.py").write_text(TOOLS)
    (folder / "program.py").write_text(PROGRAM)
    spec = cli.script(ADD, {"content": "one two three", "fault": "fail"})
    command = [sys.executable, "-B", str(folder / "program.py"), str(cli.data), spec]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert b"the script fails" in done.stderr
    cli.script({"content": "asked again"}, {"match": "3", "content": "It is 3."})
    return folder


def test_a_run_that_a_program_began_goes_on_by_the_command(cli: Cli) -> None:
    program = begun_by_a_program(cli)
    assert cli.run("runs", "replay", "last", PYTHONPATH=str(program)).returncode == 0
    done = cli.run("runs", "resume", "last", "-q", PYTHONPATH=str(program))
    assert (done.returncode, done.stdout) == (0, "It is 3.\n"), done.stderr


def test_changes_that_are_accepted_are_gone_on_with(cli: Cli) -> None:
    program = begun_by_a_program(cli)
    (program / "own_tools.py").write_text(TOOLS.replace("Add.", "Add two numbers."))
    arguments = ["runs", "resume", "last", "-q", "--accept-changes"]
    done = cli.run(*arguments, PYTHONPATH=str(program), PYTHONDONTWRITEBYTECODE="1")
    assert (done.returncode, done.stdout) == (0, "It is 3.\n"), done.stderr


def test_what_is_kept_in_a_read_only_folder_can_be_read_and_not_gone_on_with(cli: Cli) -> None:
    with disk(cli.data):
        run = asked(cli)
        with read_only(cli.data):
            for command in ("show", "verify", "export", "replay"):
                done = cli.run("runs", command, run)
                assert done.returncode == 0, done.stderr
            assert cli.states() == ["answered"]
            spec, said = cli.script({"content": "One."}), cli.work / "said"
            said.write_text("more")
            for arguments in (
                ["ask", "--model", spec, "Hi"],
                ["ask", "--model", spec, "--file", str(said), "Hi"],
                ["chat", "--run", run],
                ["runs", "resume", run, "And?"],
                ["runs", "steer", run, "And?"],
                ["runs", "fork", run],
                ["runs", "rm", "--yes", run],
            ):
                assert "is read-only" in refused(cli, *arguments)


def disk(folder: Path) -> AbstractContextManager[object]:
    """A folder that `read_only` can seal: for root, a file system of its own."""
    folder.mkdir(parents=True, mode=0o700)
    return small_disk(folder, 8_000) if geteuid() == 0 else nullcontext()


def test_a_seal_that_is_gone_is_told_and_nothing_is_sealed_anew(cli: Cli) -> None:
    run = asked(cli)
    (cli.data / "seal.key").unlink()
    assert "seal.key is missing or damaged" in refused(cli, "runs", "verify", run)


def test_what_is_no_database_is_left_alone(cli: Cli) -> None:
    cli.data.mkdir(parents=True)
    (cli.data / "runs").mkdir()
    (cli.data / "chogori.db").write_bytes(b"Dear diary, " * 500)
    for command in (["list"], ["show", "last"], ["resume", "last"]):
        assert "is not a database: move it away" in refused(cli, "runs", *command)
