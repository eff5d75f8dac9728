"""The latent cache: what attention keeps of each token.

One row of C = latent_rank + rope_dim values for each token and layer: the normalised latent, and
the rotated key that all heads share (576 values in K2; 70,272 bytes a token in bfloat16).

Dimension key:
  B batch    T new tokens    S tokens seen, T included    C cached values
"""

from __future__ import annotations

import torch
from torch import Tensor

from chogori.model.config import K2Config

_FIRST_CAPACITY = 256


class LatentCache:
    """Sequences of equal length. Grows by doubling; `cut` makes it as if less had been read."""

    def __init__(self, config: K2Config, *, batch: int = 1, dtype: torch.dtype) -> None:
        self.length = 0
        self._rows = [
            torch.empty(batch, 0, config.attention.cached_dim, dtype=dtype)
            for _ in range(config.layers)
        ]

    def extend(self, layer: int, rows_BTC: Tensor) -> Tensor:
        """Put the new tokens of `layer` behind what is there, and return it all, [B, S, C].

        Every layer is extended by the same tokens before `advance` counts them.
        """
        stop = self.length + rows_BTC.shape[1]
        if stop > self._rows[layer].shape[1]:
            self._grow(layer, stop)
        self._rows[layer][:, self.length : stop] = rows_BTC
        return self._rows[layer][:, :stop]

    def advance(self, tokens: int) -> None:
        """The pass over all layers is done."""
        self.length += tokens

    def cut(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        assert length <= self.length, "a cache is cut to what it holds"
        self.length = length

    @property
    def nbytes(self) -> int:
        return sum(rows.nbytes for rows in self._rows)

    def _grow(self, layer: int, least: int) -> None:
        old = self._rows[layer]
        capacity = max(least, 2 * old.shape[1], _FIRST_CAPACITY)
        self._rows[layer] = old.new_empty(old.shape[0], capacity, old.shape[2])
        self._rows[layer][:, : self.length] = old[:, : self.length]
