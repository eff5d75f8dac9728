"""Measures what a checkpoint takes that is larger than the memory it is given.

    python bench/k2_memory.py [--small] [--folder FOLDER] [--without-compiler]

Writes a mini with many experts (random codes, over 4 GB; 90 MB with --small), decodes 64 tokens
with all the memory there is and with a quarter of the checkpoint (`--memory`), and wants the same
tokens and at most that quarter and 0.7 GB for Python and Torch.

Mapped pages count. Where a memory cgroup can be made (version 1 or 2), the second run is put into
one that allows no more than is wanted, and its own highest usage is told; elsewhere the highest
resident set of the process. The files are dropped from the page cache before each run, so that the
run which reads them also pays for them. Exits with 1 if the row is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

PROMPT, TOKENS = tuple(range(1, 257)), 64
"""Reading so many different tokens, nearly every expert is asked for."""
BEYOND_BYTES = 700_000_000
"""What Python and Torch take beside the weights."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run said, and the most memory that it had, in bytes."""

    said: list[int]
    resident: int
    charged: int | None = None
    """By the cgroup; None: there was none."""

    @property
    def peak(self) -> int:
        return self.resident if self.charged is None else self.charged


@dataclass(frozen=True, slots=True)
class Group:
    """A memory cgroup of our own."""

    folder: Path
    peak_file: str

    def join(self) -> None:
        """Put this process into it."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak(self) -> int | None:
        path = self.folder / self.peak_file
        return int(path.read_text()) if path.exists() else None


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Group | None]:
    """A cgroup with this limit, gone afterwards; None where none can be made."""
    group = next((made for place in _places() if (made := _made(*place, limit_bytes))), None)
    try:
        yield group
    finally:
        if group is not None:
            group.folder.rmdir()


def _places(root: Path = Path("/sys/fs/cgroup")) -> Iterator[tuple[Path, str, str]]:
    """Folders in which a group may be made, with the names of its limit and of its peak."""
    groups = Path("/proc/self/cgroup")
    lines = groups.read_text().splitlines() if groups.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "memory":
            files = ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
            yield root / "memory" / path.lstrip("/"), *files
            yield root / "memory", *files
        elif not controllers:
            yield root / path.lstrip("/"), "memory.max", "memory.peak"
            yield root, "memory.max", "memory.peak"


def _made(parent: Path, limit_file: str, peak_file: str, limit_bytes: int) -> Group | None:
    folder = parent / f"chogori-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        # Where the parent hands down no memory controller, the file is not there.
        with (folder / limit_file).open("r+") as file:
            file.write(str(limit_bytes))
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        return None
    return Group(folder, peak_file)


def write_random(folder: Path, *, small: bool) -> int:
    """An INT4 checkpoint of random codes, its scales such that the numbers stay in bounds; its
    size in bytes."""
    import torch
    from torch import Tensor

    from chogori.model import mini_many_experts, nano, write_config
    from chogori.model.layout import Stored, Weight, stored, weights
    from chogori.model.saving import Planned, quantization_of, write_checkpoint

    generator = torch.Generator().manual_seed(0)

    def make(weight: Weight, tensor: Stored) -> Tensor:
        if tensor.name.endswith("_packed"):
            limits = torch.iinfo(torch.int32)
            return torch.randint(
                limits.min, limits.max, tensor.shape, generator=generator, dtype=torch.int32
            )
        if tensor.name.endswith("_scale"):
            return torch.full(tensor.shape, 0.01)
        if tensor.name.endswith("_shape"):
            return torch.tensor(weight.shape)
        if "norm" in tensor.name:
            return torch.ones(tensor.shape)
        return torch.randn(tensor.shape, generator=generator) * 0.05

    config = mini_many_experts()
    if small:
        config = replace(nano(), experts=replace(config.experts, width=512))
    plan = [
        Planned(tensor, lambda weight=weight, tensor=tensor: make(weight, tensor))
        for weight in weights(config)
        for tensor in stored(weight, "int4")
    ]
    published = {**write_config(config), **quantization_of("int4")}
    write_checkpoint(folder, published, plan, shard_bytes=1_000_000_000)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def forget(folder: Path) -> None:
    """Drop the files of a folder from the page cache."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(
    folder: Path, kernels: Path | None, memory_bytes: int | None, group: Group | None = None
) -> Ran:
    """Decode in a process of its own, which ends up in `group`."""
    forget(folder)
    given = json.dumps([str(folder), str(kernels) if kernels else None, memory_bytes])
    done = subprocess.run(
        [sys.executable, __file__, "--decode", given],
        capture_output=True,
        text=True,
        timeout=1800,
        preexec_fn=None if group is None else group.join,
    )
    if done.returncode:
        raise SystemExit(f"the run ended with {done.returncode}\n{done.stderr}")
    said, resident = json.loads(done.stdout)
    return Ran(said, resident, None if group is None else group.peak)


def decode(given: str) -> None:
    """What such a process does: print the tokens, and its highest resident set."""
    from chogori.engine.k2 import Engine
    from chogori.model import load
    from chogori.quant import build_kernel, linears_of

    folder, kernels, memory_bytes = json.loads(given)
    linears = linears_of(build_kernel(Path(kernels)) if kernels else None)
    network = load(Path(folder), memory_bytes=memory_bytes, linears=linears)
    engine = Engine(network, context_tokens=1000)
    said = [drawn.id for drawn in engine.generate(PROMPT, limit=TOKENS)]
    status = Path("/proc/self/status").read_text()
    print(json.dumps([said, int(status.partition("VmHWM:")[2].split()[0]) * 1024]))


def measure(folder: Path, kernels: Path | None, *, small: bool) -> bool:
    """Write, run twice, print the row; whether it is met."""
    size = write_random(folder, small=small)
    budget = size // 4
    whole = run(folder, kernels, None)
    with memory_group(budget + BEYOND_BYTES) as group:
        little = run(folder, kernels, budget, group)
    is_same = little.said == whole.said and len(whole.said) == TOKENS
    is_met = is_same and little.peak <= budget + BEYOND_BYTES
    way = "the resident set" if little.charged is None else "a memory cgroup of that size"
    print(
        f"a checkpoint of {size / 1e9:.2f} GB with --memory {budget / 1e9:.2f} GB, by {way}\n"
        f"    wanted   the same {TOKENS} tokens, at most {(budget + BEYOND_BYTES) / 1e9:.2f} GB\n"
        f"    measured {'the same' if is_same else 'OTHER'} tokens, {little.peak / 1e9:.2f} GB "
        f"(resident {little.resident / 1e9:.2f}, without the limit {whole.resident / 1e9:.2f})\n"
        f"    {'met' if is_met else 'MISSED'}"
    )
    print(json.dumps({"bytes": size, "resident": [little.resident, whole.resident]}))
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--folder", type=Path, help="where 4.2 GB are free for a while")
    parser.add_argument("--without-compiler", action="store_true")
    parser.add_argument("--decode", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.decode:
        decode(wanted.decode)
        return 0
    with tempfile.TemporaryDirectory(dir=wanted.folder) as made:
        kernels = None if wanted.without_compiler else Path(made) / "kernels"
        return 0 if measure(Path(made) / "model", kernels, small=wanted.small) else 1


if __name__ == "__main__":
    raise SystemExit(main())
