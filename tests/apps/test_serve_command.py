"""`chogori serve` as a process: its first minute, its end, and its second start."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from apps.cli_harness import CHOGORI, Cli

SECONDS = 60


HELLO = {"content": "Hello!", "repeat": True}
SLOW = {"content": "one two three four", "delta_seconds": 1.0, "repeat": True}
ENDLESS = {"content": "one two three four", "delta_seconds": 3_600, "repeat": True}


@contextmanager
def serving(
    user: Cli, *arguments: str, reply: Mapping[str, Any] = HELLO
) -> Iterator[subprocess.Popen[str]]:
    """The command under way, with a scripted model and any port."""
    script = user.script(reply)
    command = [str(CHOGORI), "serve", "--model", f"local={script}", "--port", "0", *arguments]
    with subprocess.Popen(
        command, cwd=user.work, env=user.environ, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line of its output that holds this."""
    assert process.stdout is not None
    return next(line for line in process.stdout if text in line).strip()


def test_the_first_start_shows_a_key_and_a_line_that_works(tmp_path: Path) -> None:
    user = Cli(tmp_path)
    with serving(user) as process:
        line_with(process, "serving at http://127.0.0.1:")
        key = line_with(process, "sk-chg-")
        curl = line_with(process, "curl ")
        assert key in curl
        told = subprocess.run(["sh", "-c", curl], capture_output=True, timeout=SECONDS, check=True)
        assert json.loads(told.stdout)["choices"][0]["message"]["content"] == "Hello!"
        url = re.findall(r"http://[\d.:]+", curl)[0]
        page = subprocess.run(["curl", "-s", url], capture_output=True, timeout=SECONDS)
        assert b"<title>Chogori</title>" in page.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert key.encode() not in b"".join(user.files().values())
    with serving(user, "--json") as again:
        told_again = json.loads(line_with(again, "url"))
        assert told_again["key"] is None, "a key is shown once"
        refused = subprocess.run(
            ["curl", "-s", f"{told_again['url']}/models"], capture_output=True, timeout=SECONDS
        )
        assert json.loads(refused.stdout)["error"]["code"] == "invalid_api_key"


@contextmanager
def asked(url: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[HTTPResponse]:
    """What comes back, its body yet to be read."""
    parts = urlsplit(url)
    sent = None if body is None else json.dumps(body)
    with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)) as connection:
        connection.request("GET" if sent is None else "POST", path, sent)
        with connection.getresponse() as response:
            yield response


def chatted(url: str, *, stream: bool) -> AbstractContextManager[HTTPResponse]:
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": "local", "stream": stream, "messages": messages}
    return asked(url, "/v1/chat/completions", body)


def wait_until_it_stops(url: str) -> None:
    until, is_ready = time.monotonic() + SECONDS, True
    while is_ready:
        assert time.monotonic() < until
        time.sleep(0.01)
        with asked(url, "/readyz") as told:
            is_ready = told.status == 200
            assert is_ready or (told.status, json.load(told)) == (503, {"status": "stopping"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_from_the_signal_on_it_says_that_it_stops_and_what_runs_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(Cli(tmp_path), "--open", "--json", reply=SLOW) as process:
        url = json.loads(line_with(process, "url"))["url"]
        with asked(url, "/readyz") as ready:
            assert ready.status == 200
        with chatted(url, stream=True) as stream:
            assert b"assistant" in stream.readline()
            process.send_signal(number)
            wait_until_it_stops(url)
            with chatted(url, stream=False) as refused:
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                assert json.load(refused)["error"]["code"] == "stopping"
            rest = stream.read()
        assert b"four" in rest
        assert rest.endswith(b"data: [DONE]\n\n")
        assert process.wait(SECONDS) == 0


def test_ctrl_c_again_does_not_wait_for_what_runs(tmp_path: Path) -> None:
    with serving(Cli(tmp_path), "--open", "--json", reply=ENDLESS) as process:
        url = json.loads(line_with(process, "url"))["url"]
        with chatted(url, stream=True) as stream:
            assert b"assistant" in stream.readline()
            process.send_signal(signal.SIGINT)
            wait_until_it_stops(url)
            process.send_signal(signal.SIGINT)
            process.wait(20)
