"""Measures the K2 engine on this machine, in one run, and prints one table.

    python bench/k2.py [--only layer,experts,decode] [--experts 384] [--rounds 15]

layer    one true-size layer of Kimi K2 (hidden 7168, 384 experts of 2048, top-8, random INT4 codes)
         decoded at batch 1: milliseconds, and the published bytes of the eight experts as a share
         of the read bandwidth that is measured here. Takes 10 GB of memory.
experts  64 true-size experts, INT4 against bfloat16, at 1 to 256 tokens, by each way there is.
         Takes 8 GB of memory.
decode   a mini of 225 M parameters (64 M active) against transformers with its cache and its best
         experts implementation, the same weights and dtype: decoding at batch 1, and prefill.

All figures are medians. What is compared is measured alternately, round by round.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from chogori.model import Expert, LatentCache, k2_1t, load, mini_225m, save
from chogori.model.experts import visit
from chogori.model.feed_forward import SwiGLU
from chogori.model.network import K2
from chogori.quant import (
    Int4Weight,
    Kernel,
    Linears,
    Matrix,
    TorchLinears,
    build_kernel,
    dequantize,
    linears_of,
)

HIDDEN, WIDTH, CHOSEN = 7168, 2048, 8
TOKENS = (1, 4, 16, 64, 256)
DRAWS = 50
"""Of experts, made before anything is timed."""
PROMPT_TOKENS, REPLY_TOKENS = 512, 64
PEER_EXPERTS = ("eager", "batched_mm", "grouped_mm")
WANTED_SHARE, WANTED_INT4, WANTED_DECODE, WANTED_PREFILL = 0.70, 3.0, 2.0, 1.0
FEWEST, PATIENCE = 3, 20.0
"""Rounds that there always are, and the seconds after which there are no more than these."""
SPREAD = 1.1
"""Two measurements of one thing differ by so much."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; `is_met` is None where nothing is wanted."""

    what: str
    wanted: str
    measured: str
    is_met: bool | None
    details: str = ""


class Bank:
    """Experts in memory."""

    def __init__(self, experts: Sequence[Expert]) -> None:
        self._experts = experts

    def take(self, numbers: Sequence[int]) -> list[Expert]:
        return [self._experts[number] for number in numbers]


def medians(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, measured one after the other in every round; one round goes before. What is
    slow here has fewer rounds, three at least."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    began = time.perf_counter()
    for round in range(rounds + 1):
        if round > FEWEST and time.perf_counter() - began > PATIENCE:
            break
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if round:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}


