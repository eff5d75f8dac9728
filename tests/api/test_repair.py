"""Laws of reading replies: what endpoints get wrong is put right, and however it is cut."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from endpoint import chunk
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import arguments, cut, folded, json_values, marked_texts, texts

from chogori.api.arguments import Arguments, mended
from chogori.api.markers import TOOL_MARKERS
from chogori.api.repair import Repair
from chogori.chat import (
    Finished,
    Message,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    Usage,
    assistant,
)


def spec(name: str, *properties: str) -> ToolSpec:
    described = {"type": "object", "properties": {key: {} for key in properties}}
    return ToolSpec(name, "does it", described)


TOOLS = (spec("add", "a", "b"), spec("list_dir", "path"), spec("get_weather", "city"))


def read(
    *chunks: Mapping[str, Any], taken: Sequence[str] = (), begins: bool = False
) -> tuple[Message, Finished]:
    """The message and the end of a reply."""
    repair = Repair(taken=taken, tools=TOOLS, may_begin_thinking=begins)
    deltas = [delta for each in chunks for delta in repair.read(each)] + repair.end()
    last = deltas[-1]
    assert isinstance(last, Finished)
    return folded(deltas), last


def calls(*chunks: Mapping[str, Any], taken: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    message, _ = read(*chunks, taken=taken)
    return [(call.id, call.name, call.arguments) for call in message.tool_calls]


def call(index: int | None, **rest: Any) -> dict[str, Any]:
    """A fragment of a call."""
    function = {name: rest.pop(name) for name in ("name", "arguments") if name in rest}
    numbered = {} if index is None else {"index": index}
    return chunk({"tool_calls": [numbered | rest | {"function": function}]})


def section(*written: tuple[str, str], plural: str = "calls") -> str:
    inner = "".join(
        f"<|tool_call_begin|>{id}<|tool_call_argument_begin|>{text}<|tool_call_end|>"
        for id, text in written
    )
    return f"<|tool_{plural}_section_begin|>{inner}<|tool_{plural}_section_end|>"


ADD = section(("functions.add:0", '{"a": 1}'))
STOP = chunk({}, finish_reason="stop")


# --- Whatever the cut -----------------------------------------------------------------------


@given(
    st.data(),
    st.none() | texts,
    texts,
    st.lists(st.tuples(st.sampled_from(TOOLS), arguments), max_size=3),
)
def test_a_good_stream_says_what_was_meant_however_it_is_cut(
    data: st.DataObject, reasoning: str | None, text: str, written: list[tuple[ToolSpec, str]]
) -> None:
    meant = [ToolCall(f"functions.{t.name}:{n}", t.name, a) for n, (t, a) in enumerate(written)]
    chunks = [chunk({"role": "assistant", "content": ""})]
    if reasoning is not None:
        chunks += [chunk({"reasoning_content": piece}) for piece in cut(reasoning, data.draw)]
    chunks += [chunk({"content": piece}) for piece in cut(text, data.draw)]
    for number, one in enumerate(meant):
        chunks.append(call(number, id=one.id, type="function", name=one.name, arguments=""))
        chunks += [call(number, arguments=piece) for piece in cut(one.arguments, data.draw)]
    message, last = read(*chunks, STOP)
    assert (message.text, message.reasoning) == (text, reasoning)
    assert message.tool_calls == tuple(meant)
    assert last.reason == ("tool_calls" if meant else "stop")


@given(st.data(), marked_texts, st.booleans())
def test_no_marker_is_ever_text_however_the_stream_is_cut(
    data: st.DataObject, text: str, begins: bool
) -> None:
    whole, _ = read(chunk({"content": text}), STOP, begins=begins)
    pieces = [chunk({"content": piece}) for piece in cut(text, data.draw)]
    repair = Repair(tools=TOOLS, may_begin_thinking=begins)
    deltas = [delta for each in [*pieces, STOP] for delta in repair.read(each)] + repair.end()
    assert folded(deltas) == whole
    at_once = Repair(tools=TOOLS, may_begin_thinking=begins)
    uncut = at_once.read(chunk({"content": text})) + at_once.end()
    said = [delta.text for delta in uncut + deltas if isinstance(delta, TextDelta)]
    assert not any(marker in piece for marker in TOOL_MARKERS for piece in said)


@given(st.data(), marked_texts, st.booleans())
def test_reasoning_is_kept_word_for_word_however_it_is_cut(
    data: st.DataObject, reasoning: str, answers: bool
) -> None:
    rest = [chunk({"content": "so"}), STOP] if answers else [STOP]
    whole, _ = read(chunk({"reasoning_content": reasoning}), *rest)
    pieces = [chunk({"reasoning_content": piece}) for piece in cut(reasoning, data.draw)]
    message, _ = read(*pieces, *rest)
    assert message == whole
    if answers:
        assert message.reasoning == reasoning
        assert not message.tool_calls


@given(st.data(), arguments | marked_texts | texts, st.booleans())
def test_arguments_are_the_same_however_they_are_cut(
    data: st.DataObject, text: str, cut_short: bool
) -> None:
    whole, pieces = Arguments(), Arguments()
    expected = whole.feed(text) + whole.end(cut_short=cut_short)
    out = [pieces.feed(piece) for piece in cut(text, data.draw)]
    assert "".join(out) + pieces.end(cut_short=cut_short) == expected


# --- Arguments ------------------------------------------------------------------------------


@given(arguments, st.integers(0, 2))
def test_good_arguments_are_not_touched(text: str, indent: int) -> None:
    assert mended(text) == text
    pretty = json.dumps(json.loads(text), indent=indent)
    assert mended(pretty) == pretty


@given(st.dictionaries(texts, json_values, min_size=1, max_size=3))
def test_brackets_that_are_missing_at_the_end_are_closed(value: dict[str, Any]) -> None:
    text = json.dumps({"outer": [value]})
    assert json.loads(mended(text[:-3])) == {"outer": [value]}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"a": 1,}', '{"a": 1}'),
        ('{"a": [1, 2, ], "b": 3}', '{"a": [1, 2 ], "b": 3}'),
        ('{"a": ",}"}', '{"a": ",}"}'),
        ('{"a": {"b": [1', '{"a": {"b": [1]}}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ("{'a': 'b', 'c': True}", '{"a":"b","c":true}'),
        ('{}{"a": 1}', '{"a": 1}'),
        ("", ""),
    ],
)
def test_what_has_one_meaning_is_mended(written: str, meant: str) -> None:
    assert mended(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        '{"a": "half a fi',
        '{"a": 1, ',
        '{"a"',
        '{"a": tru',
        '{"a": [1}',
        "{'path': 'C:\\dir'}",
        "{'a': 'it's'}",
        "add 1 and 2",
        "[1, 2]",
        "{",
        '{"a": 1}}',
    ],
)
def test_what_is_ambiguous_stays_as_it_is(written: str) -> None:
    assert mended(written) == written


def test_arguments_cut_short_are_not_closed() -> None:
    message, last = read(
        call(0, id="x", name="add", arguments='{"a": [1'), chunk({}, finish_reason="length")
    )
    assert message.tool_calls[0].arguments == '{"a": [1'
    assert last.reason == "length"


def test_arguments_given_as_an_object_become_text() -> None:
    assert calls(call(0, id="x", name="add", arguments={"a": 1}), STOP) == [("x", "add", '{"a":1}')]


def test_arguments_stream_as_they_come() -> None:
    repair = Repair(tools=TOOLS)
    assert repair.read(call(0, id="x", name="add", arguments="")) == [ToolCallDelta(0, "x", "add")]
    assert repair.read(call(0, arguments='{"a": "lo')) == [ToolCallDelta(0, arguments='{"a": "lo')]


# --- Calls ----------------------------------------------------------------------------------


def test_calls_without_an_index_are_told_apart_by_id_or_name() -> None:
    # ollama 7881, openai-python 2806
    assert calls(
        call(None, id="1", name="add", arguments=""), call(None, id="2", name="add", arguments="{}")
    ) == [("1", "add", ""), ("2", "add", "{}")]
    assert [name for _, name, _ in calls(call(None, name="add"), call(None, name="list_dir"))] == [
        "add",
        "list_dir",
    ]
    fragments = [
        call(None, id="1", name="add"),
        call(None, arguments='{"a"'),
        call(None, arguments=":1}"),
    ]
    assert calls(*fragments) == [("1", "add", '{"a":1}')]


def test_two_whole_calls_numbered_alike_are_two() -> None:
    assert calls(
        call(0, id="1", name="add", arguments='{"a": 1}'),
        call(0, id="2", name="add", arguments='{"a": 2}'),
    ) == [("1", "add", '{"a": 1}'), ("2", "add", '{"a": 2}')]


def test_an_id_and_a_name_that_come_again_are_not_appended() -> None:
    again = [call(0, id="1", name="get_weather", arguments=a) for a in ("", '{"city":', '"Ulm"}')]
    assert calls(*again) == [("1", "get_weather", '{"city":"Ulm"}')]
    new_ids = [
        call(0, id=f"{n}", name="get_weather", arguments=a) for n, a in enumerate(['{"a":', "1}"])
    ]
    assert calls(*new_ids) == [("0", "get_weather", '{"a":1}')]


def test_a_name_in_two_pieces_is_one_name() -> None:
    assert calls(call(0, id="1", name="get_"), call(0, name="weather", arguments="{}")) == [
        ("1", "get_weather", "{}")
    ]


def test_a_name_in_kimis_dress_is_undressed() -> None:
    assert calls(call(0, id="x", name="functions.add:0", arguments="{}"))[0][1] == "add"


def test_ids_that_start_anew_in_every_turn_become_unique() -> None:
    # fireconnect 16, vllm 50295, qwen-code 8382: list_dir:0 in every turn
    taken = ["list_dir:0", "list_dir:1"]
    (one,) = calls(call(0, id="list_dir:0", name="list_dir", arguments="{}"), taken=taken)
    assert one == ("list_dir:2", "list_dir", "{}")
    two = calls(
        call(0, id="call_a", name="add", arguments="{}"),
        call(1, id="call_a", name="add", arguments='{"a": 2}'),
        taken=["call_a-2"],
    )
    assert [id for id, _, _ in two] == ["call_a", "call_a-3"]


def test_a_call_without_an_id_gets_one_in_kimis_form() -> None:
    assert calls(call(0, name="add", arguments="{}"), taken=["a", "b"])[0][0] == "functions.add:2"


def test_the_old_function_call_is_a_call() -> None:
    old = {"function_call": {"name": "add", "arguments": "{}"}}
    assert calls(chunk(old), chunk({}, finish_reason="function_call"))[0][1:] == ("add", "{}")


# --- Markup in the content ------------------------------------------------------------------


@pytest.mark.parametrize("plural", ["calls", "call"])
def test_markers_left_in_the_content_are_calls(plural: str) -> None:
    # llama.cpp 17376, vllm 50768, litellm 12679: also the singular "tool_call_section"
    text = "Let me see." + section(
        ("functions.add:0", '{"a": 1}'), ("functions.list_dir:1", '{"path": "/"}'), plural=plural
    )
    message, last = read(chunk({"content": text}), STOP)
    assert message.text == "Let me see."
    assert [(c.id, c.name, c.arguments) for c in message.tool_calls] == [
        ("functions.add:0", "add", '{"a": 1}'),
        ("functions.list_dir:1", "list_dir", '{"path": "/"}'),
    ]
    assert last.reason == "tool_calls"


def test_a_call_both_sent_and_left_in_the_content_is_made_once() -> None:
    sent = call(0, id="functions.add:0", name="add", arguments='{"a":1}')
    assert len(calls(chunk({"content": ADD}), sent, STOP)) == 1


def test_a_call_in_the_content_that_was_never_closed_is_still_told() -> None:
    open_call = '<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a": 1'
    assert calls(chunk({"content": open_call}), STOP) == [("functions.add:0", "add", '{"a": 1}')]
    cut_short = chunk({}, finish_reason="length")
    assert calls(chunk({"content": open_call}), cut_short)[0][2] == '{"a": 1'


def test_a_bare_number_for_an_id_is_matched_by_its_arguments() -> None:
    (one,) = calls(chunk({"content": section(("0", '{"city": "Ulm"}'))}), STOP)
    assert one[1:] == ("get_weather", '{"city": "Ulm"}')


def test_think_tags_in_the_content_are_reasoning() -> None:
    message, _ = read(chunk({"content": " <think>why"}), chunk({"content": "</think>\n\nso"}), STOP)
    assert (message.reasoning, message.text) == ("why", "so")


def test_think_tags_in_the_middle_of_the_text_are_text() -> None:
    text = "The tag <think> opens, </think> closes."
    message, _ = read(chunk({"content": text}), STOP)
    assert (message.reasoning, message.text) == (None, text)


def test_reasoning_that_the_prompt_began_ends_at_its_tag() -> None:
    # K2.5 behind a server without a reasoning parser: <think> is already in the prompt
    message, _ = read(chunk({"content": "why</think>so"}), STOP, begins=True)
    assert (message.reasoning, message.text) == ("why", "so")
    message, _ = read(chunk({"content": "just so"}), STOP, begins=True)
    assert (message.reasoning, message.text) == (None, "just so")
    message, _ = read(
        chunk({"reasoning": "why"}), chunk({"content": "a</think>"}), STOP, begins=True
    )
    assert (message.reasoning, message.text) == ("why", "a</think>")


# --- Calls in the reasoning -----------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        ADD,
        "<|tool_calls_section_begin|> <|tool_call_begin|> functions.add:0 "
        '<|tool_call_argument_begin|> {"a": 1} <|tool_call_end|> <|tool_calls_section_end|>\n',
        '<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>',
    ],
)
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "tags"])
def test_a_reply_that_ends_with_a_call_in_its_reasoning_makes_the_call(
    field: str, written: str
) -> None:
    # vllm pull 33646, pull 32216; llxprt-code 749; vllm 53246
    thought = f"I need the sum. {written}"
    delta = {"content": f"<think>{thought}</think>"} if field == "tags" else {field: thought}
    message, last = read(chunk(delta), chunk({"content": "\n"}), STOP)
    assert message.tool_calls == (ToolCall("functions.add:0", "add", '{"a": 1}'),)
    assert message.reasoning == "I need the sum. "
    assert last.reason == "tool_calls"


@pytest.mark.parametrize(
    "follows",
    [
        [chunk({"content": "It is 2."})],
        [call(0, id="functions.list_dir:0", name="list_dir", arguments="{}")],
        [chunk({"reasoning_content": " But wait."})],
        [chunk({"content": section(("functions.list_dir:0", "{}"))})],
    ],
)
def test_a_call_drafted_in_the_reasoning_is_not_made(follows: list[dict[str, Any]]) -> None:
    message, _ = read(chunk({"reasoning_content": f"Maybe {ADD}"}), *follows, STOP)
    assert "add" not in [call.name for call in message.tool_calls]
    assert (message.reasoning or "").startswith(f"Maybe {ADD}")


@pytest.mark.parametrize(
    "written",
    [
        ADD.replace("<|tool_calls_section_end|>", "<|tool_calls"),
        section(("functions.add:0", '{"a": ')),
        section(("functions.nope:0", "{}")),
        ADD + " and so on",
    ],
)
def test_a_call_in_the_reasoning_must_be_whole_and_of_a_tool_there_is(written: str) -> None:
    message, last = read(chunk({"reasoning_content": written}), STOP)
    assert (message.reasoning, message.tool_calls, last.reason) == (written, (), "stop")


def test_reasoning_cut_short_makes_no_call() -> None:
    message, last = read(chunk({"reasoning_content": ADD}), chunk({}, finish_reason="length"))
    assert (message.reasoning, message.tool_calls, last.reason) == (ADD, (), "length")


# --- Names of fields, reasons, usage --------------------------------------------------------


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_under_either_name_and_the_name_is_kept(field: str) -> None:
    # vllm 27755 and kimi-code 0.29.1: the field was renamed
    message, _ = read(chunk({field: "why"}), chunk({"content": "so"}), STOP)
    assert message.reasoning == "why"
    assert message.extra["reasoning_field"] == field


def test_reasoning_sent_under_both_names_is_read_once() -> None:
    message, _ = read(chunk({"reasoning_content": "why", "reasoning": "why"}), STOP)
    assert message.reasoning == "why"


def test_to_reason_nothing_is_not_the_same_as_not_to_reason() -> None:
    assert read(chunk({"reasoning_content": "", "content": "so"}), STOP)[0].reasoning == ""
    assert read(chunk({"content": "so"}), STOP)[0].reasoning is None


def test_a_reply_that_thinks_and_stops_is_told_as_it_is() -> None:
    # kimi-code 3429: what to do about it is the agent's affair
    message, last = read(chunk({"reasoning_content": "Now I will write it."}), STOP)
    assert (message.text, message.tool_calls, last.reason) == ("", (), "stop")


@pytest.mark.parametrize(
    ("given", "has_call", "told"),
    [
        ("stop", True, "tool_calls"),
        (None, True, "tool_calls"),
        (None, False, "stop"),
        ("length", True, "length"),
        ("tool_calls", False, "stop"),
        ("content_filter", False, "content_filter"),
        ("end_turn", False, "stop"),
        ("max_tokens", False, "length"),
    ],
)
def test_the_reason_is_what_happened(given: str | None, has_call: bool, told: str) -> None:
    # vllm 27572, 53269; litellm 12862
    body = call(0, id="x", name="add", arguments="{}") if has_call else chunk({"content": "so"})
    ends = [] if given is None else [chunk({}, finish_reason=given)]
    assert read(body, *ends)[1].reason == told


TOP = {"prompt_tokens": 9, "completion_tokens": 5, "cached_tokens": 4}
DETAILED = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


@pytest.mark.parametrize(
    ("chunks", "usage"),
    [
        ([{"choices": [], "usage": TOP}], Usage(9, 5, 0, 4)),
        ([{"choices": [], "usage": DETAILED}], Usage(9, 5, 3, 4)),
        ([chunk({}, finish_reason="stop", usage=TOP)], Usage(9, 5, 0, 4)),
        ([chunk({}) | {"usage": {"prompt_tokens": 9}}, {"usage": DETAILED}], Usage(9, 5, 3, 4)),
        ([chunk({}, usage=None) | {"usage": None}], Usage()),
    ],
)
def test_usage_is_read_wherever_it_is(chunks: list[dict[str, Any]], usage: Usage) -> None:
    assert read(*chunks)[1].usage == usage


def test_a_whole_message_for_a_stream_is_read() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "why",
        "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        ],
    }
    found, last = read({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert (found.reasoning, found.tool_calls) == ("why", (ToolCall("x", "add", "{}"),))
    assert last.reason == "tool_calls"


def test_content_in_parts_is_read() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
        {"type": "text", "text": "so"},
    ]
    message, _ = read(chunk({"content": parts}), STOP)
    assert (message.reasoning, message.text) == ("why", "so")


def test_fields_we_do_not_know_are_put_together_and_kept() -> None:
    pieces = [
        {"reasoning": "a", "reasoning_details": [{"type": "t", "index": 0, "text": "a"}]},
        {"reasoning": "b", "reasoning_details": [{"type": "t", "index": 0, "text": "b"}]},
        {"reasoning_details": [{"type": "t", "index": 1, "text": "c"}], "audio": None},
        {"content": "so", "vendor": {"mark": "x"}},
    ]
    message, _ = read(*map(chunk, pieces), STOP)
    assert message.extra["fields"] == {
        "reasoning_details": [
            {"type": "t", "index": 0, "text": "ab"},
            {"type": "t", "index": 1, "text": "c"},
        ],
        "vendor": {"mark": "x"},
    }


def test_logprobs_are_kept() -> None:
    marks = [{"token": "so", "logprob": -0.1}]
    _, last = read(chunk({"content": "so"}, logprobs={"content": marks}), STOP)
    assert last.extra["logprobs"] == marks


def test_other_choices_than_the_first_are_not_mixed_in() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "other"}}]}
    assert read(chunk({"content": "so"}), other, STOP)[0] == assistant("so")


def test_a_surrogate_pair_cut_in_two_is_one_character() -> None:
    message, _ = read(chunk({"content": "\ud83d"}), chunk({"content": "\ude00"}), STOP)
    assert message.text == "😀"


@given(json_values)
def test_nothing_that_is_json_breaks_the_reader(value: object) -> None:
    for shape in (
        {"choices": value},
        {"choices": [value]},
        {"choices": [{"delta": value}], "usage": value},
        chunk({"content": value, "tool_calls": value, "reasoning": value}),
        chunk({"tool_calls": [value], "function_call": value}, usage=value, logprobs=value),
        chunk({"tool_calls": [{"id": value, "index": value, "function": value}]}),
        chunk({"tool_calls": [{"function": {"name": value, "arguments": value}}]}),
        chunk({"x": value}, finish_reason=value),
    ):
        message, _ = read(shape, shape)
        assert message.role == "assistant"


def test_reasoning_goes_out_before_the_text_that_follows_it() -> None:
    repair = Repair(tools=TOOLS)
    assert repair.read(chunk({"reasoning_content": f"hm {ADD}"})) == [ReasoningDelta("hm ")]
    assert repair.read(chunk({"content": "so"})) == [ReasoningDelta(ADD), TextDelta("so")]
