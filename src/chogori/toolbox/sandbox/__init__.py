"""Where code of unknown intent runs: what it may see, what it may use, and how it ends.

`run` starts a program, `PythonSession` keeps a Python that remembers, `PythonPool` many of them;
what answers requests about files in there is `inside`.
Nothing runs unconfined unless it is given `Unsafe` by name: where no launcher works, they raise
`SandboxUnavailable`, which says what mends it. Standard library only; imports nothing of the
toolbox.

What is written to /out and /work comes from inside and may be a link to anywhere or a pipe: whoever
opens it on the host opens regular files only, and follows no links.
"""

from chogori.errors import SandboxUnavailable
from chogori.toolbox.sandbox.bwrap import Bwrap
from chogori.toolbox.sandbox.cell import Cell, PastCell
from chogori.toolbox.sandbox.choose import Probe, choose, probe
from chogori.toolbox.sandbox.fonts import make_fonts
from chogori.toolbox.sandbox.interpreter import Interpreter
from chogori.toolbox.sandbox.landlock import Landlock
from chogori.toolbox.sandbox.launcher import Launcher
from chogori.toolbox.sandbox.policy import Limits, Places, Policy
from chogori.toolbox.sandbox.pool import PythonPool
from chogori.toolbox.sandbox.process import Outcome, run
from chogori.toolbox.sandbox.python import PythonSession
from chogori.toolbox.sandbox.unsafe import Unsafe

__all__ = [
    "Bwrap",
    "Cell",
    "Interpreter",
    "Landlock",
    "Launcher",
    "Limits",
    "Outcome",
    "PastCell",
    "Places",
    "Policy",
    "Probe",
    "PythonPool",
    "PythonSession",
    "SandboxUnavailable",
    "Unsafe",
    "choose",
    "make_fonts",
    "probe",
    "run",
]
