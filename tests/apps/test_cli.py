"""The real command, run as a person or a program runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_harness import Cli

from chogori.chat import Answer, RunStarted
from chogori.chat.event_json import from_line

PYTHON = {"name": "python", "arguments": {"code": "print(6 * 7)"}}
FORTY_TWO = (
    {"reasoning": "I will compute it. Then I will answer.", "calls": [PYTHON]},
    {"content": "It is 42."},
)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, chogori, chogori.apps.cli\n"
        "heavy = {'torch', 'xllamacpp', 'aiohttp', 'pydantic', 'rich', 'orjson', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_found_where_they_live() -> None:
    import chogori

    assert sorted(chogori.__all__) == dir(chogori)
    for name in chogori.__all__:
        assert getattr(chogori, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = chogori.nope  # pyright: ignore[reportAttributeAccessIssue]


def test_help_and_version(cli: Cli) -> None:
    for arguments in (["--help"], ["ask", "--help"], ["--version"], ["models", "--help"]):
        assert cli.run(*arguments).returncode == 0
    assert cli.run("--version").stdout.startswith("chogori ")
    assert cli.run("nope").returncode == 2
    assert not cli.data.exists(), "asking for help leaves nothing behind"


def test_ask_shows_the_run_in_plain_lines_and_keeps_it(cli: Cli) -> None:
    done = cli.run("ask", "--model", cli.script(*FORTY_TWO), "What is 6 * 7?")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "│ I will compute it. (+4 words)"
    assert lines[1] == "▸ python  print(6 * 7)"
    assert lines[2].startswith("✓ python  ")
    assert lines[2].endswith(" s  42")
    assert "It is 42." in lines
    assert "\x1b" not in done.stdout
    (run,) = cli.runs()
    assert lines[-1].endswith(f"run {run}")
    again = cli.run("runs", "show", run[:10])
    assert again.returncode == 0
    for expected in ("What is 6 * 7?", "│ I will compute it. Then I will answer.", *lines[1:]):
        assert expected in again.stdout
    assert cli.data.stat().st_mode & 0o777 == 0o700
    assert (cli.data / "chogori.db").stat().st_mode & 0o777 == 0o600
    assert (cli.data / "seal.key").stat().st_mode & 0o777 == 0o600


DELTAS = ("text_delta", "reasoning_delta", "tool_call_delta", "finished")


def test_json_prints_events_and_nothing_else(cli: Cli) -> None:
    done = cli.run("ask", "--json", "--model", cli.script(*FORTY_TWO), "What is 6 * 7?")
    events = [from_line(line) for line in done.stdout.splitlines()]
    assert isinstance(events[0][1], RunStarted)
    assert isinstance(events[-1][1], Answer)
    assert done.stderr == ""


def test_what_is_kept_is_what_was_told_without_the_deltas_and_under_the_same_numbers(
    cli: Cli,
) -> None:
    told = cli.told("ask", "--json", "--model", cli.script(*FORTY_TWO), "What is 6 * 7?")
    kept = cli.kept()
    assert kept == [event for event in told if event["type"] not in DELTAS]
    assert [event["sequence"] for event in kept] == list(range(len(kept)))
    numbers = [event["sequence"] for event in told]
    assert numbers == sorted(numbers), "a delta bears the number of the event before it"
    assert {event["type"] for event in told} & set(DELTAS)


def test_what_the_model_is_shown_of_a_long_run_is_chosen_and_kept_with_the_run(cli: Cli) -> None:
    spec = cli.script({"content": "Yes.", "repeat": True})
    told = cli.told("ask", "--json", "--context", "summary:9000", "--model", spec, "Hi")
    assert told[0]["agent"]["context"] == {"policy": "summary", "tokens": 9_000, "recall": True}
    for wrong in ("nope", "summary:many"):
        done = cli.run("ask", "--context", wrong, "--model", spec, "Hi")
        assert (done.returncode, done.stdout) == (1, "")
        assert wrong.partition(":")[0] in done.stderr


def test_quiet_prints_the_answer_alone(cli: Cli) -> None:
    done = cli.run("ask", "--quiet", "--model", cli.script(*FORTY_TWO), "What is 6 * 7?")
    assert (done.returncode, done.stdout) == (0, "It is 42.\n")


def test_the_model_comes_from_the_option_or_else_from_the_environment(cli: Cli) -> None:
    spec = cli.script({"content": "Yes."})
    assert cli.run("ask", "-q", "Well?", CHOGORI_MODEL=spec).stdout == "Yes.\n"
    assert cli.run("ask", "-q", "--model", spec, "Well?", CHOGORI_MODEL="nope").returncode == 0


def test_exit_3_when_the_budget_ended(cli: Cli) -> None:
    script = cli.script({"calls": [PYTHON]}, {"content": "So far: 42."})
    done = cli.run("ask", "--steps", "1", "--model", script, "What is 6 * 7?")
    assert done.returncode == 3
    assert "stopping here (steps)" in done.stdout
    assert "So far: 42." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask", ""], "the question is empty"),
        (["ask", " \n "], "the question is empty"),
        (["ask"], "there is no question"),
        (["ask", "Hi"], "the model 'local' is not here yet; run: chogori models pull local"),
        (["chat"], "the model 'local' is not here yet; run: chogori models pull local"),
        (["ask", "--model", "nope", "Hi"], "'nope' is no model; expected local, smollm2"),
        (["ask", "--model", "gguf:nope.gguf", "Hi"], "work/nope.gguf"),
        (["ask", "--model", "scripted:nope", "Hi"], "work/nope: No such file"),
        (["ask", "--model", "http://127.0.0.1:9/v1#m", "Hi"], "http://127.0.0.1:9/v1"),
        (["ask", "--file", "nope", "Hi"], "--file nope: it is not there"),
        (["ask", "--file", "/", "Hi"], "--file /: it is a folder"),
        (["ask", "--file", "/dev/zero", "Hi"], "--file /dev/zero: it is not a file"),
        (["models", "pull", "nope"], "no model is called 'nope'; there are: local, smollm2"),
        (["models", "pull", "smollm2"], "could not be fetched: 0 of 98,362,432 bytes"),
        (["runs", "show", "nope"], "there is no run 'nope' here; see: chogori runs list"),
        (["runs", "show", "last"], "there is no run 'last' here"),
        (["runs", "show", "../../../etc"], "there is no run"),
        (["runs", "rm", "--yes", ".."], "there is no run"),
        (["ask", "--data", "/proc/nope", "--model", "S", "Hi"], "the data folder /proc/nope"),
        (["ask", "--workspace", "nope", "--model", "S", "Hi"], "there is no such folder"),
        (["ask", "--model", "S", "--mcp", "false", "Hi"], "false"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(cli: Cli, arguments: list[str], words: str) -> None:
    spec = cli.script({"content": "Hello."})
    done = cli.run(*(spec if argument == "S" else argument for argument in arguments))
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stdout == ""
    assert not list(cli.cache.rglob("*.part")), "nothing is left half-written"


@pytest.mark.parametrize(
    "arguments",
    [["ask", "Hi"], ["runs", "list"], ["runs", "show", "last"], ["runs", "resume", "x"]],
)
def test_no_data_folder_is_made_where_nothing_began(cli: Cli, arguments: list[str]) -> None:
    cli.run(*arguments)
    assert not cli.data.exists()


@pytest.mark.parametrize(
    "question",
    [
        "¿Cuántos días?",
        "日本の首都はどこですか。",
        "كم عدد الأيام؟",
        "🐍" * 50,
        "-- \x1b[31m \x07 %s {}",
    ],
)
def test_a_question_in_any_language_is_answered(cli: Cli, question: str) -> None:
    done = cli.run(
        "ask", "-q", "--model", cli.script({"content": "はい。", "repeat": True}), "--", question
    )
    assert (done.returncode, done.stdout) == (0, "はい。\n")
    assert question.split()[0] in cli.run("runs", "show", "last", "--json").stdout


def test_bytes_that_are_no_text_are_said_and_shown_as_such(cli: Cli) -> None:
    spec = cli.script({"content": "Yes."})
    done = cli.run("ask", "-q", "--model", spec, b"Caf\xe9?")
    assert (done.returncode, done.stdout) == (0, "Yes.\n")
    assert "bytes that are no text" in done.stderr


def test_a_question_of_a_megabyte_is_refused_with_a_reason(cli: Cli) -> None:
    done = cli.run("ask", "--model", cli.script({"content": "Y"}), stdin=b"why? " * 200_000)
    assert done.returncode == 1
    assert "the question has 1,000,000 characters" in done.stderr
    assert "--file" in done.stderr


def test_what_is_piped_in_is_the_question_if_there_is_no_other(cli: Cli) -> None:
    spec = cli.script({"match": "capital of Peru", "content": "Lima."})
    assert (
        cli.run("ask", "-q", "--model", spec, stdin=b"The capital of Peru?\n").stdout == "Lima.\n"
    )


def test_text_that_is_piped_in_or_in_a_file_comes_with_the_question(cli: Cli) -> None:
    (cli.work / "notes.txt").write_text("the password is swordfish")
    code = "print(open('/out/stdin.txt').read(), open('/out/notes.txt').read())"
    spec = cli.script(
        {"match": "who.*swordfish.*piped text", "calls": [{**PYTHON, "arguments": {"code": code}}]},
        {"match": "piped text the password is swordfish", "content": "Seen."},
    )
    done = cli.run("ask", "-q", "--model", spec, "--file", "notes.txt", "who?", stdin=b"piped text")
    assert done.stdout == "Seen.\n", done.stderr


def test_a_long_text_is_shown_in_part_and_there_as_a_whole(cli: Cli) -> None:
    count = {"name": "shell", "arguments": {"command": "wc -c /out/big.txt"}}
    spec = cli.script({"calls": [count]}, {"content": "Counted."})
    (cli.work / "big.txt").write_text("line\n" * 100_000)
    done = cli.run("ask", "--model", spec, "--file", "big.txt", "How long?")
    assert "500000 /out/big.txt" in done.stdout, done.stdout + done.stderr
    task = json.loads(cli.run("runs", "show", "last", "--json").stdout.splitlines()[0])["task"]
    assert "500,000 characters, in /out/big.txt; only its first" in task[1]["text"]
    assert len(task[1]["text"]) < 70_000


def test_a_file_that_is_not_text_is_refused(cli: Cli) -> None:
    (cli.work / "photo.jpg").write_bytes(bytes(range(256)) * 4)
    done = cli.run("ask", "--model", cli.script({"content": "Y"}), "--file", "photo.jpg", "What?")
    assert done.returncode == 1
    assert "--file photo.jpg is not text" in done.stderr


def bell(cli: Cli) -> tuple[str, Path]:
    rung = cli.work.parent / "rung"
    return f"{sys.executable} {Path(__file__).with_name('mcp_bell.py')} {rung}", rung


RING = ({"calls": [{"name": "ring", "arguments": {"times": 1}}]}, {"content": "Done."})


def test_where_nobody_can_be_asked_the_call_is_refused_and_that_is_said(cli: Cli) -> None:
    command, rung = bell(cli)
    done = cli.run("ask", "--mcp", command, "--model", cli.script(*RING), "Ring.")
    assert done.returncode == 0, done.stderr
    assert "ring was refused: nobody is here to allow it (--yes allows all calls)" in done.stderr
    assert "✗ ring" in done.stdout
    assert not rung.exists()


def test_yes_allows_every_call(cli: Cli) -> None:
    command, rung = bell(cli)
    done = cli.run("ask", "--yes", "--mcp", command, "--model", cli.script(*RING), "Ring.")
    assert done.returncode == 0, done.stderr
    assert rung.read_text() == "ding\n"


@pytest.mark.parametrize(("said", "rings"), [("y", True), ("", False)])
def test_at_a_terminal_a_person_is_asked(cli: Cli, said: str, rings: bool) -> None:
    command, rung = bell(cli)
    arguments = ["ask", "--mcp", command, "--model", cli.script(*RING), "Ring."]
    with cli.on_terminal(*arguments) as terminal:
        shown = terminal.until("allow ring? [y/N] ")
        assert '{"times":1}' in shown
        terminal.type(f"{said}\n")
        assert terminal.end() == 0
    assert rung.exists() == rings


SLOW = {"reasoning": "I begin to think. ", "content": "one two three", "delta_seconds": 600}


def test_in_a_chat_ctrl_c_stops_the_turn_and_ctrl_d_ends(cli: Cli) -> None:
    spec = cli.script(
        {"match": "first", "content": "Answer one."},
        {"match": "slow", **SLOW},
        {"match": "second", "content": "Answer two."},
    )
    with cli.on_terminal("chat", "--model", spec) as terminal:
        terminal.until(">>> ")
        terminal.type("first\n")
        terminal.until("Answer one.\n")
        terminal.until(">>> ")
        terminal.type("slow\n")
        terminal.until("I begin to think.")
        terminal.type("\x03")
        terminal.until("stopped; the conversation goes on from the last answer")
        terminal.until(">>> ")
        terminal.type("second\n")
        terminal.until("Answer two.\n")
        terminal.until(">>> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    (run,) = cli.runs()
    shown = cli.run("runs", "show", run).stdout
    assert [line for line in shown.splitlines() if line in ("first", "slow", "second")] == [
        "first",
        "slow",
        "second",
    ], "a chat is one run"
    events = [
        from_line(line)[1] for line in cli.run("runs", "show", run, "--json").stdout.splitlines()
    ]
    assert len([event for event in events if isinstance(event, Answer)]) == 2


def test_a_chat_reads_its_turns_from_a_pipe_and_knows_its_commands(cli: Cli) -> None:
    spec = cli.script(
        {"match": "^a\nb$", "content": "Two lines."},
        {"match": "^(hello|again)$", "content": "Hello."},
    )
    typed = b'hello\n\n/help\n/what\n"""a\nb"""\n/new\nagain\nfails\n/exit\nnever\n'
    done = cli.run("chat", "-q", "--model", spec, stdin=typed)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello.\nTwo lines.\nHello.\n"
    assert "begin a new conversation" in done.stderr
    assert "there is no /what" in done.stderr
    assert "the script has no reply" in done.stderr, "an error ends the turn and not the chat"
    assert len(cli.runs()) == 2


def test_a_run_is_deleted_once_somebody_says_yes(cli: Cli) -> None:
    spec = cli.script({"content": "Hello."})
    cli.run("ask", "-q", "--model", spec, "Hi there")
    done = cli.run("runs", "rm", "last")
    assert (done.returncode, len(cli.runs())) == (1, 1)
    assert "add --yes" in done.stderr
    for said, code, left in (("n", 1, ["answered"]), ("y", 0, [])):
        with cli.on_terminal("runs", "rm", "last") as terminal:
            assert "(Hi there)" in terminal.until("[y/N] ")
            terminal.type(f"{said}\n")
            assert terminal.end() == code
        assert cli.states() == left
        assert len(cli.runs()) == len(left)


def test_a_reader_that_goes_away_is_no_error(cli: Cli) -> None:
    command = [sys.executable, "-c", "import os; os.close(1); os.execvp('true', ['true'])"]
    spec = cli.script({"content": "many words " * 20_000})
    chogori = Path(sys.executable).with_name("chogori")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as reader:
        reader.wait()
        done = subprocess.run(
            [chogori, "ask", "--json", "--model", spec, "Hi"],
            cwd=cli.work,
            env=cli.environ,
            stdin=subprocess.DEVNULL,
            stdout=reader.stdin,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert done.returncode == 141


def test_models_list_says_what_is_here(cli: Cli) -> None:
    lines = cli.run("models", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "HERE", "LICENCE", "FILE"]
    assert lines[1].split()[:5] == ["local", "1.1", "GB", "no", "Apache-2.0"]
    folder = cli.cache / "chogori" / "models"
    folder.mkdir(parents=True)
    with (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").open("wb") as file:
        file.truncate(98_362_432)
    assert "yes" in cli.run("models", "list").stdout.splitlines()[2].split()
    refused = cli.run("ask", "--model", "smollm2", "Hi")
    assert "altered: expected 98,362,432 bytes with SHA-256 b179c952" in refused.stderr
    assert "pull again: chogori models pull smollm2" in refused.stderr


class Endpoint(BaseHTTPRequestHandler):
    """Lets nobody in without the right key; otherwise answers with a web page."""

    seen: list[str | None]

    def do_POST(self) -> None:
        self.seen.append(self.headers["Authorization"])
        is_known = self.headers["Authorization"] == "Bearer sk-right"
        body = b"<html>a page</html>" if is_known else b'{"error": {"message": "no key"}}'
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "text/html" if is_known else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_key_goes_to_the_host_it_is_for_and_an_error_says_so(cli: Cli, endpoint: str) -> None:
    spec = f"http://{endpoint}/v1#m"
    done = cli.run("ask", "--model", spec, "Hi", CHOGORI_API_KEY="sk-right")
    assert done.returncode == 1
    assert f"set CHOGORI_API_HOST={endpoint}" in done.stderr
    assert set(Endpoint.seen) == {None}
    key = "sk-right"
    done = cli.run("ask", "--model", spec, "Hi", CHOGORI_API_KEY=key, CHOGORI_API_HOST=endpoint)
    assert done.returncode == 1
    assert f"http://{endpoint}/v1" in done.stderr, "a page instead of JSON names its address"
    assert "Bearer sk-right" in Endpoint.seen
    assert "sk-right" not in done.stdout + done.stderr
    assert not [
        path for path in cli.data.rglob("*") if path.is_file() and b"sk-right" in path.read_bytes()
    ], "a key is never kept with a run"
