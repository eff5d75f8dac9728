"""MCP, with a real server in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from chogori.chat import ImagePart, TextPart, Tool, ToolCall, ToolContext, ToolError, text_of
from chogori.errors import ConfigError
from chogori.toolbox.mcp import McpServer

SERVER = Path(__file__).with_name("mcp_server.py")
Shop = Callable[..., AbstractAsyncContextManager[McpServer]]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    command = shlex.join([sys.executable, str(SERVER), str(tmp_path / "ledger")])
    return lambda **options: McpServer(command, **options)


async def call(server: McpServer, name: str, arguments: str = "{}", out: Path | None = None) -> str:
    result = await tool(server, name).call(arguments, context(out))
    return text_of(result.content)


async def refused(server: McpServer, name: str, arguments: str = "{}") -> str:
    with pytest.raises(ToolError) as error:
        await call(server, name, arguments)
    return str(error.value)


def tool(server: McpServer, name: str) -> Tool:
    return next(each for each in server.tools() if each.spec.name == name)


def context(out: Path | None = None) -> ToolContext:
    return ToolContext("r", ToolCall("c", "t", "{}"), out=out)


async def test_a_server_is_asked_what_it_offers_and_answers(shop: Shop, tmp_path: Path) -> None:
    async with shop() as server:
        names = [each.spec.name for each in server.tools()]
        assert names[:3] == ["count", "order", "fail"]
        assert "odd_name_" in names, "only what endpoints take"
        assert await call(server, "count", '{"item": "pens"}') == "4 pens"
        assert await call(server, "order", '{"item": "ink"}') == "ordered ink"
        assert await call(server, "odd_name_") == "odd"
        assert (tmp_path / "ledger").read_text() == "ink\n"
        assert tool(server, "order").spec.description == "Order an item. (a tool of shop)"
        description = tool(server, "count").spec.description
        assert len(description) < 1_100, "a server may not fill the context with its praise"
        assert description.endswith("... (a tool of shop)")


async def test_a_call_is_asked_for_unless_server_and_user_agree_that_it_only_reads(
    shop: Shop,
) -> None:
    effects: dict[tuple[bool, str], str] = {}
    for allowed in (False, True):
        async with shop(allow_read_only=allowed) as server:
            for name in ("count", "order"):
                made = tool(server, name)
                effects[allowed, name] = made.effect
                assert made.needs_approval == (made.effect == "once")
                assert made.touches("{}") == ({"mcp:shop"} if made.needs_approval else set())
                assert await made.reconcile("{}", context()) is None
    assert [call for call, effect in effects.items() if effect == "pure"] == [(True, "count")]


async def test_a_name_that_is_taken_gets_the_servers_in_front(shop: Shop) -> None:
    async with shop() as server:
        names = [each.spec.name for each in server.tools(taken=["count", "order", "shop_order"])]
        assert names[:3] == ["shop_count", "shop_order_2", "fail"]
        assert len(set(names)) == len(names)


WRONG = [
    ('{"person": 1}', "person: 1 is not of type 'object'"),
    ('{"person": {"name": "A"}}', "person: 'address' is a required property"),
    (
        '{"person": {"name": "A", "address": {"street": "B", "zip": "C"}}}',
        "person.address.zip: 'C' is not of type 'integer'. What fits there is",
    ),
    (
        '{"person": {"name": "A", "address": {"street": "B", "zip": 1}, "kind": "thief"}}',
        "person.kind: 'thief' is not one of ['buyer', 'seller']",
    ),
    ("{}", "'person' is a required property"),
    ("[]", "must be a JSON object"),
    ("{", "not JSON"),
]


async def test_arguments_are_checked_before_the_server_sees_them(shop: Shop) -> None:
    person = '{"person": {"name": "A", "address": {"street": "B", "zip": 7}}, "tags": ["x"]}'
    async with shop() as server:
        for arguments, problem in WRONG:
            assert problem in await refused(server, "register", arguments)
        assert await call(server, "register", person) == "A of 7"


async def test_pictures_become_parts(shop: Shop) -> None:
    async with shop() as server:
        result = await tool(server, "picture").call("{}", context())
        text, image = result.content
        assert text == TextPart("a pixel")
        assert isinstance(image, ImagePart)
        assert image.url.startswith("data:image/png;base64,iVBOR")


async def test_a_long_answer_is_kept_in_out(shop: Shop, tmp_path: Path) -> None:
    async with shop(max_chars=100) as server:
        told = await call(server, "talk", '{"length": 5000}', tmp_path / "out")
        assert len(told) < 300
        kept = told.partition("/out/")[2].partition(",")[0]
        assert (tmp_path / "out" / kept).read_text() == "x" * 5000


async def test_an_error_of_the_tool_is_told(shop: Shop) -> None:
    async with shop() as server:
        assert "out of ink" in await refused(server, "fail", '{"why": "out of ink"}')
        assert await call(server, "count", '{"item": "pens"}') == "4 pens"


async def test_a_call_that_hangs_is_given_up_and_the_server_stays(shop: Shop) -> None:
    async with shop(call_seconds=0.3) as server:
        told = await refused(server, "hang")
        assert "did not answer within 0.3 seconds; whether it took effect is unknown" in told
    async with shop() as server:
        waiting = asyncio.create_task(call(server, "hang"))
        assert await call(server, "count", '{"item": "pens"}') == "4 pens"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await call(server, "count", '{"item": "pens"}') == "4 pens"


async def test_a_server_that_dies_is_told_with_its_last_words(shop: Shop) -> None:
    async with shop() as server:
        told = await refused(server, "die")
        assert "the MCP server shop has ended (its last words: " in told
        assert "out of paper); whether" in told
        assert "has ended" in await refused(server, "count", '{"item": "pens"}')
    assert "not running" in await refused(server, "count", '{"item": "pens"}')


async def test_the_server_has_a_minimal_environment_and_ends_with_the_context(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "sk-1")
    monkeypatch.setenv("LANG", "C.UTF-8")
    async with shop(env={"SHOP_KEY": "1"}) as server:
        names, _, process = (await call(server, "environment")).partition(";")
        # LC_CTYPE is set by Python itself, when the locale is plain C.
        assert set(names.split(",")) - {"LC_CTYPE"} == {"HOME", "LANG", "PATH", "SHOP_KEY"}
        os.kill(int(process), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


async def test_calls_come_from_any_task_at_once(shop: Shop) -> None:
    async with shop() as server, asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(call(server, "talk", f'{{"length": {n}}}')) for n in range(20)]
    assert [len(each.result()) for each in calls] == list(range(20))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("no-such-program --x", "names no program on PATH"),
        ("", "names no program on PATH"),
        ("python 'unclosed", "cannot be read: No closing quotation"),
        (f"{sys.executable} -c 'raise SystemExit(\"no licence\")'", "its last words: no licence"),
    ],
)
async def test_a_server_that_does_not_start_says_why(command: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        async with McpServer(command):
            pytest.fail("it never started")


async def test_a_server_that_says_nothing_is_given_up() -> None:
    command = shlex.join([sys.executable, "-c", "import sys; sys.stdin.read()"])
    with pytest.raises(ConfigError, match=r"did not answer within 0\.5 seconds"):
        async with McpServer(command, start_seconds=0.5):
            pytest.fail("it never started")


async def test_without_the_package_the_extra_is_named(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigError, match=r"pip install 'chogori\[mcp\]'"):
        async with shop():
            pytest.fail("it never started")
