"""Laws of requests: each message is written once, and reasoning goes back word for word."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import json_values, texts

from chogori.api.arguments import UNREADABLE
from chogori.api.ids import ids_in, unique_ids
from chogori.api.joined import Encoded
from chogori.api.wire import Wire
from chogori.chat import (
    AllowedTools,
    Conversation,
    FilePart,
    ImagePart,
    JsonFormat,
    Message,
    NamedTool,
    Options,
    Profile,
    TextPart,
    ToolCall,
    ToolSpec,
    VideoPart,
    assistant,
    profile_for,
    system,
    tool_result,
    user,
)
from chogori.errors import ConfigError

URL = "http://127.0.0.1:1/v1"
MOONSHOT = "api.moonshot.ai"
ADD = ToolSpec("add", "adds", {"type": "object", "properties": {"a": {}}})


class CountingWire(Wire):
    """Counts how often a message is written."""

    written = 0

    def encode(self, message: Message) -> Encoded:
        self.written += 1
        return super().encode(message)


def wire(name: str = "m", host: str = "127.0.0.1", profile: Profile | None = None) -> CountingWire:
    return CountingWire(URL, host, name, profile or profile_for(name))


def sent(
    *messages: Message,
    name: str = "m",
    host: str = "127.0.0.1",
    tools: tuple[ToolSpec, ...] = (),
    profile: Profile | None = None,
    **options: Any,
) -> dict[str, Any]:
    body = wire(name, host, profile).request(Conversation(messages), tools, Options(**options))
    return json.loads(body)


def step(number: int, reasoning: str | None = "why") -> tuple[Message, Message]:
    one = ToolCall(f"functions.add:{number}", "add", '{"a": 1}')
    return assistant(reasoning=reasoning, calls=[one]), tool_result(one, "2")


def test_three_hundred_steps_write_each_message_once() -> None:
    counting = wire()
    conversation = Conversation([system("Be exact."), user("Add.")])
    body = b""
    for number in range(300):
        conversation = conversation.append(*step(number))
        body = counting.request(conversation, [ADD], Options())
        counting.size(conversation)
    assert counting.written == len(conversation) == 602
    assert len(json.loads(body)["messages"]) == 602


@given(st.lists(st.none() | texts, min_size=1, max_size=4), st.lists(st.none() | texts, max_size=4))
def test_reasoning_goes_back_word_for_word_in_the_chain_and_not_before_it(
    before: list[str | None], chain: list[str | None]
) -> None:
    old = [message for n, r in enumerate(before) for message in step(n, r)]
    new = [message for n, r in enumerate(chain, 9) for message in step(n, r)]
    turns = [user("one"), *old, assistant("done", reasoning="secret"), user("two"), *new]
    messages = sent(*turns)["messages"]
    found = [m.get("reasoning_content") for m in messages if m["role"] == "assistant"]
    assert found == [None] * len(before) + [None] + chain


@pytest.mark.parametrize(("retention", "expected"), [("all", ["a", "b"]), ("none", [None, None])])
def test_retention_decides_what_goes_back(retention: Any, expected: list[str | None]) -> None:
    profile = Profile(name="m", retention=retention)
    turns = [user("x"), assistant("y", reasoning="a"), user("z"), step(0, "b")[0]]
    messages = sent(*turns, profile=profile)["messages"]
    assert [m.get("reasoning_content") for m in messages if m["role"] == "assistant"] == expected


def test_where_reasoning_is_needed_a_call_without_any_carries_the_empty_one() -> None:
    # openai-agents 2669: "reasoning_content is missing in assistant tool call message at index N"
    turns = [user("x"), step(0, None)[0], user("y"), assistant("done"), user("z"), step(1, None)[0]]
    messages = sent(*turns, name="kimi-k2-thinking")["messages"]
    assert [m.get("reasoning_content") for m in messages] == [None, "", None, None, None, ""]


def test_before_the_chain_needed_reasoning_is_there_but_empty() -> None:
    turns = [user("x"), step(0, "secret")[0], assistant("done", reasoning="secret"), user("y")]
    messages = sent(*turns, name="kimi-k2-thinking")["messages"]
    assert messages[1]["reasoning_content"] == ""
    assert "secret" not in json.dumps(messages)


def test_reasoning_goes_back_under_the_name_the_same_endpoint_used() -> None:
    one = ToolCall("x", "add", "{}")

    def name_of(**extra: Any) -> str:
        message = Message("assistant", (), "why", (one,), extra=extra)
        return next(key for key in sent(message)["messages"][0] if key.startswith("reasoning"))

    assert name_of(reasoning_field="reasoning") == "reasoning"
    assert name_of(reasoning_field="reasoning", endpoint=URL) == "reasoning"
    assert (
        name_of(reasoning_field="reasoning", endpoint="https://else.where/v1")
        == "reasoning_content"
    )
    assert name_of() == "reasoning_content"


def test_unknown_fields_go_back_to_their_own_endpoint_alone() -> None:
    kept = {"reasoning_details": [{"text": "a"}], "role": "system"}

    def back(endpoint: str) -> dict[str, Any]:
        message = Message(
            "assistant", (TextPart("so"),), extra={"fields": kept, "endpoint": endpoint}
        )
        return sent(message)["messages"][0]

    assert back(URL) == {"role": "assistant", "content": "so", "reasoning_details": [{"text": "a"}]}
    assert back("https://else.where/v1") == {"role": "assistant", "content": "so"}


def test_messages_are_written_as_endpoints_read_them() -> None:
    one = ToolCall("functions.add:0", "add", "")
    messages = sent(
        system("s"), user("u"), assistant(calls=[one]), tool_result(one, ""), assistant("")
    )["messages"]
    assert messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "functions.add:0",
                    "type": "function",
                    "function": {"name": "add", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "content": "", "name": "add", "tool_call_id": "functions.add:0"},
        {"role": "assistant", "content": ""},
    ]


def test_pictures_are_parts_for_a_model_that_sees() -> None:
    look = user(
        [
            TextPart("look"),
            ImagePart("data:image/png;base64,AA"),
            VideoPart("ms://v"),
            FilePart("f1"),
        ]
    )
    (message,) = sent(look, name="kimi-k2.5")["messages"]
    assert message["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "video_url", "video_url": {"url": "ms://v"}},
        {"type": "file", "file": {"file_id": "f1"}},
    ]


def test_a_model_without_eyes_refuses_a_picture_by_name() -> None:
    with pytest.raises(ConfigError, match=r"kimi-k2-thinking.*cannot see"):
        sent(user(ImagePart("data:,")), name="kimi-k2-thinking")


OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0.0}, {"temperature": 0.0}),
    ({"top_p": 0.5, "top_k": 3, "min_p": 0.1}, {"top_p": 0.5, "top_k": 3, "min_p": 0.1}),
    (
        {"presence_penalty": 1.0, "frequency_penalty": 0.0},
        {"presence_penalty": 1.0, "frequency_penalty": 0.0},
    ),
    ({"seed": 0}, {"seed": 0}),
    ({"max_tokens": 5}, {"max_tokens": 5}),
    ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
    ({"logprobs": 0}, {"logprobs": True}),
    ({"logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    ({"tool_choice": "none"}, {"tool_choice": "none"}),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    (
        {"tool_choice": NamedTool("add")},
        {"tool_choice": {"type": "function", "function": {"name": "add"}}},
    ),
    (
        {"tool_choice": AllowedTools(("add",), required=True)},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "add"}}],
                },
            }
        },
    ),
    ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    ({"response_format": JsonFormat()}, {"response_format": {"type": "json_object"}}),
    (
        {"response_format": JsonFormat({"type": "object"}, name="n")},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
            }
        },
    ),
    ({"effort": "high"}, {"reasoning_effort": "high"}),
    ({"cache_key": "k", "user": "u"}, {"prompt_cache_key": "k", "user": "u"}),
    ({"extra": {"best_of": 2, "seed": 7}, "seed": 1}, {"best_of": 2, "seed": 7}),
    ({"thinking": False}, {"chat_template_kwargs": {"thinking": False, "enable_thinking": False}}),
    (
        {"thinking": True, "extra": {"chat_template_kwargs": {"x": 1}}},
        {"chat_template_kwargs": {"thinking": True, "enable_thinking": True, "x": 1}},
    ),
    ({}, {}),
]


@pytest.mark.parametrize(("options", "expected"), OPTIONS)
def test_every_option_has_its_field(options: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent(user("x"), tools=(ADD,), **options)
    plain = {"model", "messages", "tools", "stream", "stream_options"}
    assert {name: value for name, value in body.items() if name not in plain} == expected
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": "adds", "parameters": ADD.parameters},
        }
    ]


def test_moonshot_is_spoken_to_in_its_own_words() -> None:
    body = sent(user("x"), name="kimi-k2.6", host=MOONSHOT, max_tokens=5)
    assert body["max_completion_tokens"] == 5
    assert body["thinking"] == {"type": "enabled", "keep": "all"}
    assert body["temperature"] == 1.0
    assert not {"max_tokens", "chat_template_kwargs", "top_p"} & set(body)
    body = sent(user("x"), name="kimi-k2.5", host=MOONSHOT, thinking=False, presence_penalty=0.5)
    assert body["thinking"] == {"type": "disabled"}
    assert body["temperature"] == 0.6
    assert "presence_penalty" not in body, "the endpoint holds it fixed"
    assert "thinking" not in sent(user("x"), name="kimi-k2-thinking", host=MOONSHOT, thinking=True)


def test_a_prefill_is_a_partial_message_at_the_end() -> None:
    body = sent(user("x"), host=MOONSHOT, prefill="{")
    assert body["messages"][-1] == {"role": "assistant", "content": "{", "partial": True}
    assert "continue_final_message" not in body
    assert sent(user("x"), prefill="{")["continue_final_message"] is True


@given(texts | st.text(st.characters(codec="utf-16-le") | st.characters(categories=["Cs"])))
def test_any_text_can_be_sent(text: str) -> None:
    body = wire().request(Conversation([user(text)]), (), Options(extra={"note": text}))
    found = json.loads(body)["messages"][0]["content"]
    assert found == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Frozen(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> Any:
        return {"type": "object", "maximum": 2**70}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("type", "maximum"))

    def __len__(self) -> int:
        return 2


def test_schemas_may_be_any_mapping_and_hold_any_number() -> None:
    body = sent(user("x"), tools=(ToolSpec("f", "", {"properties": Frozen()}),))
    assert body["tools"][0]["function"]["parameters"]["properties"]["maximum"] == 2**70


@given(
    st.lists(st.tuples(st.sampled_from(["a", "a:0", "f:1", "f:2", ""]), st.booleans()), max_size=8)
)
def test_ids_become_unique_and_results_follow_their_calls(turns: list[tuple[str, bool]]) -> None:
    messages: list[Message] = []
    for number, (id, twice) in enumerate(turns):
        made = [ToolCall(id, "f", f'{{"n":{number}.{n}}}') for n in range(1 + twice)]
        messages += [assistant(calls=made), *(tool_result(one, one.arguments) for one in made)]
    sent_messages = sent(*messages)["messages"]
    called = {
        call["id"]: call["function"]["arguments"]
        for message in sent_messages
        for call in message.get("tool_calls", ())
    }
    assert len(called) == sum(1 + twice for _, twice in turns)
    assert "" not in called
    answered = {m["tool_call_id"]: m["content"] for m in sent_messages if m["role"] == "tool"}
    assert answered == called


@given(texts | json_values.map(json.dumps))
def test_arguments_go_back_as_an_object_whatever_the_model_wrote(written: str) -> None:
    body = sent(user("x"), assistant(calls=[ToolCall("a", "f", written)]))
    told = body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    read = json.loads(told)
    assert isinstance(read, dict)
    try:
        is_object = isinstance(json.loads(written), dict)
    except ValueError:
        is_object = False
    if is_object:
        assert told == written
    elif written:
        assert list(read) == [UNREADABLE]
        assert read[UNREADABLE] == written.encode("utf-8", "replace").decode() or "\ufffd" in told
    else:
        assert read == {}


@given(st.lists(st.sampled_from(["a", "b:1", "b:2", ""]), max_size=6), st.integers(0, 6))
def test_ids_are_known_up_to_where_a_conversation_stands(ids: list[str], fork: int) -> None:
    def said(id: str) -> Message:
        return assistant(calls=[ToolCall(id, "f", "{}")])

    whole = Conversation([said(id) for id in ids])
    asked = [(whole, ids), (Conversation(list(whole)[:fork]), ids[:fork])]
    ids_in(whole)
    shorter = Conversation()
    for id in ids[:fork]:
        shorter = shorter.append(said(id))
        ids_in(shorter)
    left, right = shorter.append(said("left")), shorter.append(said("right"))
    asked += [(left, [*ids[:fork], "left"]), (right, [*ids[:fork], "right"])]
    for conversation, wanted in asked * 2:
        known = ids_in(conversation)
        assert len(known) == len(wanted)
        assert [id for id in ("a", "b:1", "b:2", "", "left", "right") if id in known] == [
            id for id in ("a", "b:1", "b:2", "", "left", "right") if id in wanted
        ]
        assert known.are_unique == (len(set(wanted)) == len(wanted) and "" not in wanted)


_said = st.sampled_from(
    [
        user("x"),
        assistant("a"),
        assistant("a", reasoning="r"),
        assistant(reasoning="r", calls=[ToolCall("1", "f", "{}")]),
        assistant(calls=[ToolCall("1", "f", "{}")]),
        assistant(calls=[ToolCall("1-2", "f", "{}")]),
        tool_result(ToolCall("1", "f", "{}"), "y"),
    ]
)
_asked = st.tuples(st.lists(_said, max_size=4), st.sampled_from([None, "", "p"]), st.booleans())


@given(_asked, _asked, st.sampled_from(["chain", "all", "none"]))
def test_fingerprints_are_the_same_just_where_the_bytes_are(
    one: Any, other: Any, retention: Any
) -> None:
    writes = wire(profile=Profile(name="m", retention=retention))
    bodies, prints = set[bytes](), set[str]()
    for messages, prefill, has_tools in (one, other):
        whole, options = Conversation(messages), Options(prefill=prefill)
        tools = (ADD,) if has_tools else ()
        bodies.add(writes.request(whole, tools, options))
        prints.add(writes.fingerprint(whole, tools, options))
    assert len(bodies) == len(prints)


def test_an_endpoints_own_tools_stand_beside_ours() -> None:
    own = {"type": "builtin_function", "function": {"name": "$web_search"}}
    body = sent(user("x"), tools=(ADD,), extra={"tools": [own], "messages": []})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["add", "$web_search"]
    assert len(body["messages"]) == 1


def test_unique_ids_change_nothing() -> None:
    assert unique_ids(Conversation([*step(0), *step(1)])) == {}


def test_size_counts_what_would_be_sent_but_for_pictures() -> None:
    seeing = wire("kimi-k2.5")
    picture = ImagePart("data:image/png;base64," + "A" * 10_000)
    size, pictures = seeing.size(Conversation([user([TextPart("look"), picture])]))
    assert size < 200
    assert pictures == 1
