"""From logits to a token.

The distribution is softmax(logits / temperature), after penalties. A token may be drawn if it is
among the `top_k` likeliest, in the smallest set of likeliest tokens that holds `top_p`, and at
least `min_p` times as likely as the likeliest: the three cut the same distribution, so their order
does not matter. Temperature 0 is the likeliest token, of equals the first.

Log-probabilities are those of the model itself, before penalties, temperature and cuts.

Dimension key:
  V vocabulary
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all."""
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    """None: a fresh one."""
    logprobs: int | None = None
    """How many alternatives to report beside each token; None: no log-probabilities."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token, and what else it might have been."""

    id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()
    """The likeliest ids with their log-probabilities, likeliest first."""


class Sampler:
    """Draws the tokens of one reply."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._drawn: Counter[int] = Counter()
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def draw(self, logits_V: Tensor) -> Drawn:
        """The next token."""
        logits_V = logits_V.float()
        id = self._choose(self._penalised(logits_V))
        self._drawn[id] += 1
        if self._sampling.logprobs is None:
            return Drawn(id)
        logprob_V = logits_V.log_softmax(-1)
        best = logprob_V.topk(min(self._sampling.logprobs, len(logprob_V)))
        likeliest = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Drawn(id, logprob_V[id].item(), tuple(likeliest))

    def _choose(self, logits_V: Tensor) -> int:
        if self._sampling.temperature == 0:
            return int(logits_V.argmax())
        p_V = (logits_V / self._sampling.temperature).softmax(-1)
        p_V = p_V.where(allowed(p_V, self._sampling), 0.0)
        return int(torch.multinomial(p_V, 1, generator=self._generator))

    def _penalised(self, logits_V: Tensor) -> Tensor:
        s = self._sampling
        if not self._drawn or not (s.presence_penalty or s.frequency_penalty):
            return logits_V
        ids, counts = list(self._drawn), torch.tensor(list(self._drawn.values()))
        logits_V = logits_V.clone()
        logits_V[ids] -= s.presence_penalty + s.frequency_penalty * counts
        return logits_V


def allowed(p_V: Tensor, sampling: Sampling) -> Tensor:
    """Which tokens of a distribution may be drawn; the likeliest always may."""
    order_V = p_V.argsort(descending=True, stable=True)
    ordered_V = p_V[order_V]
    keep_V = ordered_V >= sampling.min_p * ordered_V[0]
    # A token is needed as long as those before it do not hold top_p.
    keep_V &= ordered_V.cumsum(-1) - ordered_V < sampling.top_p
    if sampling.top_k:
        keep_V[sampling.top_k :] = False
    keep_V[0] = True
    return torch.zeros_like(keep_V).scatter(-1, order_V, keep_V)


def checked(sampling: Sampling) -> Sequence[str]:
    """What is wrong with the values, in words for whoever set them; nothing if they are right."""
    wrong: list[str] = []
    if sampling.temperature < 0:
        wrong.append(f"temperature is {sampling.temperature}; it must be 0 or more")
    if not 0 < sampling.top_p <= 1:
        wrong.append(f"top_p is {sampling.top_p}; it must be above 0 and at most 1")
    if sampling.top_k < 0:
        wrong.append(f"top_k is {sampling.top_k}; it must be 0 (all) or more")
    if not 0 <= sampling.min_p <= 1:
        wrong.append(f"min_p is {sampling.min_p}; it must be from 0 to 1")
    return wrong
