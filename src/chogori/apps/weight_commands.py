"""The commands for checkpoints of the K2 architecture, which `cli` puts beside the others."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chogori.apps.settings import Settings

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def bytes_of(text: str) -> int:
    """The bytes that `8GB`, `512 MiB` or `1000000` means. Raises `typer.BadParameter`."""
    said = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = _UNITS.get(said[2].upper()) if said else None
    if said is None or unit is None:
        raise typer.BadParameter(f"{text!r} is no amount of memory; expected one such as 8GB")
    return int(float(said[1]) * unit)


Memory = Annotated[
    int | None,
    typer.Option(
        help="What the weights of a k2: model may take, such as 8GB; experts beyond that are read "
        "from its files. Default: all of them.",
        parser=bytes_of,
        show_default=False,
        metavar="SIZE",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def inspect(
    path: Annotated[
        str, typer.Argument(help="The folder of a checkpoint, or k2:nano.", metavar="PATH")
    ],
    json: Json = False,
) -> None:
    """Say what a checkpoint is and what it takes to run it; config.json and index are enough."""
    with _told():
        from chogori.apps import weights

        weights.print_inspection(path, json_wanted=json)


def logits(
    model: Annotated[str, typer.Argument(help="k2:PATH or k2:nano.", metavar="SPEC")],
    ids: Annotated[str, typer.Option(help="Token ids, as 1,2,3.", metavar="IDS")],
    json: Json = False,
    dtype: Annotated[
        str, typer.Option(help="What is computed in: float32 or bfloat16.", metavar="DTYPE")
    ] = "float32",
    memory: Memory = None,
) -> None:
    """Print the logits of the last position: the likeliest, or all of them as a JSON list."""
    with _told():
        from chogori.apps import weights

        weights.print_logits(model, ids, json_wanted=json, dtype=dtype, memory_bytes=memory)


def quantize(
    source: Annotated[str, typer.Argument(help="A checkpoint in bf16 or FP8.", metavar="SRC")],
    target: Annotated[Path, typer.Argument(help="A new folder.", metavar="DST")],
    rule: Annotated[
        str, typer.Option(help="The scale of a group: absmax/7.5 or absmax/7.", metavar="RULE")
    ] = "absmax/7.5",
) -> None:
    """Write a checkpoint with its routed experts in INT4. What was stopped goes on."""
    with _told():
        from chogori.apps import weights

        weights.quantize(source, target, rule)


def compare(
    a: Annotated[str, typer.Argument(help="A model's spec, or a checkpoint's folder.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    suite: Annotated[Path, typer.Option(help="Questions and answers.", metavar="FILE")],
    tokens: Annotated[int, typer.Option(min=1, help="The longest reply.", metavar="N")] = 1024,
    json: Json = False,
    memory: Memory = None,
) -> None:
    """Ask two models the same questions; print the difference and every answer that flips."""
    with _told(memory) as settings:
        from chogori.apps import comparing

        comparing.compare(settings, (a, b), suite, tokens=tokens, json_wanted=json)


@contextmanager
def _told(memory_bytes: int | None = None) -> Generator[Settings]:
    from chogori.apps.failures import told
    from chogori.apps.settings import read_settings

    settings = read_settings(os.environ, memory_bytes=memory_bytes)
    with told(settings.data):
        yield settings
