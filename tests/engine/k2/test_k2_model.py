"""`k2:nano` behind `ChatModel`: the whole way from a conversation to deltas."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chogori.chat import (
    Conversation,
    Delta,
    Finished,
    JsonFormat,
    Message,
    MessageBuilder,
    Options,
    TextDelta,
    ToolSpec,
    assistant,
    user,
)
from chogori.chat.markers import (
    ARGUMENTS_BEGIN,
    CALL_BEGIN,
    CALL_END,
    SECTION_BEGIN,
    SECTION_END,
    THINK_END,
)
from chogori.chat.token_ids import written_ids
from chogori.chat.tokenizer import Tokenizer
from chogori.engine.k2 import NANO, K2Model, describe, find_folder
from chogori.engine.k2.generation import Engine
from chogori.engine.k2.sampler import Drawn
from chogori.engine.k2.told import prompt_told
from chogori.errors import CheckpointError, ConfigError, ContextTooLong
from chogori.presets import load

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:k2.nano is untrained")
ASKED = Conversation([user("Where does the mountain stand?")])
SHORT = Options(max_tokens=12, temperature=0)
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {}})


@pytest.fixture
async def model() -> AsyncIterator[K2Model]:
    model = K2Model(describe(NANO, "k2:nano"))
    yield model
    await model.aclose()


async def reply(
    model: K2Model,
    conversation: Conversation = ASKED,
    options: Options = SHORT,
    tools: tuple[ToolSpec, ...] = (),
) -> tuple[Message, Finished]:
    builder = MessageBuilder()
    async for delta in model.stream(conversation, tools, options):
        builder.add(delta)
    assert builder.finished is not None
    return builder.message, builder.finished


async def test_it_answers_and_counts(model: K2Model) -> None:
    _, finished = await reply(model)
    assert finished.reason == "length"
    assert finished.usage.prompt == await model.count(ASKED)
    assert finished.usage.completion == finished.usage.reasoning == 12
    assert finished.usage.cached == 0


async def test_a_further_step_reads_what_it_adds_and_tokenises_nothing_again(
    model: K2Model,
) -> None:
    said, first = await reply(model)
    longer = ASKED.append(said, user("And how high?"))
    _, second = await reply(model, longer)
    # Reasoning is dropped after an answer, so the reply itself is read anew without it.
    assert second.usage.cached >= first.usage.prompt
    again = Conversation([user("Where does the mountain stand?")])
    _, third = await reply(model, again)
    assert third.usage.cached == first.usage.prompt - 1


async def test_the_same_conversation_and_seed_give_the_same_reply(model: K2Model) -> None:
    warm = Options(max_tokens=12, temperature=1.0, seed=4)
    said, _ = await reply(model, options=warm)
    await reply(model, Conversation([user("Something else.")]))
    assert (await reply(model, options=warm))[0] == said


async def test_a_prefilled_reply_is_text_from_its_start(model: K2Model) -> None:
    said, finished = await reply(model, options=Options(prefill="It is", max_tokens=8, seed=1))
    assert said.reasoning is None
    assert finished.usage.reasoning == 0


async def test_a_stop_string_ends_the_text(model: K2Model) -> None:
    options = Options(prefill="It is", max_tokens=20, temperature=0)
    whole, _ = await reply(model, options=options)
    middle = whole.text[len(whole.text) // 2 :][:3]
    stopped = Options(prefill="It is", max_tokens=20, temperature=0, stop=(middle,))
    said, finished = await reply(model, options=stopped)
    assert said.text == whole.text[: whole.text.index(middle)]
    assert finished.reason == "stop"
    assert finished.usage.completion < 20


async def test_logprobs_are_told_for_every_token(model: K2Model) -> None:
    _, finished = await reply(model, options=Options(max_tokens=5, temperature=0, logprobs=3))
    told = finished.extra["logprobs"]
    assert len(told) == 5
    for each in told:
        assert each["logprob"] == each["top_logprobs"][0]["logprob"], "greedy is the likeliest"
        assert len(each["top_logprobs"]) == 3


async def test_closing_the_stream_frees_the_model(model: K2Model) -> None:
    stream = model.stream(ASKED, (), Options(max_tokens=5000, prefill="", temperature=1.0, seed=0))
    assert await anext(aiter(stream))
    await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue]
    assert (await reply(model))[1].usage.completion == 12


async def test_tools_are_told_to_the_model_unless_there_is_no_choice(model: K2Model) -> None:
    plain = await model.count(ASKED)
    told = await model.count(ASKED, [ADD])
    assert told > plain
    _, with_tools = await reply(model, tools=(ADD,))
    assert with_tools.usage.prompt == told
    none = Options(max_tokens=3, tool_choice="none")
    assert (await reply(model, options=none, tools=(ADD,)))[1].usage.prompt == plain


@pytest.mark.parametrize("held", [{"tool_choice": "required"}, {"response_format": JsonFormat()}])
async def test_what_it_cannot_hold_a_reply_to_is_refused(model: K2Model, held: dict) -> None:
    with pytest.raises(ConfigError, match="does not hold a reply to a form"):
        await reply(model, options=Options(**held))


@pytest.mark.parametrize("parallel", [True, False])
async def test_a_reply_of_one_call_ends_before_the_second(
    model: K2Model, monkeypatch: pytest.MonkeyPatch, parallel: bool
) -> None:
    tokenizer = Tokenizer.from_file(describe(NANO, "k2:nano").vocabulary)

    def call(number: int) -> list[int]:
        name, end = tokenizer.encode(f"functions.add:{number}"), tokenizer.id_of(CALL_END)
        begun = [tokenizer.id_of(CALL_BEGIN), *name, tokenizer.id_of(ARGUMENTS_BEGIN)]
        return [*begun, *tokenizer.encode("{}"), end]

    first = [tokenizer.id_of(THINK_END), tokenizer.id_of(SECTION_BEGIN), *call(0)]
    close = tokenizer.id_of(SECTION_END)
    script = [*first, *call(1), close, *sorted(tokenizer.stop_ids)[:1]]

    def scripted(*_: object, **__: object) -> Iterator[Drawn]:
        yield from map(Drawn, script)

    monkeypatch.setattr(Engine, "generate", scripted)
    options = Options(parallel_tool_calls=parallel)
    said, finished = await reply(model, options=options, tools=(ADD,))
    assert [call.id for call in said.tool_calls] == [
        f"functions.add:{n}" for n in range(1 + parallel)
    ]
    assert finished.reason == "tool_calls"
    assert written_ids(finished.extra) == (script[:-1] if parallel else [*first, close])


async def test_a_conversation_that_fills_the_context_is_refused(model: K2Model) -> None:
    with pytest.raises(ContextTooLong, match="and this model reads 8,192"):
        await reply(model, Conversation([user("why? " * 9000)]))


async def test_it_says_when_loaded_that_it_is_untrained(
    model: K2Model, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await model.count(ASKED)
        await model.count(ASKED)
    assert [record.message for record in caplog.records] == [
        "k2:nano is untrained: it shows that everything works; what it says means nothing"
    ]


async def test_weights_and_vocabulary_of_two_models_are_refused(tmp_path: Path) -> None:
    from chogori.chat.tokenizer import NANO as VOCABULARY
    from chogori.model import K2, nano, save

    save(K2(nano(vocab_size=100)).draw_(0), tmp_path)
    (tmp_path / "tiktoken.model").write_bytes(VOCABULARY.read_bytes())
    with pytest.raises(CheckpointError, match=r"4,096 ids.*vocab_size of 100"):
        await K2Model(describe(tmp_path, "k2:x")).count(ASKED)


def test_the_profile_comes_from_small_files() -> None:
    profile = load("k2:nano").profile
    assert (profile.name, profile.spec) == ("k2-nano", "k2:nano")
    assert (profile.thinking, profile.retention, profile.temperature) == ("forced", "chain", 1.0)


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({}, "k2-instruct"),
        ({"chat_template.jinja": "{{ '<think>' }}"}, "k2-thinking"),
        ({"tokenizer_config.json": '{"chat_template": "<think>"}'}, "k2-thinking"),
    ],
)
def test_the_template_is_told_by_the_files(
    tmp_path: Path, files: dict[str, str], template: str
) -> None:
    import json

    published = json.loads((NANO / "config.json").read_text())
    published.pop("chogori")
    (tmp_path / "config.json").write_text(json.dumps(published))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert describe(tmp_path, "k2:x").template.name == template
    wrapped = {"model_type": "kimi_k25", "text_config": published}
    (tmp_path / "config.json").write_text(json.dumps(wrapped))
    assert describe(tmp_path, "k2:x").template.name == "k2.5"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        find_folder(f"k2:{tmp_path / 'nowhere'}")


def test_the_nano_is_what_its_recipe_makes(tmp_path: Path) -> None:
    import importlib.util

    path = Path(__file__).parents[3] / "recipes" / "nano.py"
    spec = importlib.util.spec_from_file_location("recipe", path)
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    recipe.make(tmp_path / "made")

    def hashes(folder: Path) -> dict[str, str]:
        return {
            each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()
        }

    assert hashes(tmp_path / "made") == hashes(NANO)


async def test_a_reply_of_its_own_goes_back_as_the_ids_it_was(model: K2Model) -> None:
    said, _ = await reply(model, options=Options(max_tokens=6, temperature=1.0, seed=3))
    assert said.extra["tokens"]["ids"]
    deltas: list[Delta] = [delta async for delta in model.stream(ASKED, (), SHORT)]
    assert isinstance(deltas[-1], Finished)
    assert not any(isinstance(delta, TextDelta) for delta in deltas), "it was still reasoning"
    assert await model.count(ASKED.append(assistant("x"))) > await model.count(ASKED)


async def test_a_reply_tells_its_seed_its_weights_and_its_prompt(model: K2Model) -> None:
    message, finished = await reply(model, options=Options(max_tokens=6))
    told = finished.extra["prompt"]
    assert told["after"] == 0
    assert len(told["ids"]) == finished.usage.prompt == await model.count(ASKED)
    assert finished.extra["weights"] == model.weights
    again = Options(max_tokens=6, seed=finished.extra["seed"])
    assert (await reply(model, options=again))[0].extra["tokens"] == message.extra["tokens"]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1), st.data())
def test_prompts_are_whole_again_from_what_each_reply_told(
    replies: list[list[int]], data: st.DataObject
) -> None:
    conversation, sequence, known = Conversation(), [1], list[int]()
    for ids in replies:
        # Now and then a prompt does not go on from the last one: a compaction, a dropped thought.
        prompt = [*sequence, 2] if data.draw(st.booleans()) else [3, *sequence]
        told = prompt_told(conversation, prompt, ids)
        known = [*known[: told["prompt"]["after"]], *told["prompt"]["ids"]]
        assert known == prompt
        known = sequence = [*prompt, *ids]
        said = replace(assistant("x"), extra=told)
        conversation = conversation.append(said, user("And?"))
