"""Prints the tables of docs/scale.md, from the configurations alone: python recipes/scale.py"""

from __future__ import annotations

from collections.abc import Iterator

from chogori.model import k2_1t, k2_5_text, k2_thinking, moonlight_16b
from chogori.model.inspection import Inspection, inspect_config
from chogori.model.scale import MACHINES, experts_read, machines_needed, most_tokens_per_second
from chogori.model.sizes import said

MODELS = {
    "Kimi K2 (FP8)": inspect_config(k2_1t(), "fp8"),
    "Kimi K2 Thinking (INT4)": inspect_config(k2_thinking(), "int4"),
    "Kimi K2.5, text (INT4)": inspect_config(k2_5_text(), "int4"),
    "Moonlight 16B (bf16)": inspect_config(moonlight_16b(), "bf16"),
}
SEQUENCES = (1, 16, 64, 256)


def sizes() -> Iterator[str]:
    """A row for each model."""
    yield "| model | parameters | active | weights | read a token | cache a token | cache, full |"
    yield "|---|---|---|---|---|---|---|"
    for name, found in MODELS.items():
        full = said(found.cache_bytes * found.config.context_tokens)
        context = f"{found.config.context_tokens:,}"
        yield (
            f"| {name} | {found.total:,} | {found.active:,} | {said(found.total_bytes)} | "
            f"{said(found.active_bytes)} | {found.cache_bytes:,} bytes | {full} ({context}) |"
        )


def machines(found: Inspection) -> Iterator[str]:
    """A row for each machine: how many, and the bound on tokens a second."""
    heads = " | ".join(f"{n} sequences" if n > 1 else "one sequence" for n in SEQUENCES)
    yield f"| accelerator | at least | {heads} |"
    yield "|---|---|" + "---|" * len(SEQUENCES)
    for machine in MACHINES:
        count = machines_needed(found, machine, found.config.context_tokens)
        bandwidth = count * machine.bytes_per_second
        bounds = (f"{most_tokens_per_second(found, bandwidth, n):,.0f}" for n in SEQUENCES)
        yield f"| {machine.name} | {count} | {' | '.join(bounds)} |"


def experts(found: Inspection) -> Iterator[str]:
    """How many experts of a layer a pass reads."""
    yield "| tokens in a pass | " + " | ".join(map(str, SEQUENCES)) + " |"
    yield "|---|" + "---|" * len(SEQUENCES)
    reads = (f"{experts_read(found, n):.0f}" for n in SEQUENCES)
    yield f"| experts read, of {found.config.experts.routed} | {' | '.join(reads)} |"


def tables() -> list[str]:
    """All of them, in the order of the document."""
    thinking = MODELS["Kimi K2 Thinking (INT4)"]
    made = (sizes(), machines(thinking), machines(MODELS["Kimi K2 (FP8)"]), experts(thinking))
    return ["\n".join(rows) for rows in made]


if __name__ == "__main__":
    print("\n\n".join(tables()))
