"""What a cell of Python leaves behind, and what can be said of its code before it runs."""

import ast
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

LIBRARIES = ("numpy", "pandas", "matplotlib.pyplot", "sympy")
"""What takes long to import: asked for in advance by `start`."""

_FIGURE = re.compile(r"figure-[0-9]+\.png")
_LONGEST_ERROR = 20_000


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of running a cell."""

    output: str
    """stdout, stderr and the last expression's value; head and tail if it was long."""
    error: str | None
    """A short traceback, or why the process ended; None if all went well."""
    figures: tuple[Path, ...]
    """On the host: the matplotlib figures that were open at the end, saved and closed."""
    files_changed: bool
    """Whether the code changed a file in /out or /work, its saved figures apart."""
    seconds: float
    whole_output: Path | None = None
    """On the host, when `output` was cut."""
    timed_out: bool = False
    note: str | None = None
    """What became of the variables, where they are not simply kept."""
    ended: bool = False
    """Whether Python ended in it; its variables are then gone, those before may come back."""

    @property
    def is_pure(self) -> bool:
        """Whether running it again changes nothing in the world and leads to the same variables."""
        return not (self.files_changed or self.timed_out or self.ended)


@dataclass(frozen=True, slots=True)
class PastCell:
    """A cell that was run, as far as running it again needs to know."""

    code: str
    failed: bool | None
    """Whether it raised; None where nobody knows."""
    seconds: float


def libraries(code: str) -> set[str]:
    """Those of LIBRARIES that `code` imports by name."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {library for library in LIBRARIES if library in named}


def error_in(answer: dict[str, Any]) -> str | None:
    """The error a worker reported; code inside may have forged it."""
    error = answer.get("error")
    return None if error is None else str(error)[:_LONGEST_ERROR]


def figures_in(answer: dict[str, Any] | None, out: Path) -> tuple[Path, ...]:
    """The figures a worker reported, those that are what they should be: regular files in `out`."""
    told: object = (answer or {}).get("figures")
    named = cast(list[object], told) if isinstance(told, list) else []
    paths = [out / name for name in named if isinstance(name, str) and _FIGURE.fullmatch(name)]
    return tuple(path for path in paths if _is_regular(path))


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def cells(count: int) -> str:
    return "the cell before" if count == 1 else f"the {count} cells before"


def lost_note(count: int) -> str | None:
    if not count:
        return None
    return (
        f"the variables are lost: of {cells(count)} some changed files or were interrupted, so "
        "they are not run again by themselves; what they wrote is still there"
    )
