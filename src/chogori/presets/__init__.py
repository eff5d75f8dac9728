"""Puts rooms together: a model from its spec, an assistant with its tools; pulls model files.

May import every room but `apps`. The environment is read in `apps` and handed in.
"""

from chogori.presets.assistant import assistant
from chogori.presets.load import load
from chogori.presets.models import KNOWN_MODELS, KnownModel, find_model, pull
from chogori.presets.rebuild import rebuild
from chogori.presets.swarm import Width, swarm

__all__ = [
    "KNOWN_MODELS",
    "KnownModel",
    "Width",
    "assistant",
    "find_model",
    "load",
    "pull",
    "rebuild",
    "swarm",
]
