"""The K2 network on one device, readable beside the papers, and how published weights find their
places in it.

Reading order: config, rope, latent, attention, router, experts, network; then layout, shards,
checkpoint, banks, loading, saving. Imports `quant` and `errors`; needs torch.
"""

from chogori.model.banks import HotExperts
from chogori.model.cache import LatentCache
from chogori.model.checkpoint import Checkpoint
from chogori.model.config import (
    AttentionShape,
    ExpertShape,
    K2Config,
    Yarn,
    read_config,
    write_config,
)
from chogori.model.experts import Expert, ExpertBank, OwnExperts
from chogori.model.loading import load, load_to_train
from chogori.model.network import K2
from chogori.model.published import (
    k2_1t,
    k2_5_text,
    k2_thinking,
    mini_225m,
    mini_many_experts,
    moonlight_16b,
    nano,
)
from chogori.model.saving import save

__all__ = [
    "K2",
    "AttentionShape",
    "Checkpoint",
    "Expert",
    "ExpertBank",
    "ExpertShape",
    "HotExperts",
    "K2Config",
    "LatentCache",
    "OwnExperts",
    "Yarn",
    "k2_1t",
    "k2_5_text",
    "k2_thinking",
    "load",
    "load_to_train",
    "mini_225m",
    "mini_many_experts",
    "moonlight_16b",
    "nano",
    "read_config",
    "save",
    "write_config",
]
