"""Whether the tensors of a checkpoint are those of its network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from chogori.errors import CheckpointError
from chogori.model.layout import Format, Stored, Weight, stored
from chogori.model.shards import Entry


def check(
    entries: Mapping[str, Entry], expected: Iterable[Weight], form: Format, folder: Path
) -> None:
    """Raises `CheckpointError` for the first tensor that is missing, mis-shaped, of another dtype
    or not of this network, and counts the others."""
    wrong: list[str] = []
    known: set[str] = set()
    for weight in expected:
        for tensor in stored(weight, form):
            known.add(tensor.name)
            if complaint := _complaint(tensor, entries.get(tensor.name)):
                wrong.append(complaint)
    wrong += [
        f"{name} does not belong to this network: found {_said(entry.dtype, entry.shape)}, "
        "expected nothing"
        for name, entry in entries.items()
        if name not in known
    ]
    if wrong:
        others = f" ({len(wrong) - 1:,} more are wrong)" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{folder} is not the {form} checkpoint that its config.json describes: "
            f"{wrong[0]}{others}"
        )


def _complaint(tensor: Stored, entry: Entry | None) -> str | None:
    expected = _said(tensor.dtype, tensor.shape)
    if entry is None:
        return f"{tensor.name} is missing: expected {expected}, found nothing"
    if entry.shape != tensor.shape or entry.dtype not in tensor.dtypes:
        return f"{tensor.name}: expected {expected}, found {_said(entry.dtype, entry.shape)}"
    return None


def _said(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}"
