"""`chogori serve` as a process: its first minute, its end, and its second start."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apps.cli_harness import CHOGORI, Cli

SECONDS = 60


@contextmanager
def serving(user: Cli, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command under way, with a scripted model and any port."""
    script = user.script({"content": "Hello!", "repeat": True})
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
