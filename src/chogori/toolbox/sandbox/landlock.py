"""Landlock and seccomp, for machines where nobody may make namespaces (Linux 6.12 or later).

It holds these: files can be read below the system's programs, the interpreter and the policy's
folders, written only in /out, the workspace if allowed, and a temporary folder; no sockets; no
signals to processes outside; every limit of `Limits` that is per process; no privileges, also as
root. Changes of mode, owner, times and extended attributes, which Landlock does not govern, appear
to succeed but do nothing.

It cannot do these. Paths are the host's own: there is no /work and no /out, and whether a path
exists can be found out (`stat`), though not what is in it. The temporary folder has no size limit.
Shared memory does not work. The number of processes is limited by the kernel for an ordinary user
(counting all that user runs), for root by the watchdog alone. Running as root, it is still the
owner of root's files among those it may read. What runs inside is ended by its supervisor, not by
the kernel.
"""

import ctypes
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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

ABI_NEEDED = 6
"""The first that keeps signals and abstract sockets inside."""
_CREATE_RULESET, _VERSION = 444, 1
_CHILD = Path(__file__).with_name("landlock_child.py")


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    if platform.system() != "Linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


@dataclass(frozen=True, slots=True)
class Landlock:
    """Confinement by the process itself, before it becomes the program."""

    @property
    def name(self) -> str:
        return "landlock"

    @property
    def own_processes(self) -> bool:
        return False

    @property
    def own_tmp(self) -> bool:
        return False

    def places(self, policy: Policy) -> Places:
        return host_places(policy)

    def command(self, argv: Sequence[str], policy: Policy, limits: Limits) -> Command:
        if abi() < ABI_NEEDED:
            raise SandboxUnavailable(
                f"Landlock here is version {abi()}; version {ABI_NEEDED} (Linux 6.12) is needed, "
                "since before it a confined program can signal the others of its user"
            )
        tmp = Path(tempfile.mkdtemp(prefix="chogori-"))
        places = self.places(policy)
        writable = [policy.out, tmp]
        readable = [Path(path) for path in ("/usr", *LIBRARY_PATHS, *ETC_PATHS)]
        readable += policy.readable.values()
        if policy.workspace is not None:
            (writable if policy.work_writable else readable).append(policy.workspace)
        if policy.python is not None:
            readable.append(policy.python.base)
            readable += [policy.python.environment] if policy.python.environment else []
        plan = {
            "argv": list(argv),
            "env": base_env(places, policy, path=host_path(policy), tmp=str(tmp)),
            "cwd": places.work,
            "readable": [str(path) for path in readable],
            "writable": [str(path) for path in writable],
            "limits": {
                "RLIMIT_DATA": limits.memory_bytes,
                "RLIMIT_FSIZE": limits.file_bytes,
                "RLIMIT_NOFILE": limits.open_files,
                "RLIMIT_CORE": 0,
                **({} if limits.cpu_seconds is None else {"RLIMIT_CPU": limits.cpu_seconds}),
            },
            "processes": limits.processes,
            "filter": seccomp.program(walls=False).hex(),
        }
        file = in_memory("plan", json.dumps(plan).encode())
        return Command(
            [sys.executable, "-I", "-S", str(_CHILD), str(file)],
            {},
            [file],
            [tmp],
        )


def host_places(policy: Policy) -> Places:
    """Where the folders are when nothing is mounted anew."""
    python = policy.python
    if python is None:
        inside = "/usr/bin/python3"
    elif python.environment is not None:
        inside = str(python.environment / "bin" / "python")
    else:
        inside = str(python.executable)
    out = os.path.realpath(policy.out)
    return Places(
        work=os.path.realpath(policy.workspace) if policy.workspace else out,
        out=out,
        python=inside,
        readable={name: str(path) for name, path in policy.readable.items()},
    )


def host_path(policy: Policy) -> str:
    """PATH when nothing is mounted anew."""
    folders = ["/usr/local/bin", "/usr/bin", "/bin"]
    if policy.python is not None:
        folders.insert(0, str(policy.python.base / "bin"))
        if policy.python.environment is not None:
            folders.insert(0, str(policy.python.environment / "bin"))
    return ":".join(folders)
