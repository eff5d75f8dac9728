"""One sequence at a time through the network, its cache kept for the next.

The steps of a run share a prefix: what of a prompt is in the cache already, by the longest common
prefix of token ids, is not read again. Long prompts are read in slices, so that a pass takes
memory for a slice and can be stopped between two.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from chogori.engine.k2.description import Description
from chogori.engine.k2.sampler import Drawn, Sampler, Sampling
from chogori.errors import ConfigError, ContextTooLong
from chogori.model import K2, LatentCache, load

SLICE_TOKENS = 512


class Engine:
    """A network and the tokens that it has read. Not for two threads at once."""

    def __init__(self, network: K2, *, context_tokens: int) -> None:
        self._network = network
        self._context_tokens = context_tokens
        self._cache = LatentCache(network.config, dtype=network.lm_head.weight.dtype)
        self._read: list[int] = []
        """The ids whose rows are in the cache."""
        self.reused = 0
        """How much of the last prompt was not read again."""

    def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling = Sampling(),
        *,
        limit: int | None = None,
        stop_ids: frozenset[int] = frozenset(),
    ) -> Generator[Drawn]:
        """Tokens one by one, a stop id included, at most `limit` and to the end of the context.

        Closing the iterator stops it between two passes. Raises `ContextTooLong`.
        """
        room = self._context_tokens - len(prompt)
        sampler = Sampler(sampling)
        drawn = sampler.draw(self.read(prompt))
        yield drawn
        for _ in range(1, room if limit is None else min(limit, room)):
            if drawn.id in stop_ids:
                return
            drawn = sampler.draw(self._pass([drawn.id]))
            yield drawn

    def read(self, prompt: Sequence[int]) -> Tensor:
        """Read `prompt`, as far as it is not in the cache; the logits that follow it, [V].

        Raises `ContextTooLong` where no token could follow it.
        """
        assert prompt, "a prompt has a token"
        if len(prompt) >= self._context_tokens:
            raise ContextTooLong(
                f"the conversation is {len(prompt):,} tokens long and this model reads "
                f"{self._context_tokens:,}; ask with less, or with a model that reads more"
            )
        # The last token is read in any case: its logits are asked for.
        self.reused = min(common_prefix(self._read, prompt), len(prompt) - 1)
        self._cache.cut(self.reused)
        del self._read[self.reused :]
        logits_V = torch.empty(0)
        for first in range(self.reused, len(prompt), SLICE_TOKENS):
            logits_V = self._pass(prompt[first : first + SLICE_TOKENS])
        return logits_V

    @torch.inference_mode()
    def _pass(self, ids: Sequence[int]) -> Tensor:
        logits_BV = self._network.next_logits(torch.tensor([list(ids)]), self._cache)
        self._read += ids
        return logits_BV[0]


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def read_logits(
    described: Description, ids: Sequence[int], dtype: torch.dtype, memory_bytes: int | None = None
) -> list[float]:
    """The logits that follow `ids`, computed in `dtype`. Raises `ConfigError` for an id that the
    model does not have, and `ContextTooLong`."""
    vocabulary = described.vocabulary_size
    if wrong := [id for id in ids if not 0 <= id < vocabulary]:
        raise ConfigError(f"there is no token {wrong[0]}: ids go from 0 to {vocabulary - 1:,}")
    network = load(described.folder, dtype=dtype, memory_bytes=memory_bytes)
    engine = Engine(network, context_tokens=described.profile.context_tokens)
    return engine.read(ids).float().tolist()
