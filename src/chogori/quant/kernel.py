"""The kernel in C, compiled for this machine, where there is a compiler.

`products.c` multiplies few tokens with INT4, bfloat16 and float32 matrices; `token.c` does what
else a new token needs in bfloat16. No compiler is required: `build_kernel` then gives None, and
there is another way. What was compiled is kept in a folder of the caller's choice, under a name
made of the source, the flags and the processor, and is used only after its products have agreed
with the plain functions of `int4`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chogori.quant.int4 import Int4Weight, dequantize, pack

SOURCES = tuple(Path(__file__).with_name(name) for name in ("products.c", "token.c"))
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.h")))
COMPILERS = ("cc", "gcc")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC")
CHUNK, GROUP, LANES = 128, 32, 32
"""Columns of codes come in multiples of `CHUNK`, in groups of `GROUP`; those of bfloat16 in
multiples of `LANES`, and of float32 in any number."""
_JOB = 8
"""Numbers that say what one product is: `job_t`."""


class Kernel:
    """The compiled functions. Uses torch's own threads, so `torch.set_num_threads` holds."""

    def __init__(self, path: Path) -> None:
        # Left unresolved when it was linked, OpenMP is found in the library that torch has
        # loaded: a second pool of threads would spin against the first.
        library = ctypes.CDLL(str(path))
        self._products = _function(library.chogori_products, "pi")
        self._arrange = _function(library.chogori_arrange, "ppi")
        self._dequantize = _function(library.chogori_dequantize, "pppi")
        self._rms_norm = _function(library.chogori_rms_norm, "pppiif")
        self._latent_row = _function(library.chogori_latent_row, "pppppiif")
        self._attend = _function(library.chogori_attend, "pf")
        self.path = path
        library.chogori_way.restype = ctypes.c_char_p
        self.way: str = library.chogori_way().decode()
        """By which of the three headers rows are multiplied."""
        self._chunk_bytes: int = library.chogori_chunk_bytes()

    @staticmethod
    def takes(weight: object) -> bool:
        """Whether the matrix has a form that the kernel reads."""
        if isinstance(weight, Tensor):
            is_half = weight.dtype == torch.bfloat16 and weight.shape[1] % LANES == 0
            is_read = is_half or weight.dtype == torch.float32
            is_fixed = is_read and not weight.requires_grad
            return is_fixed and weight.is_contiguous() and weight.device.type == "cpu"
        return (
            isinstance(weight, Int4Weight)
            and weight.shape[1] % CHUNK == 0
            and weight.group_size == GROUP
            and weight.scale_RG.dtype == torch.bfloat16
            and weight.addresses is not None
        )

    def products(
        self, inputs: Sequence[Tensor], weights: Sequence[Tensor | Int4Weight]
    ) -> list[Tensor]:
        """x @ w.T for each pair: [..., columns] in, the same dtype out, which is that of a plain
        matrix, and bfloat16 for codes.

        Inputs that are the same tensor are arranged once.
        """
        held: dict[tuple[int, bool], tuple[Tensor, int, int, bool]] = {}
        outputs = _room(inputs, [weight.shape[0] for weight in weights])
        jobs = array("q")
        for x, weight, y in zip(inputs, weights, outputs, strict=True):
            rows, columns = weight.shape
            is_coded = isinstance(weight, Int4Weight)
            given = held.get((id(x), is_coded))
            if given is None:
                arranged = self._given(x.contiguous(), is_coded)
                about = (x.numel() // columns, x.dtype == torch.float32)
                given = held[id(x), is_coded] = (arranged, arranged.data_ptr(), *about)
            at = weight.addresses if is_coded else (weight.data_ptr(), 0)
            assert at is not None, "it is taken"
            jobs.extend((given[1], *at, y.data_ptr(), given[2], rows, columns, given[3]))
        self._products(jobs.buffer_info()[0], len(jobs) // _JOB)
        return outputs

    def _given(self, x: Tensor, is_coded: bool) -> Tensor:
        """x in the order and form in which codes are met."""
        if not is_coded:
            return x
        count = x.numel() // CHUNK
        chunks = torch.empty(count * self._chunk_bytes, dtype=torch.uint8)
        self._arrange(x.data_ptr(), chunks.data_ptr(), count)
        return chunks

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

    @staticmethod
    def norms(x: Tensor, weight_C: Tensor) -> bool:
        """Whether numbers and weight are such as `token.c` reads, and nobody wants a gradient."""
        both = (x, weight_C)
        return all(
            each.dtype == torch.bfloat16 and each.device.type == "cpu" and not each.requires_grad
            for each in both
        )

    def rms_norm(self, x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        """x / sqrt(mean(x^2) + eps), rounded, times the weight; bfloat16 [..., C]."""
        x = x.contiguous()
        y = torch.empty_like(x)
        columns = x.shape[-1]
        rows = x.numel() // columns
        self._rms_norm(x.data_ptr(), weight_C.data_ptr(), y.data_ptr(), rows, columns, eps)
        return y

    def latent_row(
        self, kv_C: Tensor, weight_L: Tensor, eps: float, cos_I: Tensor, sin_I: Tensor
    ) -> Tensor:
        """What the latent cache keeps of one token: its latent, normalised, and its key, rotated by
        these tables (float32)."""
        row_C, rank = torch.empty_like(kv_C), len(weight_L)
        pointers = [each.data_ptr() for each in (kv_C, weight_L, cos_I, sin_I, row_C)]
        self._latent_row(*pointers, rank, kv_C.numel() - rank, eps)
        return row_C

    def attend(
        self,
        q_HQ: Tensor,
        rows_SC: Tensor,
        up_HXL: Tensor,
        cos_I: Tensor,
        sin_I: Tensor,
        scale: float,
    ) -> Tensor:
        """Attention of one token's queries, which it rotates, over the rows of the latent cache:
        [H, V]. `up_HXL` holds, by heads, the rows that make keys of latents, then those for values.
        """
        heads, queries = q_HQ.shape
        (seen, columns), (rows, rank) = rows_SC.shape, up_HXL.shape[1:]
        rope = columns - rank
        values = rows - (queries - rope)
        out_HV = q_HQ.new_empty(heads, values)
        scratch = torch.empty(heads * (columns + seen + rank), dtype=torch.float32)
        tensors = (q_HQ, rows_SC, up_HXL, cos_I, sin_I, out_HV, scratch)
        about = array("q", [each.data_ptr() for each in tensors])
        about.extend((heads, queries - rope, rope, values, rank, seen))
        self._attend(about.buffer_info()[0], scale)
        return out_HV


def _room(inputs: Sequence[Tensor], rows: Sequence[int]) -> list[Tensor]:
    """A place for each product: one piece of memory where all are alike, as those of experts are,
    since each piece costs as much as a product's share of the rest."""
    alike = {(x.shape, x.dtype, count) for x, count in zip(inputs, rows, strict=True)}
    if len(alike) == 1:
        [(shape, dtype, count)] = alike
        return [*torch.empty((len(rows), *shape[:-1], count), dtype=dtype).unbind()]
    return [x.new_empty((*x.shape[:-1], count)) for x, count in zip(inputs, rows, strict=True)]


def _function(made: Any, kinds: str) -> Any:
    """A function of the library, its arguments being pointers, integers and floats."""
    types = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}
    made.argtypes = [types[kind] for kind in kinds]
    made.restype = None
    return made


def build_kernel(folder: Path, *, flags: Sequence[str] = FLAGS) -> Kernel | None:
    """The kernel for this machine, compiled into `folder` if it is not there yet (about a second).
    `flags` can name an older processor than this one.

    None where there is no C compiler, or where what it makes cannot be loaded or is wrong.
    """
    path = folder / f"kernel-{_fingerprint(flags)}.so"
    try:
        if not path.exists():
            _compile(path, flags)
        kernel = Kernel(path)
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None
    return kernel if _agrees(kernel) else None


def _compile(path: Path, flags: Sequence[str]) -> None:
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        parts = [str(Path(folder) / f"{source.stem}.o") for source in SOURCES]
        for source, part in zip(SOURCES, parts, strict=True):
            _run(compiler, *flags, "-c", str(source), "-o", part)
        made = Path(folder) / "kernel.so"
        _run(compiler, "-shared", *parts, "-lm", "-o", str(made))
        made.replace(path)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _fingerprint(flags: Sequence[str]) -> str:
    """Changes with whatever the compiled file depends on."""
    about = [
        *(each.read_text() for each in (*HEADERS, *SOURCES)),
        *flags,
        platform.machine(),
        torch.__version__,
    ]
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
    # The result is rounded to eight bits, and so may each weight have been; or neither.
    ways = ((weight, 2**-7), (dequantize(weight), 2**-7), (dequantize(weight, torch.float32), 1e-5))
    exact_TR = x_TC.double() @ dequantize(weight, torch.float64).T
    for held, room in ways:
        given_TC = x_TC.to(held.dtype) if isinstance(held, Tensor) else x_TC
        error = (kernel.products([given_TC], [held])[0].double() - exact_TR).abs().max()
        if not error <= room * exact_TR.abs().max():
            return False
    return torch.equal(kernel.dequantize(weight), dequantize(weight))
