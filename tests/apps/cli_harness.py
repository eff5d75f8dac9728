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

    def start(self, *arguments: str) -> Started:
        """Start `chogori` with `--json`, away from any terminal."""
        return Started([str(CHOGORI), *arguments, "--json"], self.work, self.environ)

    def told(self, *arguments: str) -> list[dict[str, Any]]:
        """The lines of JSON that a command prints which ends well."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def kept(self, run: str = "last") -> list[dict[str, Any]]:
        """The events of a run that are kept."""
        return self.told("runs", "show", run, "--json")

    def states(self) -> list[str]:
        """How the kept runs stand, newest first."""
        lines = self.run("runs", "list").stdout.splitlines()[1:]
        return [line.split()[2] for line in lines]

    def lines(self, name: str) -> list[str]:
        """Those of a file of the workspace; none where there is no such file."""
        path = self.work / name
        return path.read_text().splitlines() if path.exists() else []

    def files(self) -> dict[str, bytes]:
        """Everything in the data folder."""
        paths = sorted(path for path in self.data.rglob("*") if path.is_file())
        return {str(path.relative_to(self.data)): path.read_bytes() for path in paths}

    def on_terminal(self, *arguments: str) -> Terminal:
        """Start `chogori` on a terminal of its own."""
        return Terminal([str(CHOGORI), *arguments], self.work, self.environ)

    def runs(self) -> list[str]:
        """The ids of the kept runs."""
        folder = self.data / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class Started:
    """A command under way, read event by event."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.told: list[dict[str, Any]] = []

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def run(self) -> str:
        """The id of the run."""
        self.until("run_started")
        return self.told[0]["run_id"]

    def until(self, type: str, number: int = 1) -> dict[str, Any]:
        """Read until there are so many events of a type; returns the last of them."""
        assert self._process.stdout is not None, "it is a pipe"
        found = sum(event["type"] == type for event in self.told)
        while found < number:
            line = self._process.stdout.readline()
            assert line, f"it ended without {type}: {self._stderr()}"
            self.told.append(json.loads(line))
            found += self.told[-1]["type"] == type
        return self.told[-1]

    def kill(self) -> None:
        """SIGKILL: nothing can be written any more."""
        self._process.kill()
        self._process.communicate()

    def end(self) -> tuple[int, str]:
        """Wait for its end; returns the exit code and the standard error."""
        out, err = self._process.communicate(timeout=PATIENCE_SECONDS)
        self.told += [json.loads(line) for line in out.splitlines()]
        return self._process.returncode, err.decode()

    def _stderr(self) -> str:
        return self._process.communicate()[1].decode()


class Signal:
    """A named pipe: a program in the sandbox tells the test how far it has come."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def wait(self) -> None:
        """Wait until somebody has written to it."""
        assert select.select([self._descriptor], [], [], PATIENCE_SECONDS)[0], "nobody came so far"
        os.read(self._descriptor, 4_096)

    def release(self, lines: int) -> None:
        """Let so many go on that read a line of it."""
        os.write(self._descriptor, b"\n" * lines)

    def close(self) -> None:
        os.close(self._descriptor)


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
