"""The INT4 kernel in C (`int4_kernel.c`), compiled for this machine, where there is a compiler.

No compiler is required: `build_kernel` then gives None, and `linear` has another way. What was
compiled is kept in a folder of the caller's choice, under a name made of the source, the flags and
the processor, and is used only after it has agreed with the plain functions of `int4`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from chogori.quant.int4 import Int4Weight, dequantize, pack

SOURCE = Path(__file__).with_name("int4_kernel.c")
COMPILERS = ("cc", "gcc")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC")
CHUNK, GROUP = 128, 32
"""Columns come in multiples of `CHUNK`, in groups of `GROUP`."""
LANES = 32


class _Job(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_void_p),
        ("codes", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("tokens", ctypes.c_int64),
    )


class Kernel:
    """The compiled functions. Uses torch's own threads, so `torch.set_num_threads` holds."""

    def __init__(self, path: Path) -> None:
        # Left unresolved when it was linked, OpenMP is found in the library that torch has
        # loaded: a second pool of threads would spin against the first.
        library = ctypes.CDLL(str(path))
        self._linear = library.chogori_int4_linear
        self._linear.argtypes = (ctypes.c_void_p, *[ctypes.c_int64] * 3)
        self._linear.restype = None
        self._dequantize = library.chogori_int4_dequantize
        self._dequantize.argtypes = (*[ctypes.c_void_p] * 3, ctypes.c_int64)
        self._dequantize.restype = None
        self.path = path
        self.is_vectorised = bool(library.chogori_is_vectorised())

    @staticmethod
    def takes(weight: Int4Weight) -> bool:
        """Whether the matrix has a form that the kernel reads."""
        return (
            weight.shape[1] % CHUNK == 0
            and weight.group_size == GROUP
            and weight.scale_RG.dtype == torch.bfloat16
            and weight.words_RW.is_contiguous()
            and weight.scale_RG.is_contiguous()
            and weight.words_RW.device.type == "cpu"
        )

    def linears(self, inputs: Sequence[Tensor], weights: Sequence[Int4Weight]) -> list[Tensor]:
        """x @ w.T for each pair: bfloat16 [tokens, columns] in, the same dtype out.

        All the matrices have one shape; inputs that are the same tensor are arranged once.
        """
        rows, columns = weights[0].shape
        arranged = {id(x): arrange(x) for x in inputs}
        outputs = [torch.empty(x.shape[0], rows) for x in inputs]
        jobs = (_Job * len(inputs))(
            *(
                (
                    arranged[id(x)].data_ptr(),
                    weight.words_RW.data_ptr(),
                    weight.scale_RG.data_ptr(),
                    y.data_ptr(),
                    x.shape[0],
                )
                for x, weight, y in zip(inputs, weights, outputs, strict=True)
            )
        )
        self._linear(ctypes.addressof(jobs), len(jobs), rows, columns)
        return [y.to(x.dtype) for x, y in zip(inputs, outputs, strict=True)]

    def dequantize(self, weight: Int4Weight) -> Tensor:
        """The matrix in bfloat16, bit for bit that of `int4.dequantize`."""
        weight_RC = torch.empty(weight.shape, dtype=torch.bfloat16)
        self._dequantize(
            weight.words_RW.data_ptr(),
            weight.scale_RG.data_ptr(),
            weight_RC.data_ptr(),
            weight.scale_RG.numel(),
        )
        return weight_RC


def arrange(x_TC: Tensor) -> Tensor:
    """Columns in the order in which the kernel meets them: [chunk, lane, 4] to [chunk, 4, lane]."""
    return x_TC.unflatten(-1, (-1, LANES, CHUNK // LANES)).transpose(-1, -2).contiguous()


def build_kernel(folder: Path) -> Kernel | None:
    """The kernel for this machine, compiled into `folder` if it is not there yet (about a second).

    None where there is no C compiler, or where what it makes cannot be loaded or is wrong.
    """
    path = folder / f"int4-{_fingerprint()}.so"
    try:
        if not path.exists():
            _compile(path)
        kernel = Kernel(path)
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None
    return kernel if _agrees(kernel) else None


def _compile(path: Path) -> None:
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part, made = Path(folder) / "int4.o", Path(folder) / "int4.so"
        _run(compiler, *FLAGS, "-c", str(SOURCE), "-o", str(part))
        _run(compiler, "-shared", str(part), "-o", str(made))
        made.replace(path)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _fingerprint() -> str:
    """Changes with whatever the compiled file depends on."""
    about = [SOURCE.read_text(), *FLAGS, platform.machine(), torch.__version__]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        about += sorted({line for line in lines if line.startswith(("flags", "Features"))})
    return hashlib.sha256(os.linesep.join(about).encode()).hexdigest()[:16]


def _agrees(kernel: Kernel) -> bool:
    generator = torch.Generator().manual_seed(0)
    codes_RC = torch.randint(-8, 8, (24, 2 * CHUNK), generator=generator, dtype=torch.int8)
    scale_RG = torch.rand(24, 2 * CHUNK // GROUP, generator=generator).bfloat16()
    weight = Int4Weight(pack(codes_RC), scale_RG)
    x_TC = torch.randn(5, 2 * CHUNK, generator=generator).bfloat16()
    exact_TR = x_TC.double() @ dequantize(weight, torch.float64).T
    error = (kernel.linears([x_TC], [weight])[0].double() - exact_TR).abs().max()
    same = torch.equal(kernel.dequantize(weight), dequantize(weight))
    return same and bool(error <= 2**-7 * exact_TR.abs().max())
