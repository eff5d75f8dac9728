"""The records of a run, as whoever drives it again needs to know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chogori.agent.journal import NOTES, Entry
from chogori.chat import Event, RunStarted
from chogori.chat.event_json import encode
from chogori.errors import RunDamaged

_BY_CHANCE = ("reply_restarted", "model_loaded")
"""Events that need not come again when a run is driven again."""
_IN_BRANCHES = ("tool_started", "tool_finished", "steered", "paused", "noted")
_NOTES = (*NOTES, "reply_cut")
"""Records about a run that are no events of it."""


def is_event(entry: Entry) -> bool:
    """Whether it is an event of the run, which views are told and which has a number."""
    return entry.type not in (*_NOTES, "noted") and "aside" not in entry.fields


def steps_of(past: Sequence[Entry]) -> list[int]:
    """Where the steps of a run begin, those of its attempts apart."""
    begins: list[int] = []
    is_attempt = False
    for entry in past:
        is_attempt = entry.type == "attempt_started" or (
            is_attempt and entry.type != "attempt_finished"
        )
        if entry.type == "step_started" and not is_attempt:
            begins.append(entry.sequence)
    return begins


def is_told(entry: Entry) -> bool:
    """Whether it is an event that comes again, in the same order, when the run is driven again."""
    elsewhere = (*_NOTES, *_BY_CHANCE, *_IN_BRANCHES, "reply_finished")
    return entry.type not in elsewhere


def is_same(entry: Entry, event: Event) -> bool:
    """Whether `event` is what was recorded, in the same words."""
    if isinstance(event, RunStarted):  # whether the agent has changed was looked at before
        return entry.type == "run_started"
    # A fork has events of the run that it is a branch of, and a budget may be made larger.
    apart: dict[str, Any] = {"run_id": "", "budget": {}}
    return encode(entry.event(), 0) | apart == encode(event, 0) | apart


def without_abandoned(past: Sequence[Entry]) -> list[Entry]:
    """The records of a run without the legs that were stopped and then left: the person went on
    from before them."""
    kept: list[Entry] = []
    for entry in past:
        if entry.type == "abandoned":
            kept = [each for each in kept if each.sequence < entry.fields["from"]]
        else:
            kept.append(entry)
    return kept


def accepted_in(past: Sequence[Entry]) -> Mapping[str, Any] | None:
    """How the agent was described when somebody last went on with it although it had changed; None
    where nobody has."""
    told = (entry for entry in reversed(past) if entry.type == "resumed")
    return next((entry.fields["agent"] for entry in told if "agent" in entry.fields), None)


def salt_of(past: Sequence[Entry]) -> bytes:
    """What the hashes of a run's requests are salted with. Raises `RunDamaged`."""
    found = next((entry for entry in past if entry.type == "salted"), None)
    if found is None:
        return b""
    if found.redacted:
        raise RunDamaged("some of what was said was redacted, so the run cannot be driven again")
    return bytes.fromhex(found.fields["salt"])
