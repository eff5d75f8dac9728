"""What has changed since a run began that decides how it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chogori.agent.bodies import dump, load

_NAMED = ("instructions", "options", "approval", "guards", "context")
"""What is compared as a whole. A budget may change: whoever resumes may give more. So may what is
known of the model, which an endpoint teaches; what that changes in a request shows there."""


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Two descriptions (`Verbs.describe`) compared, a clause for each thing that differs."""
    then, now = _plain(then), _plain(now)
    found: list[str] = []
    if then.get("model") != now.get("model"):
        found.append(f"the model was {then.get('model')!r} and is {now.get('model')!r}")
    before = {tool["name"]: tool for tool in then.get("tools", ())}
    after = {tool["name"]: tool for tool in now.get("tools", ())}
    found += [f"the tool {name!r} has gone" for name in before if name not in after]
    found += [f"the tool {name!r} is new" for name in after if name not in before]
    both = [name for name in before if name in after and before[name] != after[name]]
    found += [f"the tool {name!r} {_what(before[name], after[name])}" for name in both]
    found += [f"the {name} changed" for name in _NAMED if then.get(name) != now.get(name)]
    return found


def _what(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    differ = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return f"changed its {' and '.join(differ)}"


def _plain(description: Mapping[str, Any]) -> dict[str, Any]:
    """As it is read back from JSON, so that tuples are lists on both sides."""
    return load(dump(dict(description)))
