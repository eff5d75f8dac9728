"""From `--model` to what a server serves.

    local                                   under the spec's own name
    kimi=https://HOST/v1#kimi-k2.5          under a name of one's choice
    kimi@90=https://A/v1#m                  beside others of that name, by weight
    kimi@0=https://B/v1#m                   only if no other answers

An endpoint is asked once for each request: who asked decides whether to ask again. Its key comes
from where the command takes it (`api.Keys`), and goes to its own host alone: nothing that a client
sends names an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from chogori.api import Keys, Upstream, connect
from chogori.api.retries import Retries
from chogori.chat import ChatModel, FixedLimiter
from chogori.errors import ConfigError
from chogori.presets.load import load
from chogori.presets.models import KNOWN_MODELS

WIDTH = 4096
"""Requests to one endpoint at once, over all of a server's clients."""
_NAMED = re.compile(r"(?P<name>[\w./-]+)(?:@(?P<weight>\d+(?:\.\d+)?))?=(?P<spec>.+)")


def models_to_serve(
    wanted: Sequence[str],
    *,
    data: Path | None = None,
    environ: Mapping[str, str] | None = None,
    memory_bytes: int | None = None,
) -> dict[str, list[Upstream]]:
    """The models that `wanted` names, by the names they are served under. Raises `ConfigError`, and
    `ModelFileError` where a model has to be pulled first."""
    found: dict[str, list[Upstream]] = {}
    for text in wanted:
        named = _NAMED.fullmatch(text)
        spec = named["spec"] if named else text
        if spec.startswith(("http://", "https://")):
            model = _endpoint(spec, data, environ or {})
        else:
            model = load(spec, data=data, environ=environ, memory_bytes=memory_bytes)
        name = named["name"] if named else _own_name(spec, model)
        weight = float(named["weight"] or 1) if named else 1.0
        found.setdefault(name, []).append(Upstream(model=model, weight=weight))
    for name, upstreams in found.items():
        if len(upstreams) > 1 and not any(upstream.weight for upstream in upstreams):
            raise ConfigError(f"every upstream of {name!r} has weight 0; give one of them more")
    return found


def _endpoint(spec: str, data: Path | None, environ: Mapping[str, str]) -> ChatModel:
    return connect(
        spec,
        key_source=Keys(data, environ),
        retries=Retries(tries=1),
        limiter=FixedLimiter(WIDTH),
    )


def _own_name(spec: str, model: ChatModel) -> str:
    if spec in KNOWN_MODELS:
        return spec
    if name := model.profile.name:
        return name
    raise ConfigError(
        f"{spec} does not say which model it is; write NAME={spec}, or put #MODEL behind it"
    )
