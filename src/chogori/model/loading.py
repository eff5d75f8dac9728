"""From a checkpoint to a network.

`load` is for answering: weights stay mapped in their files, or become one copy in another dtype,
and routed experts come through `HotExperts`. `load_to_train` copies everything into parameters.
Neither holds more than one tensor beyond the network.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from chogori.model.banks import HotExperts, expert_budget
from chogori.model.checkpoint import Checkpoint
from chogori.model.experts import ExpertBank, OwnExperts
from chogori.model.layout import expert_name, stored, weights
from chogori.model.network import K2
from chogori.quant import Linears, TorchLinears

_FLOAT32_ALWAYS = (".mlp.gate.weight", ".e_score_correction_bias")
"""Routers compute in float32; converted once, not for every token. Saved, they are bfloat16 again,
bit for bit."""


def load(
    folder: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    memory_bytes: int | None = None,
    linears: Linears | None = None,
) -> K2:
    """The network of a checkpoint, for answering. With `memory_bytes` its weights take no more
    memory than that (beside Torch's own 0.5 GB), and it answers the same, slower.

    Raises `CheckpointError`, and `ConfigError` for a memory in which it cannot run at all.
    """
    checkpoint = Checkpoint(folder)
    linears = linears or TorchLinears()
    budget = None
    if memory_bytes is not None:
        wide = dtype.itemsize / 2
        others, expert = resident_bytes(checkpoint)
        if checkpoint.form != "int4":
            expert = int(expert * wide)
        budget = expert_budget(memory_bytes, int(others * wide), expert)
    hot = HotExperts(checkpoint, linears, dtype=dtype, budget_bytes=budget)
    with torch.device("meta"):
        network = K2(checkpoint.config, banks=hot.layer, linears=linears)
    found = {
        name: checkpoint.tensor(name, _dtype(name, dtype)) for name, _ in network.named_parameters()
    }
    network.load_state_dict(found, assign=True)
    return network.requires_grad_(False).eval()


def load_to_train(folder: Path, *, dtype: torch.dtype = torch.float32) -> K2:
    """The network of a checkpoint with its experts as parameters; INT4 is dequantised."""
    checkpoint = Checkpoint(folder)
    with torch.device("meta"):
        network = K2(checkpoint.config)
    network.to_empty(device="cpu").to(dtype)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".mlp.experts." not in name:
                parameter.data = checkpoint.tensor(name, _dtype(name, dtype)).clone()
        for layer in checkpoint.config.expert_layers:
            _fill(network.mixture(layer).experts, layer, checkpoint)
    return network


def resident_bytes(checkpoint: Checkpoint) -> tuple[int, int]:
    """What every token reads, in bfloat16, and what one routed expert takes as it is kept."""
    others = sum(
        2 * weight.count
        for weight in weights(checkpoint.config)
        if weight.component != "routed experts"
    )
    first = expert_name(checkpoint.config.dense_layers, 0) + "."
    form = "int4" if checkpoint.form == "int4" else "bf16"
    expert = sum(
        tensor.nbytes
        for weight in weights(checkpoint.config)
        if weight.name.startswith(first)
        for tensor in stored(weight, form)
    )
    return others, expert


def _fill(experts: ExpertBank, layer: int, checkpoint: Checkpoint) -> None:
    assert isinstance(experts, OwnExperts), "a network to train owns its experts"
    for number in range(checkpoint.config.experts.routed):
        for field in ("gate_proj", "up_proj", "down_proj"):
            stack: Tensor = getattr(experts, field)
            name = f"{expert_name(layer, number)}.{field}.weight"
            stack[number].copy_(checkpoint.tensor(name, stack.dtype))


def _dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if name.endswith(_FLOAT32_ALWAYS) else dtype
