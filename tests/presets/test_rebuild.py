"""An agent made again from what its run began with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.agent import Agent, Agreement, Budget, Context
from chogori.agent.changes import changes
from chogori.api import connect
from chogori.chat import (
    AllowedTools,
    JsonFormat,
    NamedTool,
    Options,
    Profile,
    ScriptedModel,
    tool,
)
from chogori.errors import RunChanged
from chogori.presets import assistant, rebuild
from chogori.presets.rebuild import options_of
from chogori.store import Store, open_store

names = st.text(min_size=1, max_size=5)
options = st.builds(
    Options,
    temperature=st.none() | st.floats(0, 2),
    seed=st.none() | st.integers(0, 2**31),
    stop=st.lists(names, max_size=2).map(tuple),
    tool_choice=st.sampled_from(["auto", "none", "required"])
    | st.builds(NamedTool, names)
    | st.builds(AllowedTools, st.lists(names, min_size=1, max_size=2).map(tuple), st.booleans()),
    response_format=st.none() | st.builds(JsonFormat),
)


@tool(effect="pure")
def add(a: int, b: int) -> str:
    """Add."""
    return str(a + b)


not_a_tool = 4


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "data") as opened:
        yield opened


def told(description: dict[str, Any]) -> dict[str, Any]:
    """As another process reads it."""
    return orjson.loads(orjson.dumps(description))


@given(options)
def test_options_come_back_from_json_as_they_were(made: Options) -> None:
    assert options_of(told(asdict(made))) == made


@pytest.mark.parametrize("checked", [False, True])
async def test_an_agent_made_again_has_the_same_description(
    store: Store, tmp_path: Path, checked: bool
) -> None:
    model = ScriptedModel(["Yes."])
    agent = Agent(
        model,
        [add],
        "Be brief.",
        Budget(steps=7, seconds=60),
        Options(temperature=0.5),
        approval="never",
        context=Context(policy="summary", tokens=5_000),
        tool_seconds=5.0,
        out=lambda run_id: tmp_path / run_id / "out",
        store=store,
    )
    verbs = Agreement(agent) if checked else agent
    async with rebuild(told(verbs.describe()), model, store=store, runs=tmp_path) as again:
        assert type(again) is type(verbs)
        assert again.kept_in is store
        assert told(again.describe()) == told(verbs.describe())
        assert changes(verbs.describe(), again.describe()) == []
        assert (await again.run("Well?")).text == "Yes."


@pytest.mark.parametrize("agreement", [1, 3])
async def test_the_assistant_made_again_has_the_same_description(
    store: Store, tmp_path: Path, agreement: int
) -> None:
    model = ScriptedModel(["Yes."], profile=Profile(name="scripted", agreement=agreement))
    work = tmp_path / "work"
    work.mkdir()
    async with assistant(
        model,
        runs=tmp_path,
        workspace=work,
        write=True,
        unsafe=True,
        web=True,
        allow_hosts=["localhost"],
        budget=Budget(steps=7),
        approval="always",
        store=store,
    ) as verbs:
        before = told(verbs.describe())
    async with rebuild(before, model, store=store, runs=tmp_path) as again:
        assert told(again.describe()) == before


async def test_a_limit_that_is_given_replaces_the_one_that_was_and_leaves_the_others(
    store: Store, tmp_path: Path
) -> None:
    agent = Agent(ScriptedModel([]), budget=Budget(steps=1, tokens=5), store=store)
    async with rebuild(
        told(agent.describe()), agent.model, store=store, runs=tmp_path, limits={"steps": 9}
    ) as again:
        assert again.describe()["budget"] == asdict(Budget(steps=9, tokens=5))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "'add' cannot be imported: it was made inside a function; resume the run from"),
        ("no_such_module:add", "the tool 'add' cannot be imported from no_such_module:add"),
        (f"{__name__}:nope", "has no attribute 'nope'.*PYTHONPATH"),
        (f"{__name__}:not_a_tool", r"names is no tool now \(int\)"),
        ("", "agent.resume"),
    ],
)
async def test_a_tool_that_cannot_be_had_again_is_named(
    store: Store, tmp_path: Path, path: str, words: str
) -> None:
    agent = Agent(ScriptedModel([]), [add], store=store)
    description = told(agent.describe())
    description["tools"][0]["path"] = path
    with pytest.raises(RunChanged, match=words):
        async with rebuild(description, agent.model, store=store, runs=tmp_path):
            raise AssertionError("it was made again")


async def test_a_workspace_that_is_gone_is_named(store: Store, tmp_path: Path) -> None:
    model, work = ScriptedModel([]), tmp_path / "work"
    work.mkdir()
    async with assistant(model, runs=tmp_path, workspace=work, unsafe=True, store=store) as verbs:
        description = told(verbs.describe())
    work.rmdir()
    with pytest.raises(RunChanged, match="work, which the run works in, is not there now"):
        async with rebuild(description, model, store=store, runs=tmp_path):
            raise AssertionError("it was made again")


async def test_a_key_is_not_in_a_description() -> None:
    model = connect("http://127.0.0.1:9/v1#m", api_key="sk-secret")
    description = Agent(model, [add]).describe()
    await model.aclose()
    assert "sk-secret" not in str(description)
    assert description["model"] == "http://127.0.0.1:9/v1#m"
