"""The sizes of networks: the published ones, and small ones with every code path.

They live in the package, since commands need them; here they stand beside the other recipes.
"""

from chogori.model import (
    k2_1t,
    k2_5_text,
    k2_thinking,
    mini_225m,
    mini_many_experts,
    moonlight_16b,
    nano,
)

__all__ = [
    "k2_1t",
    "k2_5_text",
    "k2_thinking",
    "mini_225m",
    "mini_many_experts",
    "moonlight_16b",
    "nano",
]
