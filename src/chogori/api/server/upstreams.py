"""What stands behind a model's name: one model, or several by weight and health.

Requests are dealt out by weight in turn (smooth weighted round robin), so that 90/10 is nine of any
ten. Weight 0 is for when nothing else answers. One that failed three times in a row rests, first
for a second, then twice as long each time; when its rest is over one request tries it. Whoever is
healthy is asked before whoever rests, and those that rest before a client is told that nobody
answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chogori.api.server.turns import Turns
from chogori.chat import ChatModel, ChecksRequests, HasSlots
from chogori.errors import ConfigError

PATIENCE = 3
FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One way to answer for a model's name."""

    model: ChatModel
    weight: float = 1.0
    """Its share of the requests among its like. 0: only if no other answers."""
    width: int | None = None
    """Requests that it answers at once; None: as many as it has slots, any number for what is
    not in this process."""
    waiting: int = 64
    """Requests that may wait for one of those places."""
    patience_seconds: float = 60.0
    """How long a stream may take to begin, its wait in line included, before another upstream is
    asked; ten times that for a reply that comes whole. Where there is no other, as long as it
    takes."""


class Member:
    """An upstream, and how it fares."""

    def __init__(self, name: str, upstream: Upstream, clock: Callable[[], float]) -> None:
        self.name = name
        """The model's, as it is served."""
        self.model = upstream.model
        # Looked at once: Python goes through a protocol anew each time it is asked for one.
        self.checks = upstream.model if isinstance(upstream.model, ChecksRequests) else None
        """Who knows without answering what could not be answered."""
        self.weight = upstream.weight
        width = upstream.width
        if width is None and isinstance(upstream.model, HasSlots):
            width = upstream.model.slots
        self.patience_seconds = upstream.patience_seconds
        self.turns = Turns(width, waiting=upstream.waiting)
        self.credit = 0.0
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0

    @property
    def is_healthy(self) -> bool:
        """Whether it may be asked first."""
        return self._clock() >= self._rests_until

    def worked(self) -> None:
        """It answered."""
        self._failures = 0
        self._rests_until = 0.0

    def failed(self, after_seconds: float | None = None) -> None:
        """It did not; `after_seconds`: it said for how long not to ask."""
        self._failures += 1
        if after_seconds:
            self._rest(min(after_seconds, LONGEST_REST_SECONDS))
        elif self._failures >= PATIENCE:
            self._rest(FIRST_REST_SECONDS * 2 ** min(self._failures - PATIENCE, 10))

    def _rest(self, seconds: float) -> None:
        self._rests_until = self._clock() + min(seconds, LONGEST_REST_SECONDS)


class Served:
    """A model's name and what stands behind it."""

    def __init__(
        self,
        name: str,
        upstreams: Sequence[Upstream],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not upstreams:
            raise ConfigError(f"nothing stands behind the model {name!r}; give it an upstream")
        if any(upstream.weight < 0 for upstream in upstreams):
            raise ConfigError(f"an upstream of {name!r} has a negative weight")
        self.name = name
        self.members = [Member(name, upstream, clock) for upstream in upstreams]
        self.profile = upstreams[0].model.profile

    def order(self) -> Iterator[Member]:
        """Whom to ask, and whom next if that fails."""
        if len(self.members) == 1:
            yield self.members[0]
            return
        first = self._deal()
        if first is not None:
            yield first
        others = [member for member in self.members if member is not first]
        others.sort(key=lambda member: (not member.is_healthy, -member.weight))
        yield from others

    def _deal(self) -> Member | None:
        """The next in turn among those that are healthy and have a weight."""
        able = [member for member in self.members if member.weight and member.is_healthy]
        if not able:
            return None
        for member in able:
            member.credit += member.weight
        chosen = max(able, key=lambda member: member.credit)
        chosen.credit -= sum(member.weight for member in able)
        return chosen

    @property
    def is_full(self) -> bool:
        """Whether nobody behind the name would take another request."""
        return all(member.turns.is_full for member in self.members)


Models = ChatModel | Mapping[str, ChatModel | Upstream | Sequence[Upstream]]
"""What can be served: one model under its own name, or names and what stands behind each."""


def served_models(models: Models) -> dict[str, Served]:
    """By name. Raises `ConfigError`."""
    if not isinstance(models, Mapping):
        return {models.profile.name: Served(models.profile.name, [Upstream(model=models)])}
    found: dict[str, Served] = {}
    for name, held in models.items():
        if isinstance(held, Upstream):
            upstreams: Sequence[Upstream] = [held]
        elif isinstance(held, Sequence):
            upstreams = held
        else:
            upstreams = [Upstream(model=held)]
        found[name] = Served(name, upstreams)
    if not found:
        raise ConfigError("there is no model to serve; name at least one")
    return found
