"""A checkpoint's routed experts to INT4, from folder to folder, one tensor in memory at a time.

All other weights are written in bfloat16, what lies beside the text network (K2.5's vision tower)
as it is. Shards that are whole are kept when it is stopped and go on from there; a file of notes
says of which source and rule they were made, and is removed at the end.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from chogori.errors import CheckpointError
from chogori.model.checkpoint import CONFIG, INDEX, Checkpoint
from chogori.model.layout import Stored
from chogori.model.saving import (
    SHARD_BYTES,
    Encoder,
    Planned,
    Progress,
    quantization_of,
    write_checkpoint,
)
from chogori.quant import MINMAX, ScaleRule

NOTES = "quantizing.json"


def quantize_checkpoint(
    source: Path,
    target: Path,
    *,
    rule: ScaleRule = MINMAX,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = lambda done, whole: None,
) -> None:
    """Write the INT4 form of `source` into `target`, or go on writing it.

    Raises `CheckpointError` if the source is INT4 already, or if `target` holds anything else.
    """
    checkpoint = Checkpoint(source)
    if checkpoint.form == "int4":
        raise CheckpointError(
            f"{source} is INT4 already: quantizing it again would change it; use it as it is"
        )
    notes = {"source": _fingerprint(checkpoint), "rule": rule.name, "shard_bytes": shard_bytes}
    _claim(target, notes)
    published = copy.deepcopy(checkpoint.published)
    text = published.get("text_config", published)
    for holder in (published, text):
        holder.pop("quantization_config", None)
    text.update(quantization_of("int4"))
    write_checkpoint(
        target, published, _plan(checkpoint, rule), shard_bytes=shard_bytes, progress=progress
    )
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".safetensors" and path.name not in (CONFIG, INDEX):
            shutil.copy2(path, target / path.name)
    (target / NOTES).unlink()


def _plan(checkpoint: Checkpoint, rule: ScaleRule) -> Iterator[Planned]:
    encoder = Encoder(lambda weight: checkpoint.matrix(weight.name), "int4", rule)
    for weight in checkpoint.expected():
        for planned in encoder.plan(weight):
            tensor = planned.stored
            yield replace(planned, stored=replace(tensor, name=checkpoint.prefix + tensor.name))
    for name, entry in checkpoint.beside.items():
        tensor = Stored(name, frozenset({entry.dtype}), entry.shape, entry.dtype)
        yield Planned(tensor, lambda name=name: checkpoint.raw(name))


def _claim(target: Path, notes: dict[str, object]) -> None:
    """Take the folder for our own: a new or empty one, or one that was begun with equal notes."""
    path = target / NOTES
    if path.exists():
        begun = json.loads(path.read_text())
        if begun != notes:
            raise CheckpointError(
                f"{target} was begun from another source or by another rule ({begun['rule']}, now "
                f"{notes['rule']}); name another folder, or remove that one"
            )
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} is there already and is not written over; name a new one")
    target.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notes))


def _fingerprint(checkpoint: Checkpoint) -> str:
    """Tells sources apart by their configuration and the places of their tensors."""
    about = [json.dumps(checkpoint.published, sort_keys=True)]
    about += [f"{name} {entry}" for name, entry in sorted(checkpoint.entries.items())]
    about += [
        f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in sorted(checkpoint.folder.glob("*.safetensors"))
    ]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()
