"""transformers' network of the same sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chogori.model import K2Config, write_config


def peer_config(config: K2Config) -> Any:
    """As transformers reads it from our config.json."""
    from transformers import DeepseekV3Config

    published = write_config(config)
    for ours in ("architectures", "model_type", "dtype", "latent_norm_eps"):
        published.pop(ours, None)
    return DeepseekV3Config(**published)


def peer_logits(folder: Path, ids_BT: Tensor, config: K2Config) -> Tensor:
    """What transformers makes of a checkpoint that we wrote, [B, T, V]."""
    from transformers import DeepseekV3ForCausalLM

    network = DeepseekV3ForCausalLM.from_pretrained(
        folder, config=peer_config(config), dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        return network(ids_BT).logits
