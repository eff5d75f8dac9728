"""Puts rooms together: a model from its spec, an assistant with its tools, a run's agent again.

May import every room but `apps`. The environment is read in `apps`; what comes from it is handed in.
"""

from chogori.presets.assistant import assistant, rebuild
from chogori.presets.load import load
from chogori.presets.models import KNOWN_MODELS, KnownModel, find_model, pull

__all__ = ["KNOWN_MODELS", "KnownModel", "assistant", "find_model", "load", "pull", "rebuild"]