def drawn_int4(rows: int, columns: int, generator: torch.Generator) -> Int4Weight:
    words_RW = torch.randint(
        -(2**31), 2**31 - 1, (rows, columns // 8), dtype=torch.int32, generator=generator
    )
    scale_RG = torch.rand(rows, columns // 32, generator=generator).mul_(0.01).bfloat16()
    return Int4Weight(words_RW, scale_RG)


def drawn_expert(generator: torch.Generator) -> Expert:
    return Expert(
        drawn_int4(WIDTH, HIDDEN, generator),
        drawn_int4(WIDTH, HIDDEN, generator),
        drawn_int4(HIDDEN, WIDTH, generator),
    )


def routes(tokens: int, experts: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, and evenly drawn experts with their weights."""
    x_ND = torch.randn(tokens, HIDDEN, generator=generator).bfloat16()
    chosen_NK = torch.rand(tokens, experts, generator=generator).topk(CHOSEN).indices
    return x_ND, chosen_NK, torch.full((tokens, CHOSEN), 1 / CHOSEN)


def fresh(
    bank: Bank, linears: Linears, tokens: int, experts: int, seed: int
) -> Callable[[], Tensor]:
    """Visits other experts at each call, so that none is in the processor's cache. Ways that are
    measured in turn want seeds of their own: each would find what the one before has read."""
    generator = torch.Generator().manual_seed(seed)
    drawn = cycle([routes(tokens, experts, generator) for _ in range(DRAWS)])

    def way() -> Tensor:
        return visit(bank, linears, *next(drawn))

    return way


def layer(kernel: Kernel | None, experts: int, rounds: int) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    held = torch.ones(1 << 28)  # a gigabyte, which no cache holds
    bank = Bank([drawn_expert(generator) for _ in range(experts)])
    published = CHOSEN * bank.take([0])[0].nbytes
    shared = SwiGLU(HIDDEN, WIDTH, linears_of(kernel)).bfloat16().requires_grad_(False)
    x_1D = torch.randn(1, HIDDEN).bfloat16()
    took = medians(
        {
            "routed": fresh(bank, linears_of(kernel), 1, experts, 1),
            "shared": lambda: shared(x_1D),
            "read": held.sum,  # in turn with the rest: what memory gives changes with the hour
        },
        3 * rounds,
    )
    read = held.nbytes / took["read"]  # bytes a second
    share = published / took["routed"] / read
    return [
        Row(
            f"a layer's 8 routed experts of {experts}, one token: share of the read bandwidth",
            f">= {WANTED_SHARE:.0%}",
            f"{share:.0%}",
            share >= WANTED_SHARE,
            f"{1e3 * took['routed']:.2f} ms for {published / 1e6:.0f} published MB; "
            f"{read / 1e9:.1f} GB/s are read here",
        ),
        Row("its shared expert, bfloat16", "-", f"{1e3 * took['shared']:.2f} ms", None),
    ]


class DequantizeOnce:
    """The way for many tokens, at any number of them."""

    def __init__(self, kernel: Kernel | None) -> None:
        self.kernel = kernel

    def prepare(self, weight: Int4Weight) -> Int4Weight:
        return weight

    def __call__(self, inputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> list[Tensor]:
        return [
            functional.linear(x, self._whole(matrix))
            for x, matrix in zip(inputs, matrices, strict=True)
        ]

    def _whole(self, matrix: Matrix) -> Tensor:
        assert isinstance(matrix, Int4Weight)
        return self.kernel.dequantize(matrix) if self.kernel else dequantize(matrix)


class Direct:
    """The kernel's way for a few tokens, at any number of them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def prepare(self, weight: Int4Weight) -> Int4Weight:
        return weight

    def __call__(self, inputs: Sequence[Tensor], matrices: Sequence[Matrix]) -> list[Tensor]:
        weights = [matrix for matrix in matrices if isinstance(matrix, Int4Weight)]
        return self.kernel.products(inputs, weights)


def experts(kernel: Kernel | None, count: int, rounds: int) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    int4 = [drawn_expert(generator) for _ in range(count)]
    banks = {"INT4": Bank(int4), "bf16": Bank([_each(each, dequantize) for each in int4])}
    ways: dict[str, tuple[str, Linears]] = {
        "bf16 by torch": ("bf16", TorchLinears()),
        "bf16 as chosen": ("bf16", linears_of(kernel)),
        "chosen": ("INT4", linears_of(kernel)),
        "dequantized once": ("INT4", DequantizeOnce(kernel)),
    }
    if kernel is not None:
        ways["from the codes"] = ("INT4", Direct(kernel))
    rows: list[Row] = []
    for tokens in TOKENS:
        took = medians(
            {
                name: fresh(banks[form], linears, tokens, count, seed)
                for seed, (name, (form, linears)) in enumerate(ways.items())
            },
            rounds if tokens < 64 else max(3, rounds // 3),
        )
        plain = min(seconds for name, seconds in took.items() if name.startswith("bf16"))
        best = min(took[name] for name in ("dequantized once", "from the codes") if name in took)
        ratio = plain / took["chosen"]
        details = ", ".join(f"{name} {1e3 * each:.1f} ms" for name, each in took.items())
        if tokens == 1:
            rows.append(
                Row(
                    f"{count} experts, one token: INT4 against the faster bf16",
                    f">= {WANTED_INT4:.0f} x",
                    f"{ratio:.2f} x",
                    ratio >= WANTED_INT4,
                    details,
                )
            )
        rows.append(
            Row(
                f"{count} experts, {tokens} tokens: the chosen way against the best",
                f"<= {SPREAD} x",
                f"{took['chosen'] / best:.2f} x",
                took["chosen"] <= SPREAD * best,
                f"{ratio:.1f} x the faster bf16: {details}",
            )
        )
    return rows


def _each(expert: Expert, change: Callable[[Int4Weight], Tensor]) -> Expert:
    matrices = (expert.gate_FD, expert.up_FD, expert.down_DF)
    return Expert(*(change(matrix) for matrix in matrices if isinstance(matrix, Int4Weight)))


def decode(kernel: Kernel | None, rounds: int) -> list[Row]:
    config = replace(mini_225m(), latent_norm_eps=1e-6)
    ids = torch.randint(config.vocab_size, (1, PROMPT_TOKENS))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        save(K2(config).draw_(0), Path(folder))
        for dtype in (torch.bfloat16, torch.float32):
            rows += _decode_in(Path(folder), dtype, linears_of(kernel), ids, rounds)
    return rows


def _decode_in(
    folder: Path, dtype: torch.dtype, linears: Linears, ids: Tensor, rounds: int
) -> list[Row]:
    network = load(folder, dtype=dtype, linears=linears)

    def prefill() -> LatentCache:
        cache = LatentCache(network.config, dtype=dtype)
        network.next_logits(ids, cache)
        return cache

    ours = prefill()

    def reply() -> None:
        ours.cut(PROMPT_TOKENS)
        token = ids[:, -1:]
        for _ in range(REPLY_TOKENS):
            token = network.next_logits(token, ours).argmax(-1, keepdim=True)

    kind = str(dtype).removeprefix("torch.")
    whats = [f"mini, {kind}, decoding at batch 1", f"mini, {kind}, prefill of {PROMPT_TOKENS}"]
    wanted = [WANTED_DECODE, WANTED_PREFILL]
    try:
        peers = {name: _peer(folder, dtype, name, ids) for name in PEER_EXPERTS}
    except Exception as error:  # whatever keeps the peer from running, the row must say so
        why = f"the peer did not run: {type(error).__name__}: {error}"
        return [
            Row(what, f">= {x:.0f} x", "-", False, why)
            for what, x in zip(whats, wanted, strict=True)
        ]
    replies = {"ours": reply, **{name: peer[1] for name, peer in peers.items()}}
    prefills = {"ours": prefill, **{name: peer[0] for name, peer in peers.items()}}
    rounds = max(3, rounds // 3)
    with torch.inference_mode():
        said = medians(_in_the_running(replies), rounds)
        read = medians(_in_the_running(prefills), rounds)
    return [
        _against_peer(whats[0], said, REPLY_TOKENS, WANTED_DECODE),
        _against_peer(whats[1], read, PROMPT_TOKENS, WANTED_PREFILL),
    ]


def _in_the_running(ways: Mapping[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """Ours, and the ways of the peer that took at most three times its best, tried once."""
    tried = medians({name: way for name, way in ways.items() if name != "ours"}, 1)
    limit = 3 * min(tried.values())
    return {name: way for name, way in ways.items() if tried.get(name, 0.0) <= limit}


def _peer(
    folder: Path, dtype: torch.dtype, experts_implementation: str, ids: Tensor
) -> tuple[Callable[[], object], Callable[[], None]]:
    """Prefill and reply of transformers."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, DynamicCache

    published = json.loads((folder / "config.json").read_text())
    # Under the name kimi_k2 it would not find the places of the experts.
    config = DeepseekV3Config(**{k: v for k, v in published.items() if k != "model_type"})
    network = DeepseekV3ForCausalLM.from_pretrained(
        folder, config=config, dtype=dtype, experts_implementation=experts_implementation
    )

    @torch.inference_mode()  # a graph of batched_mm holds every expert of every token
    def prefill() -> DynamicCache:
        cache = DynamicCache(config=config)
        network(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    cache = prefill()

    def reply() -> None:
        cache.crop(PROMPT_TOKENS - cache.get_seq_length())  # a negative number
        token = ids[:, -1:]
        for _ in range(REPLY_TOKENS):
            logits = network(token, past_key_values=cache, use_cache=True).logits
            token = logits[:, -1].argmax(-1, keepdim=True)

    return prefill, reply


def _against_peer(what: str, took: dict[str, float], tokens: int, wanted: float) -> Row:
    best = min((name for name in took if name != "ours"), key=lambda name: took[name])
    ratio = took[best] / took["ours"]
    found = ", ".join(f"{name} {tokens / seconds:,.0f}/s" for name, seconds in took.items())
    return Row(
        f"{what}, against transformers",
        f">= {wanted:.0f} x",
        f"{ratio:.2f} x",
        ratio >= wanted,
        f"the best being {best}; tokens: {found}",
    )


def show(rows: Sequence[Row]) -> None:
    marks = {True: "met", False: "MISSED", None: ""}
    for row in rows:
        print(f"{row.what:76} {row.wanted:>8} {row.measured:>9}  {marks[row.is_met]}")
        if row.details:
            print(f"    {row.details}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="layer,experts,decode")
    parser.add_argument("--experts", type=int, default=k2_1t().experts.routed)
    parser.add_argument("--rounds", type=int, default=15)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kernel = build_kernel(Path(folder))
    print(_machine(kernel))
    print(f"\n{'measure':76} {'wanted':>8} {'measured':>9}")
    rows: list[Row] = []
    for name in wanted.only.split(","):
        match name:
            case "layer":
                made = layer(kernel, wanted.experts, wanted.rounds)
            case "experts":
                made = experts(kernel, min(64, wanted.experts), wanted.rounds)
            case "decode":
                made = decode(kernel, wanted.rounds)
            case _:
                parser.error(f"there is no part {name!r}")
        show(made)
        rows += made
        gc.collect()  # ten gigabytes make room for the next eight
    missed = sum(row.is_met is False for row in rows)
    print(f"\n{missed} rows missed" if missed else "\nevery row is met")
    return 1 if missed else 0


def _machine(kernel: Kernel | None) -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers"))
    way = "none" if kernel is None else kernel.way
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}; compiled "
        f"kernel: {way}"
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = [line for line in path.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.processor()


if __name__ == "__main__":
    raise SystemExit(main())
