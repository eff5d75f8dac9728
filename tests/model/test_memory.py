"""A checkpoint of over 4 GB in a quarter of that memory: the same tokens, and what it really takes.

Each run is a process of its own, whose highest resident set the kernel counts: mapped pages, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from chogori.model import mini_many_experts, write_config
from chogori.model.layout import Stored, stored, weights
from chogori.model.saving import Planned, quantization_of, write_checkpoint

TOKENS = 64
BEYOND_BYTES = 700_000_000
"""What torch and Python take beside the weights."""
PROGRAM = """
import json, sys
from pathlib import Path
import torch
from chogori.engine.k2 import Engine
from chogori.model import load
from chogori.quant import build_kernel, linears_of

folder, kernels, memory_bytes = json.loads(sys.argv[1])
linears = linears_of(build_kernel(Path(kernels)) if kernels else None)
network = load(Path(folder), memory_bytes=memory_bytes, linears=linears)
engine = Engine(network, context_tokens=1000)
said = [drawn.id for drawn in engine.generate(list(range(1, 17)), limit=64)]
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps([said, peak]))
"""


@dataclass(frozen=True)
class Ran:
    """What a run said, and the most memory it had."""

    said: list[int]
    peak_bytes: int


def run(folder: Path, kernels: Path | None, memory_bytes: int | None) -> Ran:
    given = json.dumps([str(folder), str(kernels) if kernels else None, memory_bytes])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, given], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return Ran(*json.loads(done.stdout))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Random codes, scales that keep the numbers in bounds."""
    folder = tmp_path_factory.mktemp("large")
    generator = torch.Generator().manual_seed(0)

    def make(tensor: Stored) -> Tensor:
        if tensor.name.endswith("_packed"):
            limits = torch.iinfo(torch.int32)
            return torch.randint(
                limits.min, limits.max, tensor.shape, generator=generator, dtype=torch.int32
            )
        if tensor.name.endswith("_scale"):
            return torch.full(tensor.shape, 0.01)
        if tensor.name.endswith("_shape"):
            return torch.zeros(tensor.shape)
        if "norm" in tensor.name:
            return torch.ones(tensor.shape)
        return torch.randn(tensor.shape, generator=generator) * 0.05

    config = mini_many_experts()
    plan = [
        Planned(tensor, lambda tensor=tensor: make(tensor))
        for weight in weights(config)
        for tensor in stored(weight, "int4")
    ]
    published = {**write_config(config), **quantization_of("int4")}
    write_checkpoint(folder, published, plan, shard_bytes=1_000_000_000)
    yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux counts it in /proc")
@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "torch alone"])
def test_a_quarter_of_the_memory_gives_the_same_tokens(
    folder: Path, tmp_path: Path, compiled: bool
) -> None:
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert size >= 4e9
    kernels = tmp_path if compiled else None
    little = run(folder, kernels, size // 4)
    assert len(little.said) == TOKENS
    print(f"{size / 4e9:.2f} GB: at most {little.peak_bytes / 1e9:.2f} GB were taken")
    assert little.peak_bytes <= size // 4 + BEYOND_BYTES
    assert run(folder, kernels, None).said == little.said
