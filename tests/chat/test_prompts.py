"""Conversations as token ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import (
    Conversation,
    Message,
    ToolCall,
    ToolSpec,
    assistant,
    system,
    tool_result,
    user,
)
from chogori.chat.markers import CALL_BEGIN, END, MEDIA_PAD, THINK_BEGIN, THINK_END
from chogori.chat.prompts import Prompts
from chogori.chat.templates import (
    K2_5,
    K2_INSTRUCT,
    K2_THINKING,
    TEMPLATES,
    Template,
    lay_out,
    text_of_pieces,
    wire_form,
)
from chogori.chat.token_ids import TOKENS
from chogori.chat.tokenizer import NANO, Tokenizer, read_ranks
from kimi_strategies import NANO_TOKENIZER, kimi_texts
from strategies import arguments, folded, messages, texts

TOOLS = (ToolSpec("f", "Does.", {"type": "object", "properties": {"a": {"type": "number"}}}),)
CALL = ToolCall("functions.f:0", "f", '{"a": 1}')
templates = st.sampled_from([*TEMPLATES.values()])


class CountingTokenizer(Tokenizer):
    """Counts the characters that it is asked to encode."""

    def __init__(self) -> None:
        super().__init__(read_ranks(NANO))
        self.characters = 0

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        self.characters += len(text)
        return super().encode(text, special=special)


def ids_of(text: str) -> list[int]:
    return NANO_TOKENIZER.encode(text, special=True)


def specials(ids: Any) -> list[str]:
    return [name for id in ids if (name := NANO_TOKENIZER.name_of(id))]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Conversations in which call ids are numbered as Kimi numbers them."""
    said: list[Message] = []
    calls = 0
    for message in draw(st.lists(messages, max_size=6)):
        made = []
        for call in message.tool_calls:
            made.append(replace(call, id=f"functions.{call.name}:{calls}"))
            calls += 1
        result = {"tool_call_id": f"functions.gone:{len(said)}"} if message.role == "tool" else {}
        said.append(replace(message, tool_calls=tuple(made), **result))
    return Conversation(said)


@given(conversations(), templates, st.booleans(), st.none() | texts, st.booleans())
def test_ids_are_those_of_the_prompt_as_text(
    conversation: Conversation,
    template: Template,
    thinking: bool,
    prefill: str | None,
    has_tools: bool,
) -> None:
    tools = TOOLS if has_tools else ()
    prompts = Prompts(NANO_TOKENIZER, template)
    prompt = prompts.prompt(conversation, tools, thinking=thinking, prefill=prefill)
    opening = template.opening(thinking=thinking, prefill=prefill)
    pieces = lay_out(template, conversation, [wire_form(tool) for tool in tools], opening=opening)
    assert NANO_TOKENIZER.decode(prompt.ids) == text_of_pieces(pieces)
    assert list(prompt.ids[len(prompt.ids) - len(prompt.opening) :]) == prompt.opening


@given(kimi_texts, templates)
def test_nobody_writes_themselves_a_role(text: str, template: Template) -> None:
    def turns(said: str) -> Conversation:
        call = ToolCall("functions.f:0", "f", said)
        return Conversation(
            [
                system(said),
                replace(user(said), name=said or None),
                assistant(said, reasoning=said, calls=[call]),
                tool_result(call, said),
                assistant(said),
            ]
        )

    def layout(said: str) -> list[str]:
        tool = ToolSpec("f", said, {"type": "object"})
        return specials(Prompts(NANO_TOKENIZER, template).prompt(turns(said), [tool]).ids)

    assert layout(text) == layout("x")


def test_a_step_encodes_what_it_adds() -> None:
    tokenizer = CountingTokenizer()
    prompts = Prompts(tokenizer, K2_THINKING)
    conversation = Conversation([system("s" * 1000), user("u" * 1000)])
    prompts.prompt(conversation, TOOLS)
    first = tokenizer.characters
    prompts.prompt(conversation, TOOLS)
    unchanged = tokenizer.characters - first
    prompts.prompt(conversation.append(assistant("", calls=[CALL]), user("v" * 100)), TOOLS)
    assert first > 2000
    assert unchanged < 100
    assert 100 < tokenizer.characters - first - unchanged < 300


def generated(text: str) -> list[int]:
    """What a model might write: other ids than those its text is encoded to."""
    ids = [NANO_TOKENIZER.encode(character) for character in text]
    return [id for one in ids for id in one]


CALL_IDS = ids_of(
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
    '{"a": 1}<|tool_call_end|><|tool_calls_section_end|>'
)


