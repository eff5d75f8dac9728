"""Which launcher works here: each is really tried, by running a program inside it.

The order is bubblewrap (the system's, then the wheel's), Landlock, refusal. Running without a
sandbox is never chosen for anyone: `Unsafe` has to be named.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox.bwrap import Bwrap, find_binaries
from chogori.toolbox.sandbox.landlock import Landlock
from chogori.toolbox.sandbox.launcher import Launcher
from chogori.toolbox.sandbox.policy import Limits, Policy
from chogori.toolbox.sandbox.spawner import spawn

_TRY_SECONDS = 20
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


@dataclass(frozen=True, slots=True)
class Probe:
    """What trying a launcher showed."""

    launcher: Launcher
    failure: str | None
    """Why it does not work here; None if it works."""


def probe() -> tuple[Probe, ...]:
    """Try every launcher there is, best first. Takes some tens of milliseconds each."""
    return tuple(Probe(launcher, _try(launcher)) for launcher in candidates())


def candidates() -> list[Launcher]:
    """What could be tried here, best first."""
    return [*map(Bwrap, find_binaries()), Landlock()]


@cache
def choose() -> Launcher:
    """The best launcher that works here; SandboxUnavailable, with what mends it, if none does."""
    tried: list[Probe] = []
    for launcher in candidates():
        tried.append(Probe(launcher, _try(launcher)))
        if tried[-1].failure is None:
            return launcher
    raise SandboxUnavailable(refusal(tried))


def refusal(tried: list[Probe]) -> str:
    """What was tried, and which command mends it."""
    lines = ["no sandbox works here, so no tool that runs code is started:"]
    if not any(isinstance(each.launcher, Bwrap) for each in tried):
        lines.append("  bwrap: not installed")
    lines += [f"  {each.launcher.name}: {each.failure}" for each in tried]
    lines.append("To mend it: apt-get install bubblewrap, or pip install 'chogori[sandbox]'.")
    if _APPARMOR.exists() and _APPARMOR.read_text().strip() == "1":
        lines.append(
            "This system also keeps ordinary users from making namespaces; allow it with: "
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return "\n".join(lines)


def _try(launcher: Launcher) -> str | None:
    with tempfile.TemporaryDirectory(prefix="chogori-probe-") as out:
        try:
            command = launcher.command(["/bin/true"], Policy(out=Path(out)), Limits())
        except SandboxUnavailable as error:
            return str(error)
        try:
            process = spawn(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ).result()
        except OSError as error:
            command.remove_folders()
            return str(error)
        try:
            said, _ = process.communicate(timeout=_TRY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"did not finish within {_TRY_SECONDS} s"
        finally:
            command.remove_folders()
        if process.returncode == 0:
            return None
        return said.decode(errors="replace").strip() or f"exit code {process.returncode}"
