"""matplotlib's list of fonts, made once instead of in every sandbox (seconds each).

It is made in a sandbox like any other, by code that is ours, and afterwards shown read-only: each
sandbox copies it, so that none can alter what another reads.
"""

import shutil
import stat
import tempfile
from pathlib import Path

from chogori.toolbox.sandbox.launcher import Launcher
from chogori.toolbox.sandbox.policy import Limits, Policy
from chogori.toolbox.sandbox.process import run

_SECONDS = 120.0


async def make_fonts(folder: Path, *, launcher: Launcher | None = None) -> bool:
    """Fill `folder` unless it is filled; give it to sessions by `Policy(readable={"fonts": ...})`.

    False if matplotlib is not installed: the folder is then empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("fontlist-*.json")):
        return True
    with tempfile.TemporaryDirectory(prefix="chogori-fonts-") as made:
        script = 'MPLCONFIGDIR="$OUT" exec python3 -c "import matplotlib.pyplot"'
        policy = Policy(out=Path(made))
        await run(["/bin/sh", "-c", script], policy, Limits(), _SECONDS, launcher=launcher)
        found = False
        for path in Path(made).glob("fontlist-*.json"):
            if stat.S_ISREG(path.lstat().st_mode):
                part = folder / f"{path.name}.part"
                shutil.copyfile(path, part, follow_symlinks=False)
                part.replace(folder / path.name)
                found = True
    return found
