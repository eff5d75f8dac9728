"""Runs the real `chogori` command, in a folder and with a home of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHOGORI = Path(sys.executable).with_name("chogori")
PATIENCE_SECONDS = 60

# A command behind a terminal that is its own: a session, the terminal to control it, and Ctrl-C
# as it is at a prompt, whatever started the tests.
ON_TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Cli:
    """One user: a home, a data folder, a workspace."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.data = folder / "data" / "chogori"
        self.cache = folder / "cache"
        self.work.mkdir(parents=True)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }

    def script(self, *replies: Mapping[str, Any]) -> str:
        """A `scripted:` spec that gives these replies in order."""
        path = self.work.parent / "script.jsonl"
        path.write_text("\n".join(json.dumps(reply) for reply in replies))
        return f"scripted:{path}"

    def run(
        self, *arguments: str | bytes, stdin: bytes | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `chogori` to its end, away from any terminal."""
        done = subprocess.run(
            [CHOGORI, *arguments],
            cwd=self.work,
            env=self.environ | environ,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode()
        assert "Traceback" not in out + err, "a person is never shown a traceback"
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def on_terminal(self, *arguments: str) -> Terminal:
        """Start `chogori` on a terminal of its own."""
        return Terminal([str(CHOGORI), *arguments], self.work, self.environ)

    def runs(self) -> list[str]:
        """The ids of the kept runs."""
        folder = self.data / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class Terminal:
    """The keyboard and the screen of a command."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        self._mine, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *command],
            cwd=folder,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.screen = ""
        self._seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._mine)

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def until(self, text: str) -> str:
        """Read until `text` is shown, after what was last waited for; returns what was shown."""
        while (at := self.screen.find(text, self._seen)) < 0:
            assert self._read(), f"{text!r} was not shown; the screen: {self.screen[-2000:]!r}"
        shown, self._seen = self.screen[self._seen : at], at + len(text)
        return shown

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        while self._read():
            pass
        assert "Traceback" not in self.screen
        return self._process.wait(PATIENCE_SECONDS)

    def _read(self) -> bool:
        ready = select.select([self._mine], [], [], PATIENCE_SECONDS)[0]
        try:
            data = os.read(self._mine, 65_536) if ready else b""
        except OSError:  # Linux tells the end of a terminal by EIO
            data = b""
        self.screen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
