"""What `models inspect`, `quantize` and `logits` do with checkpoints of the K2 architecture."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from chogori.errors import ConfigError, ModelUnavailable

if TYPE_CHECKING:
    from chogori.model.inspection import Inspection

SHOWN = 10


def print_inspection(spec: str, *, json_wanted: bool) -> None:
    """Say what a checkpoint is: `k2:nano`, `k2:PATH` or its folder. Raises `ConfigError` and
    `CheckpointError`."""
    with _needs_torch():
        from chogori.engine.k2 import find_folder
        from chogori.model.inspection import inspect
        from chogori.model.scale import needs
    path = find_folder(spec)
    found = inspect(path)
    if json_wanted:
        _print_json(found)
        return
    c, e, a = found.config, found.config.experts, found.config.attention
    print(f"{spec}: {found.form}, {found.tensors:,} tensors")
    if not found.has_weights:
        print("its files of weights are not here: all numbers come from config.json")
    print()
    print(f"parameters   {found.total:,}, of which {found.active:,} are active in a token")
    print(
        f"network      {c.layers} layers of {c.hidden_size:,}, {c.dense_layers} dense; "
        f"{e.routed} experts of {e.width:,}, {e.chosen} chosen, {e.shared} shared; {a.heads} heads"
    )
    print(f"context      {c.context_tokens:,} tokens, {found.cache_bytes:,} bytes of cache a token")
    print()
    width = max(map(len, found.parameters))
    print(f"{'component':{width}}  {'parameters':>21}  {'bytes':>19}")
    for component, count in found.parameters.items():
        print(f"{component:{width}}  {count:21,}  {found.bytes[component]:19,}")
    print(f"{'in all':{width}}  {found.total:21,}  {found.total_bytes:19,}")
    print()
    for line in needs(found):
        print(line)


def quantize(source: str, target: Path, rule: str) -> None:
    """Write the INT4 form of a checkpoint into another folder. Raises `ConfigError` and
    `CheckpointError`."""
    with _needs_torch():
        from chogori.engine.k2 import find_folder
        from chogori.model.quantizing import quantize_checkpoint
        from chogori.quant import RULES
    if rule not in RULES:
        raise ConfigError(f"there is no rule {rule!r}; there are: {', '.join(RULES)}")

    def progress(done: int, whole: int) -> None:
        print(f"{done} of {whole} files are written", file=sys.stderr, flush=True)

    try:
        quantize_checkpoint(find_folder(source), target, rule=RULES[rule], progress=progress)
    except KeyboardInterrupt as stop:
        stop.add_note(
            f"what is whole is kept; to go on: chogori quantize {source} {target} --rule {rule}"
        )
        raise
    print(f"{target} is whole")


def print_logits(
    spec: str, ids: str, *, json_wanted: bool, dtype: str, memory_bytes: int | None
) -> None:
    """The logits that follow `ids`: as a JSON list, or the likeliest tokens in a table."""
    with _needs_torch():
        import torch

        from chogori.engine.k2 import describe, find_folder, read_logits
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if dtype not in dtypes:
        raise ConfigError(f"--dtype is {dtype!r}; expected {' or '.join(dtypes)}")
    described = describe(find_folder(spec), spec)
    logits = read_logits(described, read_ids(ids), dtypes[dtype], memory_bytes)
    if json_wanted:
        print(json.dumps(logits))
        return
    likeliest = sorted(range(len(logits)), key=lambda id: -logits[id])[:SHOWN]
    print(f"{'id':>8}  {'logit':>12}")
    for id in likeliest:
        print(f"{id:8}  {logits[id]:12.6f}")


def read_ids(text: str) -> Sequence[int]:
    """The token ids in `1,2,3`. Raises `ConfigError`."""
    try:
        ids = [int(each) for each in text.split(",")]
    except ValueError:
        raise ConfigError(f"--ids is {text!r}; expected token ids such as 1,2,3") from None
    return ids


@contextmanager
def _needs_torch() -> Generator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "tiktoken"):
            raise
        raise ModelUnavailable(
            f"this needs {error.name}, which is not installed: pip install 'chogori[k2]'"
        ) from None


def _print_json(found: Inspection) -> None:
    print(
        json.dumps(
            {
                "format": found.form,
                "parameters": found.total,
                "active_parameters": found.active,
                "bytes": found.total_bytes,
                "active_bytes": found.active_bytes,
                "resident_bytes": found.resident_bytes,
                "cache_bytes_per_token": found.cache_bytes,
                "context_tokens": found.config.context_tokens,
                "tensors": found.tensors,
                "has_weights": found.has_weights,
                "components": {
                    component: {"parameters": count, "bytes": found.bytes[component]}
                    for component, count in found.parameters.items()
                },
            }
        )
    )
