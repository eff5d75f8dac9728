"""What the presets give a model, by what it was trained on."""

from __future__ import annotations

from dataclasses import replace

from chogori.agent import Context
from chogori.chat import ScriptedModel
from chogori.presets.assistant import context_for


def test_a_model_that_was_not_trained_on_tools_has_no_recall() -> None:
    model = ScriptedModel(["Yes."])
    assert context_for(model, None) == Context(policy="hide_tool_results")
    hiding = Context(policy="hide_tool_results", tokens=4_000)
    assert context_for(model, hiding) == hiding
    model.profile = replace(model.profile, native_tools=False)
    assert context_for(model, None) == Context(recall=False)
    assert context_for(model, hiding) == replace(hiding, recall=False)
