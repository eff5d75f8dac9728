"""What a model may write, and what it is told."""

from __future__ import annotations

from itertools import pairwise

import pytest
from gguf_goldens import BOTH, FOLDER, GOLDENS, PYTHON, READ_FILE
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import AllowedTools, Message, NamedTool, Options, ToolSpec
from chogori.engine.gguf.grammar import code_form, form_for, grammar_for, must_call, permitted
from chogori.engine.gguf.prompt import turns
from chogori.errors import ConfigError
from strategies import messages


@pytest.mark.parametrize("name", GOLDENS)
def test_what_llama_cpp_is_given_is_what_was_written_down(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert GOLDENS[name]() == written, "if it is meant: python tests/engine/gguf_goldens.py"


def test_nothing_is_written_down_that_is_not_compared() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDENS)


@pytest.mark.parametrize(
    ("choice", "names", "forced"),
    [
        ("auto", ["python", "read_file"], False),
        ("none", [], False),
        ("required", ["python", "read_file"], True),
        (NamedTool("read_file"), ["read_file"], True),
        (AllowedTools(("read_file", "python")), ["read_file", "python"], False),
        (AllowedTools(("python",), required=True), ["python"], True),
    ],
)
def test_a_choice_leaves_its_tools(choice: object, names: list[str], forced: bool) -> None:
    options = Options(tool_choice=choice)  # pyright: ignore[reportArgumentType]
    assert [spec.name for spec in permitted(BOTH, options)] == names
    assert must_call(options) == forced


def test_a_form_is_made_once() -> None:
    again = [ToolSpec(spec.name, spec.description, {**spec.parameters}) for spec in BOTH]
    assert form_for(BOTH, Options()) is form_for(again, Options(temperature=0.5))
    assert form_for(BOTH, Options()) is not form_for(BOTH, Options(tool_choice="required"))


@pytest.mark.parametrize("choice", [NamedTool("shell"), AllowedTools(("python", "shell"))])
def test_a_choice_of_an_unknown_tool_is_refused_with_those_there_are(
    choice: NamedTool | AllowedTools,
) -> None:
    with pytest.raises(ConfigError, match="'shell'; there are: python, read_file"):
        grammar_for(BOTH, Options(tool_choice=choice))


def test_only_a_tool_that_needs_nothing_but_code_takes_a_block_of_its_language() -> None:
    assert code_form(READ_FILE) is None
    form = code_form(PYTHON)
    assert form is not None
    assert (form.tool, form.parameter, form.fence) == ("python", "code", "python")
    more = {**PYTHON.parameters, "required": ["code", "timeout"]}
    assert code_form(ToolSpec("python", "Run.", more)) is None


@given(st.lists(messages, max_size=8), st.booleans())
def test_a_prompt_holds_every_text_and_alternates(said: list[Message], has_tools: bool) -> None:
    tools = BOTH if has_tools else ()
    made = turns(said, tools)
    whole = "\n".join(turn["content"] for turn in made)
    assert all(message.text in whole for message in said if not message.tool_calls)
    roles = [turn["role"] for turn in made]
    assert set(roles) <= {"system", "user", "assistant"}
    assert all(a != b or a == "assistant" for a, b in pairwise(roles))
    if has_tools:
        assert roles[0] == "system"


@given(st.lists(messages, max_size=6), messages)
def test_a_longer_conversation_begins_as_the_shorter_one_did(
    said: list[Message], more: Message
) -> None:
    """What the engine has read need not be read again."""
    before, after = turns(said, ()), turns([*said, more], ())
    assert after[: len(before) - 1] == before[:-1]
    assert after[len(before) - 1]["content"].startswith(before[-1]["content"]) if before else True
