"""What every way of confining a program has in common: policy in, command line out.

A launcher starts nothing. It turns a policy into a `Command`, which `process.py` spawns, watches
and ends in one way for all of them.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chogori.toolbox.sandbox.policy import Limits, Places, Policy

LIBRARY_PATHS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Links into /usr, or folders of their own on systems that did not merge them."""

ETC_PATHS = (
    *("/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/ca-certificates"),
    *("/etc/java-17-openjdk", "/etc/java-21-openjdk", "/etc/magic"),
)
"""What ordinary programs read below /etc. It is never shown whole: it holds password hashes."""


@dataclass(slots=True)
class Command:
    """What to spawn. The descriptors are the command's own: they are closed once it is spawned."""

    argv: list[str]
    env: dict[str, str]
    descriptors: list[int] = field(default_factory=list[int])
    folders: list[Path] = field(default_factory=list[Path])
    """Made for this command, removed after it."""
    program: str | None = None
    """The file to run, where argv[0], which is visible inside, says something else."""

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def remove_folders(self) -> None:
        while self.folders:
            shutil.rmtree(self.folders.pop(), ignore_errors=True)


class Launcher(Protocol):
    """A way of confining."""

    @property
    def name(self) -> str: ...

    @property
    def own_processes(self) -> bool:
        """Whether what runs inside sees and signals only its own processes."""
        ...

    @property
    def own_tmp(self) -> bool:
        """Whether /tmp inside is empty, private and gone afterwards."""
        ...

    def places(self, policy: Policy) -> Places:
        """Where the folders of `policy` are, seen from inside."""
        ...

    def command(self, argv: Sequence[str], policy: Policy, limits: Limits) -> Command:
        """Raises SandboxUnavailable if this policy cannot be had here."""
        ...


def in_memory(name: str, content: bytes) -> int:
    """A descriptor from which a child reads `content`; nothing touches a disk."""
    descriptor = os.memfd_create(name)
    with suppress(OSError):
        os.set_inheritable(descriptor, True)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def base_env(places: Places, policy: Policy, *, path: str, tmp: str) -> dict[str, str]:
    """The whole environment of a program inside: nothing comes from the host's."""
    return {
        "PATH": path,
        "HOME": tmp,
        "TMPDIR": tmp,
        "LANG": "C.UTF-8",
        "WORK": places.work,
        "OUT": places.out,
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": f"{tmp}/matplotlib",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **policy.env,
    }
