"""No confinement at all: for a machine that is itself the sandbox, and only on request.

`choose` never returns it. The program runs as the user who runs Chogori, with the network, in the
real folders; it gets an environment of its own, limits per process are not set, and the watchdog
still counts memory and processes. A process that detaches itself from its parents is not found
again and outlives the run.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chogori.toolbox.sandbox.landlock import host_path, host_places
from chogori.toolbox.sandbox.launcher import Command, base_env
from chogori.toolbox.sandbox.policy import Limits, Places, Policy


@dataclass(frozen=True, slots=True)
class Unsafe:
    """A plain subprocess."""

    @property
    def name(self) -> str:
        return "unsafe"

    @property
    def own_processes(self) -> bool:
        return False

    @property
    def own_tmp(self) -> bool:
        return False

    def places(self, policy: Policy) -> Places:
        return host_places(policy)

    def command(self, argv: Sequence[str], policy: Policy, limits: Limits) -> Command:
        tmp = Path(tempfile.mkdtemp(prefix="chogori-"))
        places = self.places(policy)
        path = host_path(policy)
        env = base_env(places, policy, path=path, tmp=str(tmp))
        program = shutil.which(argv[0], path=path) or argv[0]
        enter = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', places.work]
        return Command([*enter, program, *argv[1:]], env, [], [tmp])
