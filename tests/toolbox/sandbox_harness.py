"""Who runs a sandbox in these tests, and with which launchers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chogori.toolbox.sandbox.bwrap import find_binaries

DRIVER = Path(__file__).with_name("sandbox_driver.py")
USER = 12345
IS_ROOT = os.geteuid() == 0

BWRAPS = [str(path) for path in find_binaries()]
LAUNCHERS = [*BWRAPS, "landlock"]

needs_root = pytest.mark.skipif(not IS_ROOT, reason="to test it as root: sudo pytest tests/toolbox")
needs_bwrap = pytest.mark.skipif(not BWRAPS, reason="no bwrap: pip install 'chogori[sandbox]'")
IDENTITIES = [pytest.param("root", marks=needs_root), "user"]
"""Who starts the sandbox; below, root on files whose owner cannot be mapped."""
ROOT_ON_OVERLAY = pytest.param("root on overlayfs", marks=needs_root)


def drive(launcher: str, identity: str, **order: Any) -> dict[str, Any]:
    """What the driver reports of a sandbox that `identity` started."""
    argv = [sys.executable, str(DRIVER), launcher, json.dumps(order)]
    if identity == "user" and IS_ROOT:
        argv = as_user(argv)
    if identity == "root on overlayfs":
        argv = ["unshare", "--mount", "/bin/sh", "-ec", _ON_OVERLAY, *argv]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_ON_OVERLAY = """
mount -t tmpfs none /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/merged
mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/merged
TMPDIR=/mnt/merged exec "$0" "$@"
"""


def as_user(argv: list[str]) -> list[str]:
    """The same as an ordinary user, who can also reach an interpreter in root's home."""
    dropped = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *argv]
    base = Path(sys.base_prefix).resolve()
    closed = [path for path in base.parents if not path.stat().st_mode & 0o001]
    if not closed:
        return dropped
    if shutil.which("bwrap") is None and not BWRAPS:
        pytest.skip(f"an ordinary user cannot enter {closed[-1]}: chmod o+x {closed[-1]}")
    view = [BWRAPS[0], "--dev-bind", "/", "/", "--perms", "0755", "--tmpfs", str(closed[-1])]
    for folder in reversed(base.parents):
        if folder.is_relative_to(closed[-1]) and folder != closed[-1]:
            view += ["--perms", "0755", "--dir", str(folder)]
    return [*view, "--ro-bind", str(base), str(base), "--", *dropped]
