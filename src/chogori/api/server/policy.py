"""What a model lets be chosen: a table of profiles, after Moonshot's API reference and what the
Kimi Vendor Verifier checks. A value that may not be is refused; the default, said aloud, is taken.

    model           temperature   replies   fixed
    K2.5, K2.6      0 to 1        1         top_p 0.95, both penalties 0
    K2, K2 Thinking 0 to 1        5
    any other       0 to 2        16
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chogori.api.server.refusals import invalid
from chogori.chat import Options, Profile

MOST_REPLIES = 16
_FAMILY = re.compile(r"kimi[-_.]?k2|^k2:", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be chosen."""

    hottest: float = 2.0
    most_replies: int = MOST_REPLIES
    fixed: Mapping[str, float] = field(default_factory=dict[str, float])
    """Options that have one value, and which."""


def is_k2(profile: Profile) -> bool:
    """Whether a model is of the Kimi K2 family."""
    return bool(_FAMILY.search(profile.name) or _FAMILY.search(profile.spec))


def policy_for(profile: Profile) -> Policy:
    """The row of the table."""
    if not is_k2(profile):
        return Policy()
    if not profile.fixed:
        return Policy(hottest=1.0, most_replies=5)
    fixed = {name: getattr(profile, name, None) or 0.0 for name in profile.fixed}
    return Policy(hottest=1.0, most_replies=1, fixed=fixed)


def hold_to(profile: Profile, options: Options, replies: int, *, says_thinking: bool) -> None:
    """Refuse what the model does not let be chosen. `says_thinking`: the client switched thinking
    by `thinking` itself."""
    policy = policy_for(profile)
    if options.temperature is not None and options.temperature > policy.hottest:
        raise invalid(
            "temperature",
            f"temperature must be from 0 to {policy.hottest:g} for {profile.name}, "
            f"not {options.temperature:g}.",
        )
    for name, value in policy.fixed.items():
        wanted = getattr(options, name)
        if wanted is not None and wanted != value:
            raise invalid(name, f"{name} is {value:g} for {profile.name}, not {wanted:g}.")
    if replies > policy.most_replies:
        raise invalid("n", f"n is at most {policy.most_replies} for {profile.name}.")
    if says_thinking and options.thinking is False and profile.thinking == "forced":
        raise invalid("thinking", f"{profile.name} always thinks.")
