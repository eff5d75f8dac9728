"""Chat completions as clients read them, held to the types of the `openai` package."""

from __future__ import annotations

from typing import Any

import pytest
from asgi import HELLO, Client, Response
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from server_models import StreamingModel

from chogori.api import OpenGate, create_app
from chogori.api.platform import Caller, Credentials
from chogori.api.server.open_gate import ANYBODY
from chogori.api.server.replies import logprobs_json
from chogori.chat import (
    Finished,
    ReasoningDelta,
    ScriptedModel,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    assistant,
    profile_for,
)
from chogori.chat.token_ids import tokens_told

THOUGHT = assistant(
    "Let me see.",
    reasoning="Two numbers.",
    calls=[
        ToolCall("functions.add:0", "add", '{"a": 1}'),
        ToolCall("functions.add:1", "add", "{}"),
    ],
)
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def client_of(*replies: Any, model: str = "m") -> Client:
    return Client(create_app({model: ScriptedModel(replies, profile=profile_for(model))}))


def checked(response: Response) -> Any:
    """A whole completion that is what OpenAI's types say."""
    assert response.status == 200, response.body
    completion = ChatCompletion.model_validate(response.json)
    choice: Any = response.json["choices"][0]
    assert {"index", "message", "logprobs", "finish_reason"} <= set(choice)
    assert {"role", "content", "refusal"} <= set(choice["message"])
    assert completion.usage is not None
    return completion


def checked_chunks(response: Response) -> list[Any]:
    """Chunks that are what OpenAI's types say, and keep what every stream promises."""
    chunks = response.chunks
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert all("finish_reason" in choice for choice in chunk["choices"])
        assert all(type(choice["index"]) is int for choice in chunk["choices"])
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    firsts = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            firsts.setdefault(choice["index"], choice["delta"])
    assert all(delta == {"role": "assistant", "content": ""} for delta in firsts.values())
    return chunks


async def test_a_reply_is_whole_where_no_stream_is_asked_for() -> None:
    completion = checked(await client_of("It is four.").ask())
    assert completion.choices[0].message.content == "It is four."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens == 3