@pytest.mark.parametrize(
    ("template", "written"),
    [
        (K2_5, [*generated("reasoning"), *ids_of("</think>"), *generated("text"), *CALL_IDS]),
        (
            K2_THINKING,
            [*ids_of("<think>"), *generated("reasoning"), *ids_of("</think>"), *CALL_IDS],
        ),
        (K2_INSTRUCT, [*generated("reasoning"), *CALL_IDS]),
    ],
)
def test_what_was_generated_is_never_tokenised_again(
    template: Template, written: list[int]
) -> None:
    prompts = Prompts(NANO_TOKENIZER, template)
    conversation = Conversation([user("go")])
    prompt = prompts.prompt(conversation, TOOLS)
    reader = prompts.reader(prompt, TOOLS)
    stop = NANO_TOKENIZER.id_of(END)
    reply = folded([*reader.feed([*written, stop]), *reader.end()])
    reply = replace(reply, extra=prompts.reply_extra(prompt, [*written, stop]))
    assert reply.tool_calls == (CALL,)
    later = conversation.append(reply, tool_result(CALL, "5"))
    again = prompts.prompt(later, TOOLS)
    assert list(again.ids[: len(prompt.ids) + len(written) + 1]) == [*prompt.ids, *written, stop]
    without = later.append(assistant("five"))
    kept = (
        written[written.index(THINK) + 1 :]
        if (THINK := ids_of("</think>")[0]) in written
        else written
    )
    dropped = [*(ids_of("<think></think>") if template.thinks else []), *kept, stop]
    start = len(prompt.ids) - len(prompt.opening)
    assert list(prompts.prompt(without, TOOLS).ids[start : start + len(dropped)]) == dropped


def test_reasoning_whose_end_is_not_among_the_ids_is_dropped_by_its_text() -> None:
    prompts = Prompts(NANO_TOKENIZER, K2_5)
    first = prompts.prompt(Conversation([user("go")]))
    extra = prompts.reply_extra(first, generated("no end"))
    reply = replace(assistant("so", reasoning="no end"), extra=extra)
    ids = prompts.prompt(Conversation([user("go"), reply])).ids
    assert "<think></think>so<|im_end|>" in NANO_TOKENIZER.decode(ids)
    straight = replace(
        assistant(reasoning="no end", calls=[CALL]),
        extra=prompts.reply_extra(first, [*generated("no end"), *CALL_IDS]),
    )
    later = prompts.prompt(Conversation([user("go"), straight, assistant("so")])).ids
    assert "<think></think><|tool_calls_section_begin|>" in NANO_TOKENIZER.decode(later)


def test_ids_of_another_vocabulary_are_left_aside() -> None:
    extra = {TOKENS: {"vocabulary": "other", "ids": [1, 2, 3]}}
    said = Conversation([user("go"), replace(assistant("so"), extra=extra)])
    ids = Prompts(NANO_TOKENIZER, K2_INSTRUCT).prompt(said).ids
    assert "<|im_middle|>so<|im_end|>" in NANO_TOKENIZER.decode(ids)


def test_ids_from_elsewhere_are_told_in_kimis_form() -> None:
    calls = [ToolCall("call_a", "f", "{}"), ToolCall("call_b", "g", "{}")]
    again = ToolCall("call_a", "f", "{}")
    conversation = Conversation(
        [
            user("go"),
            assistant(calls=calls),
            Message("tool", user("b").content, tool_call_id="call_b"),
            Message("tool", user("a").content, tool_call_id="call_a"),
            assistant(calls=[again]),
            Message("tool", user("c").content, tool_call_id="call_a"),
            Message("tool", user("d").content, tool_call_id="call_x"),
        ]
    )
    prompt = Prompts(NANO_TOKENIZER, K2_THINKING).prompt(conversation)
    text = NANO_TOKENIZER.decode(prompt.ids)
    named = [part.partition("<")[0] for part in text.split(CALL_BEGIN.text)[1:]]
    answered = [part.partition("<")[0] for part in text.split("## Return of ")[1:]]
    assert named == ["functions.f:0", "functions.g:1", "functions.f:2"]
    assert answered == [
        "functions.g:1\nb",
        "functions.f:0\na",
        "functions.f:2\nc",
        "call_x\nd",
    ]
    assert (prompt.calls, prompt.taken) == (3, {"call_a", "call_b", *named})
    assert conversation[1].tool_calls == tuple(calls), "the conversation keeps its ids"


@given(st.lists(st.tuples(st.sampled_from(["f", "g"]), arguments), min_size=1, max_size=3))
def test_results_of_calls_with_one_id_are_told_in_order(calls: list[tuple[str, str]]) -> None:
    made = [ToolCall("same", name, given) for name, given in calls]
    results = [Message("tool", (), tool_call_id="same") for _ in calls]
    prompt = Prompts(NANO_TOKENIZER, K2_5).prompt(Conversation([assistant(calls=made), *results]))
    text = NANO_TOKENIZER.decode(prompt.ids)
    answered = [part.partition("\n")[0] for part in text.split("## Return of ")[1:]]
    assert answered == [f"functions.{name}:{at}" for at, (name, _) in enumerate(calls)]


@pytest.mark.parametrize(
    ("template", "thinking", "reasons"),
    [
        (K2_INSTRUCT, True, False),
        (K2_THINKING, True, True),
        (K2_5, True, True),
        (K2_5, False, False),
    ],
)
def test_a_reply_is_read_as_its_prompt_begins_it(
    template: Template, thinking: bool, reasons: bool
) -> None:
    prompts = Prompts(NANO_TOKENIZER, template)
    prompt = prompts.prompt(Conversation([user("go")]), thinking=thinking)
    reader = prompts.reader(prompt)
    reply = folded([*reader.feed(generated("so")), *reader.end()])
    assert reply == (assistant(reasoning="so") if reasons else assistant("so"))


def test_markers_are_put_by_id() -> None:
    prompts = Prompts(NANO_TOKENIZER, K2_5)
    ids = prompts.encode(("a", "b", THINK_BEGIN, THINK_END, MEDIA_PAD, "c"))
    assert ids == ids_of("ab<think></think><|media_pad|>c")
