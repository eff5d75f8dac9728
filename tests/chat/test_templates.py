"""Prompts as text, laid out as published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.apps.chat_request import read_request
from chogori.chat import (
    Conversation,
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ToolSpec,
    VideoPart,
    assistant,
    user,
)
from chogori.chat.templates import (
    COMPACT,
    K2_5,
    K2_INSTRUCT,
    K2_THINKING,
    KIMI,
    TEMPLATES,
    Template,
    lay_out,
    template_named,
    text_of_pieces,
    wire_form,
)
from chogori.errors import ConfigError
from kimi_strategies import kimi_texts
from published import published_cases
from strategies import messages

GOLDEN = Path(__file__).parent.parent / "golden"
OPEN = "<|im_assistant|>assistant<|im_middle|>"
FOREIGN = {"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": "<é>"}}}


def prompt(template: Template, request: dict[str, Any]) -> str:
    return read_request(json.dumps(request), template).text(template)


def text(template: Template, *said: Message, **options: Any) -> str:
    return text_of_pieces(lay_out(template, Conversation(said), **options))


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_prompt_is_the_golden_one(name: str) -> None:
    request = (GOLDEN / "chat_request.json").read_text(encoding="utf-8")
    golden = (GOLDEN / f"prompt_{name}.txt").read_bytes().decode()
    template = template_named(name)
    assert read_request(request, template).text(template) == golden


def test_the_published_requests_become_the_published_prompts() -> None:
    for case in published_cases("chat_template_k2_thinking.json"):
        assert prompt(K2_THINKING, case) == case["text"]


def test_the_published_tools_are_declared_in_the_prompt_as_published() -> None:
    for case in published_cases("tool_declaration_k25.json"):
        request = {"messages": [], "tools": case["tools"], "add_generation_prompt": False}
        declared = f"<|im_system|>tool_declare<|im_middle|>{case['text']}<|im_end|>"
        assert prompt(K2_5, request) == declared


@given(st.lists(messages, max_size=6), st.sampled_from([*TEMPLATES.values()]))
def test_turns_follow_one_another_without_a_gap(said: list[Message], template: Template) -> None:
    start = Conversation(said).chain_start
    turns = [
        text_of_pieces(template.turn(message, reasons=at >= start))
        for at, message in enumerate(said)
    ]
    whole = text(template, *said, opening=template.opening())
    assert whole.endswith("".join(turns) + OPEN + text_of_pieces(template.opening()))
    assert all(turn.endswith("<|im_end|>") for turn in turns)


def test_reasoning_survives_in_the_current_chain_alone() -> None:
    case = [
        assistant("a", reasoning="one"),
        user("?"),
        assistant("b", reasoning="two", calls=[]),
        user("?"),
        replace(assistant("", reasoning="three"), tool_calls=(), role="user"),
    ]
    assert "one" not in text(K2_THINKING, *case)
    assert "two" not in text(K2_THINKING, *case)
    kept = text(K2_THINKING, *case, retention="all")
    assert "<think>one</think>a" in kept
    assert "<think>two</think>b" in kept
    assert "<think>" not in text(K2_INSTRUCT, *case, retention="all")


def test_the_default_system_speaks_where_no_other_does() -> None:
    assert KIMI in text(K2_THINKING)
    assert KIMI in text(K2_INSTRUCT, user("x"))
    assert KIMI not in text(K2_5, user("x"))
    silent = replace(K2_THINKING, default_system="")
    said = text(silent, user("x"), opening=None)
    assert said == "<|im_user|>user<|im_middle|>x<|im_end|>"


@pytest.mark.parametrize(
    ("thinking", "prefill", "opening"),
    [
        (True, None, "<think>"),
        (False, None, "<think></think>"),
        (True, "So", "<think></think>So"),
    ],
)
def test_a_reply_of_k2_5_is_begun_for_it(thinking: bool, prefill: str | None, opening: str) -> None:
    pieces = K2_5.opening(thinking=thinking, prefill=prefill)
    assert text_of_pieces(pieces) == opening
    assert K2_5.lets_reason(thinking=thinking, prefill=prefill) == (opening == "<think>")
    assert K2_THINKING.opening(thinking=thinking) == ()


@pytest.mark.parametrize(
    ("template", "image"),
    [
        (K2_INSTRUCT, "<|media_start|>image<|media_content|><|media_pad|><|media_end|>"),
        (K2_THINKING, "<|media_start|>image<|media_content|><|media_pad|><|media_end|>\n"),
        (K2_5, "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>\n"),
    ],
)
def test_an_image_has_its_place(template: Template, image: str) -> None:
    said = Message("user", (TextPart("a"), ImagePart("u"), ImagePart("v"), TextPart("b")))
    assert f"<|im_middle|>a{image}{image}b<|im_end|>" in text(template, said)


def test_what_a_template_has_no_form_for_is_refused() -> None:
    film = Message("user", (VideoPart("u"),))
    assert "<|kimi_k25_video_placeholder|>\n" in text(K2_5, film)
    with pytest.raises(ConfigError, match="the template k2-thinking has no form for a film"):
        text(K2_THINKING, film)
    with pytest.raises(ConfigError, match=r"the template k2\.5 has no form for a file"):
        text(K2_5, Message("user", (FilePart("u"),)))


def test_json_is_spaced_or_compact() -> None:
    spaced = text(K2_THINKING, tools=[FOREIGN])
    assert '"parameters": {"b": 1, "a": "<é>"}' in spaced
    compact = text(replace(K2_THINKING, separators=COMPACT), tools=[FOREIGN])
    assert '"parameters":{"b":1,"a":"<é>"}' in compact


def test_tools_of_k2_5_are_json_in_order_of_keys_where_typescript_fails() -> None:
    broken = {"type": "object", "properties": {"x": {"allOf": []}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": broken}}
    declared = '[{"function": {"name": "f", "parameters": {"properties": {"x": {"allOf": []}}, '
    assert declared in text(K2_5, tools=[tool])
    assert '"type": "builtin_function"}]' in text(K2_5, tools=[{"type": "builtin_function"}])


def test_a_tool_is_told_as_a_request_tells_it() -> None:
    spec = ToolSpec("f", "Does.", {"type": "object", "properties": {}})
    function = {"name": "f", "description": "Does.", "parameters": spec.parameters}
    assert wire_form(spec) == {"type": "function", "function": function}


@given(kimi_texts)
def test_a_template_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=r"there are: k2-instruct, k2-thinking, k2\.5"):
        template_named(f"{name}?")