async def test_a_reply_that_calls_tools_carries_reasoning_and_calls() -> None:
    response = await client_of(THOUGHT).ask({"tools": TOOLS})
    message: Any = checked(response).choices[0].message
    assert message.model_extra["reasoning_content"] == "Two numbers."
    assert [call.function.arguments for call in message.tool_calls] == ['{"a": 1}', "{}"]
    assert response.json["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_reply_without_text_has_a_content_of_null_and_one_without_calls_no_list() -> None:
    calls = (await client_of(assistant(calls=THOUGHT.tool_calls)).ask()).json["choices"][0]
    assert calls["message"]["content"] is None
    plain = (await client_of("hi").ask()).json["choices"][0]
    assert "tool_calls" not in plain["message"]


async def test_a_stream_names_each_call_once_and_ends_with_its_reason() -> None:
    chunks = checked_chunks(await client_of(THOUGHT).ask({"stream": True, "tools": TOOLS}))
    pieces = [
        call
        for chunk in chunks
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    heads = [piece for piece in pieces if "id" in piece]
    assert [(head["index"], head["id"]) for head in heads] == [
        (0, "functions.add:0"),
        (1, "functions.add:1"),
    ]
    assert all("name" not in piece["function"] for piece in pieces if "id" not in piece)
    assert all(type(piece["function"]["arguments"]) is str for piece in pieces)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_usage_stands_in_the_last_choice_and_at_the_end_where_asked_for() -> None:
    plain = checked_chunks(await client_of("one two").ask({"stream": True}))
    assert plain[-1]["choices"][0]["usage"]["completion_tokens"] == 2
    assert all("usage" not in chunk for chunk in plain)
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    *others, last = checked_chunks(await client_of("one two").ask(asked))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 3
    assert {chunk["usage"] for chunk in others} == {None}


async def test_the_usage_is_told_all_along_where_asked_for() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    asked = {"stream": True, "stream_options": options}
    chunks = checked_chunks(await client_of("one two three").ask(asked))
    told = [c["usage"]["completion_tokens"] for c in chunks[1:-2] if c["choices"][0]["delta"]]
    assert told == [1, 2, 3]


async def test_length_goes_before_tool_calls() -> None:
    deltas = [ToolCallDelta(0, "c", "add", '{"a'), Finished("length", Usage(1, 2))]
    client = Client(create_app({"m": StreamingModel(deltas)}))
    assert (await client.ask()).json["choices"][0]["finish_reason"] == "length"
    chunks = checked_chunks(await client.ask({"stream": True}))
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("said", ["stop", "tool_calls"])
async def test_the_reason_says_whether_there_are_calls_to_make(said: Any) -> None:
    call = ToolCallDelta(0, "c", "add", "{}")
    for deltas, reason in (([call], "tool_calls"), ([TextDelta("hi")], "stop")):
        client = Client(create_app({"m": StreamingModel([*deltas, Finished(said)])}))
        assert (await client.ask()).json["choices"][0]["finish_reason"] == reason


async def test_several_replies_interleave_by_index_and_count_the_prompt_once() -> None:
    asked = {"stream": True, "n": 3, "stream_options": {"include_usage": True}}
    client = client_of("one two")
    chunks = checked_chunks(await client.ask(asked))
    texts = ["", "", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == ["one two"] * 3
    assert chunks[-1]["usage"]["prompt_tokens"] == 1
    assert chunks[-1]["usage"]["completion_tokens"] == 6
    whole = checked(await client.ask({"n": 2}))
    assert [choice.index for choice in whole.choices] == [0, 1]


async def test_each_reply_has_a_seed_of_its_own() -> None:
    model = ScriptedModel(["hi"])
    await Client(create_app({"m": model})).ask({"n": 3, "seed": 7})
    assert sorted(asked.options.seed or 0 for asked in model.asked) == [7, 8, 9]


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_comes_under_both_names_on_request_and_under_none(stream: bool) -> None:
    async def fields(more: dict[str, Any]) -> dict[str, str]:
        response = await client_of(THOUGHT).ask({"stream": stream, **more})
        if not stream:
            messages = [response.json["choices"][0]["message"]]
        else:
            messages = [c["delta"] for chunk in response.chunks for c in chunk["choices"]]
        found: dict[str, str] = {}
        for message in messages:
            for name in ("reasoning_content", "reasoning"):
                if name in message:
                    found[name] = found.get(name, "") + message[name]
        return found

    plain = {"reasoning_content": "Two numbers."}
    assert await fields({}) == plain
    assert await fields({"include_reasoning": True}) == plain | {"reasoning": "Two numbers."}
    assert await fields({"include_reasoning": False}) == {}
    assert await fields({"reasoning": {"exclude": True}}) == {}


class Discreet(OpenGate):
    """A gate whose keys do not show reasoning."""

    async def identify(self, credentials: Credentials) -> Caller:
        return Caller("o", "p", "k", ANYBODY.scopes, shows_reasoning=False)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_may_be_shown_no_reasoning(stream: bool) -> None:
    app = create_app({"m": ScriptedModel([THOUGHT])}, gate=Discreet())
    response = await Client(app).ask({"stream": stream, "include_reasoning": True})
    assert b"Two numbers" not in response.body
    assert b"Let " in response.body
    assert b'"reasoning_tokens":2' in response.body


async def test_logprobs_come_in_the_form_of_the_api() -> None:
    token = {"token": "hi", "bytes": [104, 105], "logprob": -0.5, "id": 7}
    told = {**token, "top_logprobs": [token]}
    deltas = [TextDelta("hi"), Finished("stop", Usage(1, 1), {"logprobs": [told]})]
    client = Client(create_app({"m": StreamingModel(deltas)}))
    asked = {"logprobs": True, "top_logprobs": 1}
    choice = checked(await client.ask(asked)).choices[0]
    assert choice.logprobs.content[0].top_logprobs[0].logprob == -0.5
    chunks = checked_chunks(await client.ask({**asked, "stream": True}))
    found = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    assert [entry["token"] for entry in found[0]["content"]] == ["hi"]
    assert (await client.ask()).json["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("tokens", "said", "told"),
    [
        (["<think>", "No", "</think>", "N", "o", ".", "<end>"], "No.", ["N", "o", "."]),
        (["Answer:", " yes", "!"], "yes!", [" yes", "!"]),
        (["{", '"a', '":1'], '{"a":12}', ["{", '"a', '":1']),
        (["call"], "", []),
        (["other"], "words", []),
        (["é", "\N{GRINNING FACE}"], "é\N{GRINNING FACE}", ["é", "\N{GRINNING FACE}"]),
    ],
)
@pytest.mark.parametrize("has_bytes", [True, False])
def test_logprobs_are_told_of_the_content_alone(
    tokens: list[str], said: str, told: list[str], has_bytes: bool
) -> None:
    entries = [
        {"token": token, "bytes": list(token.encode()) if has_bytes else None, "logprob": -1.0}
        for token in tokens
    ]
    found = logprobs_json(Finished("stop", Usage(), {"logprobs": entries}), said)
    assert found is not None
    assert [token["token"] for token in found["content"]] == told


async def test_partial_mode_hands_the_beginning_over_and_tells_what_follows() -> None:
    model = ScriptedModel(["x"])
    messages = [*HELLO["messages"], {"role": "assistant", "content": "It is", "partial": True}]
    await Client(create_app({"m": model})).ask({"messages": messages})
    assert model.asked[0].options.prefill == "It is"
    assert len(model.asked[0].conversation) == 1


async def test_a_call_without_an_id_gets_one_that_is_new_in_the_conversation() -> None:
    deltas = [ToolCallDelta(0, "", "add", "{}"), Finished("tool_calls")]
    called = {"id": "functions.add:1", "function": {"name": "add", "arguments": "{}"}}
    history = [
        *HELLO["messages"],
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "functions.add:1", "content": "3"},
    ]
    client = Client(create_app({"m": StreamingModel(deltas)}))
    whole = (await client.ask({"messages": history})).json["choices"][0]["message"]["tool_calls"]
    chunks = checked_chunks(await client.ask({"messages": history, "stream": True}))
    deltas_told = [chunk["choices"][0]["delta"] for chunk in chunks]
    streamed = [delta["tool_calls"] for delta in deltas_told if "tool_calls" in delta]
    assert whole[0]["id"] == streamed[0][0]["id"] == "functions.add:2"


async def test_what_a_reply_says_first_is_reasoning_then_text() -> None:
    deltas = [ReasoningDelta("a"), TextDelta("b"), Finished("stop", Usage(1, 2, 1))]
    chunks = checked_chunks(await Client(create_app(StreamingModel(deltas))).ask({"stream": True}))
    kinds = [next(iter(chunk["choices"][0]["delta"]), "") for chunk in chunks]
    assert kinds == ["role", "reasoning_content", "content", ""]


async def test_token_ids_come_where_they_are_asked_for_and_known() -> None:
    told = tokens_told("a vocabulary", opening=[6], written=[7])
    deltas = [TextDelta("hi"), Finished("stop", Usage(1, 1), told)]
    client = Client(create_app({"m": StreamingModel(deltas)}))
    assert (await client.ask({"return_token_ids": True})).json["choices"][0]["token_ids"] == [7]
    unknown = await client_of("hi").ask({"return_token_ids": True})
    assert unknown.json["choices"][0]["token_ids"] is None
    assert "token_ids" not in (await client.ask()).json["choices"][0]


async def test_a_model_is_also_found_under_a_deployment() -> None:
    path = "/openai/deployments/m/chat/completions"
    body = {"messages": HELLO["messages"]}
    response = await client_of("hi").send("POST", path, body)
    assert response.json["choices"][0]["message"]["content"] == "hi"


async def test_nothing_of_a_stream_is_held_back_by_those_between() -> None:
    headers = (await client_of("hi").ask({"stream": True})).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-accel-buffering"] == "no"
    assert "no-transform" in headers["cache-control"]
