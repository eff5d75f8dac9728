"""Which Python a sandbox shows inside.

An interpreter is a base (its library and executable, found by absolute path) and, for a virtual
environment, one folder of packages. Inside, the base stays where it is, because its executable has
that path compiled in; the packages are shown in /opt/venv, a virtual environment made on the spot,
so that an environment below a folder the sandbox uses itself (`/work`) is visible all the same.
"""

import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python installation, with or without a virtual environment."""

    base: Path
    """sys.base_prefix."""
    executable: Path
    """The base's own executable."""
    environment: Path | None
    """sys.prefix of the virtual environment."""
    packages: Path | None
    """The environment's site-packages."""
    version: str
    """As in `python3.11`."""

    @classmethod
    def running(cls) -> Self:
        """The one that runs this program."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        base = Path(sys.base_prefix).resolve()
        in_environment = sys.prefix != sys.base_prefix
        return cls(
            base=base,
            executable=base / "bin" / version,
            environment=Path(sys.prefix).resolve() if in_environment else None,
            packages=Path(sysconfig.get_path("purelib")).resolve() if in_environment else None,
            version=version,
        )
