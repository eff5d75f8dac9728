"""safetensors files, mapped to read and streamed to write: one tensor in memory at a time.

The format: eight bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, the tensors
one after another. A checkpoint of several files has an index beside them that says which file holds
which tensor. Files of hundreds of gigabytes are read where they lie, in the page cache; the library
of that name writes a file only from tensors that are all in memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import torch
from torch import Tensor

from chogori.errors import CheckpointError
from chogori.model.layout import DTYPE_BYTES, Stored

TORCH_DTYPES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "I32": torch.int32,
    "I64": torch.int64,
}
_LONGEST_HEADER = 100_000_000  # as in the library
_ALIGNMENT = 64  # of the first tensor: a cache line


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor stands in its file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Shard:
    """One file, mapped when its first tensor is asked for. Its tensors must not be written to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = _read_header(path)
        self._map: mmap.mmap | None = None

    def tensor(self, name: str) -> Tensor:
        """The tensor where it lies; it takes memory only as its pages are touched."""
        entry = self.entries[name]
        dtype = TORCH_DTYPES.get(entry.dtype)
        if dtype is None:
            known = ", ".join(TORCH_DTYPES)
            raise CheckpointError(
                f"{self.path}: {name} has the dtype {entry.dtype}; expected one of {known}"
            )
        count = prod(entry.shape)
        if not count:
            return torch.empty(entry.shape, dtype=dtype)
        if entry.start % dtype.itemsize:  # torch reads no misaligned numbers in place
            raw = bytearray(self._mapped()[entry.start : entry.stop])
            return torch.frombuffer(raw, dtype=dtype).view(entry.shape)
        with warnings.catch_warnings():
            # Torch warns that it could write to what it must not; nothing here does.
            warnings.simplefilter("ignore")
            flat = torch.frombuffer(self._mapped(), dtype=dtype, count=count, offset=entry.start)
        return flat.view(entry.shape)

    def fetch(self, names: Iterable[str]) -> None:
        """Have the pages of these tensors read ahead."""
        self._advise("MADV_WILLNEED", names)

    def drop(self, names: Iterable[str]) -> None:
        """Let go of the memory of these tensors. They read the same afterwards, from the file."""
        self._advise("MADV_DONTNEED", names)

    def _advise(self, advice: str, names: Iterable[str]) -> None:
        option: int | None = getattr(mmap, advice, None)
        if option is None:  # not on this system, where the kernel decides alone
            return
        for name in names:
            entry = self.entries[name]
            start = entry.start - entry.start % mmap.PAGESIZE
            if entry.stop > start:
                self._mapped().madvise(option, start, entry.stop - start)

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map


class ShardWriter:
    """Writes the planned tensors, in the order of the plan, as a context. The file gets its name
    at the end of it; what an error leaves behind ends in `.part`."""

    def __init__(self, path: Path, plan: Sequence[Stored]) -> None:
        self.path = path
        self._plan = plan
        self._part = path.with_name(path.name + ".part")
        self._file: BinaryIO = self._part.open("wb")
        self._file.write(_header(plan))
        self._written = 0

    def write(self, tensor: Tensor) -> None:
        """The next of the plan."""
        planned = self._plan[self._written]
        assert tuple(tensor.shape) == planned.shape, f"{planned.name} is written as planned"
        flat = tensor.detach().to(TORCH_DTYPES[planned.dtype]).contiguous()
        self._file.write((ctypes.c_char * flat.nbytes).from_address(flat.data_ptr()))
        self._written += 1

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        with self._file:
            if kind is not None:
                return
            assert self._written == len(self._plan), "every planned tensor is written"
            self._file.flush()
            os.fsync(self._file.fileno())
        self._part.replace(self.path)


def _header(plan: Sequence[Stored]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in plan:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (at, at + tensor.nbytes),
        }
        at += tensor.nbytes
    text = orjson.dumps(header)
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _read_header(path: Path) -> dict[str, Entry]:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, _LONGEST_HEADER):
                raise CheckpointError(
                    f"{path} is not a whole safetensors file: its header should be {length:,} "
                    f"bytes long and the file is {size:,}; fetch it again"
                )
            header = orjson.loads(file.read(length))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not there; fetch the whole checkpoint") from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is not a safetensors file: its header is no JSON object")
    header.pop("__metadata__", None)
    entries = {name: _entry(path, name, about, 8 + length) for name, about in header.items()}
    end = max((entry.stop for entry in entries.values()), default=0)
    if end > size:
        raise CheckpointError(
            f"{path} is truncated: its tensors end at byte {end:,} and the file is {size:,} bytes "
            "long; fetch it again"
        )
    return entries


def _entry(path: Path, name: str, about: Any, data: int) -> Entry:
    try:
        start, stop = about["data_offsets"]
        shape = tuple(about["shape"])
        if not all(type(each) is int and each >= 0 for each in (*shape, start, stop - start)):
            raise ValueError("a size that is none")
        entry = Entry(about["dtype"], shape, data + start, data + stop)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the header of {name} is malformed: {about}") from error
    width = DTYPE_BYTES.get(entry.dtype)
    if width is not None and entry.stop - entry.start != prod(entry.shape) * width:
        raise CheckpointError(
            f"{path}: {name} of {entry.dtype} {list(entry.shape)} should take "
            f"{prod(entry.shape) * width:,} bytes; its place has {entry.stop - entry.start:,}"
        )
    return entry
