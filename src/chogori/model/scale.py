"""What it takes to run a checkpoint, computed from its sizes.

A decoded token reads every active weight once, so bandwidth bounds its speed; with many sequences
at once more experts are read for a pass, and their caches beside them. The figures are bounds: what
no machine with these numbers can beat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from chogori.model.inspection import Inspection
from chogori.model.sizes import said


@dataclass(frozen=True, slots=True)
class Machine:
    """One accelerator, or one computer without any, by its maker's figures."""

    name: str
    bytes: float
    bytes_per_second: float


MACHINES = (
    Machine("H200 141 GB", 141e9, 4.8e12),
    Machine("H20 96 GB", 96e9, 4.0e12),
    Machine("B200 180 GB", 180e9, 7.7e12),
    Machine("MI300X 192 GB", 192e9, 5.3e12),
)
USABLE = 0.9
"""Of an accelerator's memory; the rest is activations and what the engine needs itself."""


def experts_read(inspection: Inspection, sequences: int) -> float:
    """How many different experts of a layer a pass of so many tokens reads, if all are equally
    likely: E (1 - (1 - K/E)^n)."""
    e = inspection.config.experts
    return e.routed * (1 - (1 - e.chosen / e.routed) ** sequences)


def bytes_read(inspection: Inspection, sequences: int, context_tokens: int) -> float:
    """By one pass that decodes a token of each sequence."""
    e = inspection.config.experts
    routed = inspection.bytes["routed experts"] * experts_read(inspection, sequences) / e.routed
    others = inspection.resident_bytes - inspection.bytes["embedding"]
    return others + routed + sequences * context_tokens * inspection.cache_bytes


def machines_needed(inspection: Inspection, machine: Machine, cached_tokens: int) -> int:
    """So many hold the weights and a cache of so many tokens, rounded up to a power of two, as
    tensor parallelism goes."""
    whole = inspection.total_bytes + cached_tokens * inspection.cache_bytes
    count = ceil(whole / (machine.bytes * USABLE))
    return 1 << (count - 1).bit_length()


def most_tokens_per_second(
    inspection: Inspection, bytes_per_second: float, sequences: int = 1, context_tokens: int = 4096
) -> float:
    """Of all sequences together, bounded by bandwidth."""
    seconds = bytes_read(inspection, sequences, context_tokens) / bytes_per_second
    return sequences / seconds


def needs(inspection: Inspection) -> Iterator[str]:
    """What it needs to run, in sentences."""
    context = inspection.config.context_tokens
    cache = context * inspection.cache_bytes
    yield f"to run whole: {said(inspection.total_bytes)} of memory, and {said(cache)} of cache"
    yield (
        f"to run at all: {said(inspection.resident_bytes)}, experts being read from the files "
        f"(--memory); each token reads {said(inspection.active_bytes)}"
    )
    if inspection.total_bytes < 50e9:
        return
    for machine in MACHINES:
        count = machines_needed(inspection, machine, context)
        most = most_tokens_per_second(inspection, count * machine.bytes_per_second)
        yield f"{count:3} x {machine.name}: at most {most:,.0f} tokens a second for one sequence"
