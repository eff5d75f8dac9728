"""The probe of models that are no endpoints, and the judgements it makes without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chogori.api.probe import probe
from chogori.api.probe_asking import Heard
from chogori.api.probe_findings import Report
from chogori.api.probe_schema import SCHEMA, violation
from chogori.api.probe_text import streaming
from chogori.api.probe_tools import unique_ids
from chogori.chat import Conversation, Finished, Message, ScriptedModel, Usage
from chogori.engine.gguf import GgufModel
from chogori.presets.models import KNOWN_MODELS


def verdicts(report: Report) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in report.findings}


async def test_a_script_can_be_probed_and_what_it_lacks_is_a_finding() -> None:
    report = await probe(ScriptedModel(["one two three"]))
    found = verdicts(report)
    assert found["lists its models"] == "does not apply"
    assert (found["answers"], found["streams"], found["reasoning"]) == ("yes", "yes", "no")
    assert found["reasoning read"] == "does not apply"
    assert found["foreign call ids"] == "failed", "the script has no reply for that position"
    assert not report.works


async def test_seconds_that_are_used_up_are_told_and_nothing_is_asked() -> None:
    model = ScriptedModel(["one two"])
    report = await probe(model, total_seconds=0)
    assert "used up its seconds" in report.findings[-1].seen
    assert model.asked == []
    assert not report.works


@pytest.mark.slow
async def test_a_model_whose_calls_are_text_has_no_ids_to_keep(smollm2: Path) -> None:
    # Replies are at most an eighth of the context.
    model = GgufModel(smollm2, replace(KNOWN_MODELS["smollm2"].profile, context_tokens=1_024))
    report = await probe(model, seconds=600, total_seconds=6_000)
    await model.aclose()
    found = verdicts(report)
    held = ("answers", "streams", "usage", "cached tokens", "tool_choice none", "JSON schema")
    forced = ("tool_choice required", "tool_choice named", "unique call ids")
    assert {name: found[name] for name in held + forced} == dict.fromkeys(held + forced, "yes")
    for name in ("lists its models", "reasoning read", "foreign call ids"):
        assert found[name] == "does not apply"
    assert report.profile is not None
    assert report.profile.retention == report.assumed.retention


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(0, 90), st.sampled_from(["ABC-12", "abc", "teal", "red"])
)
PARCELS = st.dictionaries(st.sampled_from(["code", "colour", "count", "size"]), VALUES)
FITTING = {"code": "ABC-12", "colour": "teal", "count": 40}


@given(st.one_of(VALUES, PARCELS, PARCELS.map(lambda parcel: FITTING | parcel)))
@example(FITTING)
@example(FITTING | {"count": True})
def test_our_check_of_the_schema_agrees_with_jsonschema(value: Any) -> None:
    fits = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert (violation(value, SCHEMA) is None) == fits


@pytest.mark.parametrize(
    ("pieces", "first", "last", "tokens", "verdict"),
    [
        (30, 0.5, 4.0, 60, "yes"),
        (30, 3.9, 4.0, 60, "no"),
        (30, 0.09, 0.1, 60, "yes"),
        (1, 4.0, 4.0, 60, "no"),
        (1, 4.0, 4.0, 0, "no"),
        (1, 4.0, 4.0, 2, "not told"),
    ],
)
def test_a_reply_that_is_held_back_to_its_end_does_not_stream(
    pieces: int, first: float, last: float, tokens: int, verdict: str
) -> None:
    finished = Finished("stop", Usage(completion=tokens))
    heard = Heard(finished=finished, pieces=pieces, first_seconds=first, last_seconds=last)
    assert streaming(heard).verdict == verdict


@pytest.mark.parametrize(
    ("earlier", "later", "verdict"),
    [
        (["functions.weigh:2"], ["functions.paint:3"], "yes"),
        (["functions.weigh:2", "functions.weigh:3"], ["functions.paint:3"], "yes"),
        (["functions.weigh:0"], ["functions.paint:0"], "no"),
        (["call_a1"], ["call_b7"], "yes"),
        (["call"], ["call"], "no"),
        ([], ["call"], "not told"),
    ],
)
def test_ids_that_begin_anew_in_every_reply_are_not_unique(
    earlier: list[str], later: list[str], verdict: str
) -> None:
    assert unique_ids(earlier, later).verdict == verdict


async def test_a_code_word_is_new_in_every_probe() -> None:
    def words(asked: ScriptedModel) -> set[str]:
        return {
            str(message.reasoning)
            for each in asked.asked
            for message in each.conversation
            if message.reasoning
        }

    def thinks(conversation: Conversation) -> Message:
        return Message("assistant", reasoning="Hm.")

    first, second = ScriptedModel(thinks), ScriptedModel(thinks)
    await probe(first)
    await probe(second)
    chosen = [{text for text in words(model) if "I choose" in text} for model in (first, second)]
    assert chosen[0]
    assert not chosen[0] & chosen[1]
