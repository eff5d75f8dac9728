"""From findings to the profile to use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from chogori.api.probe_findings import Difference, Finding, Verdict
from chogori.api.probe_reasoning import INSISTS, READS, READS_OLD, REASONS, SWITCH
from chogori.api.probe_tools import CALLS
from chogori.chat import Profile

SETTLED = (
    "context_tokens",
    "sees_images",
    "thinking",
    "retention",
    "needs_reasoning",
    "native_tools",
)
"""The values that a probe, or the endpoint's own list of models, settles."""


def profile_to_use(told: Profile, findings: Iterable[Finding]) -> Profile:
    """`told`, which knows what the endpoint says of its model, put right by what was found.

    What was not told stays as it is.
    """
    found: dict[str, Verdict] = {finding.name: finding.verdict for finding in findings}
    profile = _thinking(told, found)
    match found.get(READS.name), found.get(READS_OLD.name):
        case "no", _:
            profile = replace(profile, retention="none")
        case "yes", "no" if profile.retention == "all":
            profile = replace(profile, retention="chain")
        case _:
            pass
    if found.get(INSISTS.name) == "yes":
        profile = replace(profile, needs_reasoning=True)
    if found.get(CALLS.name) in ("no", "failed"):
        profile = replace(profile, native_tools=False)
    return profile


def differences(assumed: Profile, profile: Profile) -> tuple[Difference, ...]:
    """Where `profile` is not what was assumed."""
    return tuple(
        Difference(field.name, old, new)
        for field in fields(Profile)
        if (old := getattr(assumed, field.name)) != (new := getattr(profile, field.name))
        and field.name in SETTLED
    )


def _thinking(profile: Profile, found: dict[str, Verdict]) -> Profile:
    """A model that is known to think always, and shows nothing, is not one that does not think."""
    match found.get(REASONS.name), found.get(SWITCH.name):
        case _, "yes":
            return replace(profile, thinking="switchable")
        case "yes", "no" | "failed":
            return replace(profile, thinking="forced")
        case "no", "no" | "failed":
            return replace(profile, thinking="off")
        case _:
            return profile
