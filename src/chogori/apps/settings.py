"""What the environment and the common options say. Nothing below `apps` reads the environment.

CHOGORI_MODEL                        the model, where --model names none
XDG_DATA_HOME                        the data folder is $XDG_DATA_HOME/chogori, mode 0700
CHOGORI_API_KEY, CHOGORI_API_HOST    a key, and the one host it goes to
MOONSHOT_API_KEY, OPENAI_API_KEY     keys for those two alone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chogori.errors import ConfigError

if TYPE_CHECKING:
    from chogori.chat import ChatModel

DEFAULT_MODEL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The data folder, the model's spec, and the environment for what needs more of it."""

    data: Path
    model: str = DEFAULT_MODEL
    memory_bytes: int | None = None
    """What the weights of a k2: model may take; None: all of them."""
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def runs(self) -> Path:
        """Where each run that is kept has a folder of its own, for what its tools write."""
        return self.data / "runs"

    def make_data(self) -> Path:
        """The data folder, made if need be, for its owner alone. Raises `ConfigError`."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.runs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the data folder {self.data} cannot be made: {error.strerror}; name another with "
                "--data DIR"
            ) from error
        return self.data

    def load(self, spec: str = "") -> ChatModel:
        """The model, or that of another spec. Raises `ConfigError` and `ModelFileError`.

        A file is named by its whole path, so that a run finds it again from any folder."""
        from chogori.presets import load

        return load(
            spec or self.model,
            data=self.data,
            environ=self.environ,
            memory_bytes=self.memory_bytes,
        )


def read_settings(
    environ: Mapping[str, str],
    *,
    data: Path | None = None,
    model: str | None = None,
    memory_bytes: int | None = None,
) -> Settings:
    """Options first, then the environment, then the defaults."""
    home = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Settings(
        data=(data or Path(home) / "chogori").expanduser().absolute(),
        model=model or environ.get("CHOGORI_MODEL") or DEFAULT_MODEL,
        memory_bytes=memory_bytes,
        environ=dict(environ),
    )
