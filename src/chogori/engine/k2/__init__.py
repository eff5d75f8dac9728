"""A checkpoint of the K2 architecture in our own engine (`pip install 'chogori[k2]'`).

The simplest engine that is right: one sequence at a time over the latent cache. `sampler` chooses
tokens, `generation` runs the network, `description` knows what lies in a folder, and `model` is the
`ChatModel`. `nano` is a network of a few megabytes that comes with the package.
"""

from chogori.engine.k2.description import NANO, Description, describe, find_folder
from chogori.engine.k2.generation import Engine, read_logits
from chogori.engine.k2.model import K2Model
from chogori.engine.k2.sampler import Drawn, Sampler, Sampling

__all__ = [
    "NANO",
    "Description",
    "Drawn",
    "Engine",
    "K2Model",
    "Sampler",
    "Sampling",
    "describe",
    "find_folder",
    "read_logits",
]
