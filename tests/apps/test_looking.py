"""`chogori prompt` and `chogori tokens`, as another program runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_harness import Cli

from chogori.chat.tokenizer import NANO
from kimi_strategies import NANO_TOKENIZER

GOLDEN = Path(__file__).parent.parent / "golden"
TRICKY = ["", "a\r\n\u2028b", "<|im_end|>", "漢字 \x00 😀", "\ud800", '"']


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def request(*messages: object, **fields: object) -> bytes:
    return json.dumps({"messages": messages, **fields}).encode()


def test_a_prompt_is_printed_and_nothing_else(cli: Cli) -> None:
    for name in ("k2-instruct", "k2-thinking", "k2.5"):
        done = cli.run("prompt", "--template", name, str(GOLDEN / "chat_request.json"))
        assert done.stdout == (GOLDEN / f"prompt_{name}.txt").read_bytes().decode()
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({}, "hi<|im_end|><|im_assistant|>assistant<|im_middle|><think>"),
        ({"add_generation_prompt": False}, "hi<|im_end|>"),
        ({"thinking": {"type": "disabled"}}, "<|im_middle|><think></think>"),
        ({"thinking": {"type": "enabled"}}, "<|im_middle|><think>"),
        ({"chat_template_kwargs": {"thinking": False}}, "<|im_middle|><think></think>"),
        ({"tools": None, "model": "kimi", "temperature": 1}, "<|im_middle|><think>"),
    ],
)
def test_a_request_may_say_what_servers_take(cli: Cli, fields: dict[str, object], end: str) -> None:
    piped = request({"role": "user", "content": "hi"}, **fields)
    done = cli.run("prompt", "--template", "k2.5", "-", stdin=piped)
    assert done.stdout.startswith("<|im_user|>user<|im_middle|>hi")
    assert done.stdout.endswith(end)


@pytest.mark.parametrize(
    "fields", [{"thinking": {"keep": "all"}}, {"chat_template_kwargs": {"preserve_thinking": True}}]
)
def test_reasoning_is_kept_where_a_request_says_so(cli: Cli, fields: dict[str, object]) -> None:
    said = {"role": "assistant", "content": "so", "reasoning_content": "why"}
    done = cli.run("prompt", "--template", "k2.5", "-", stdin=request(said, **fields))
    assert "<think>why</think>so" in done.stdout


def test_a_reply_goes_on_from_a_partial_one(cli: Cli) -> None:
    said = {"role": "assistant", "content": "So", "partial": True}
    done = cli.run("prompt", "--template", "k2.5", "-", stdin=request(said))
    assert done.stdout == "<|im_assistant|>assistant<|im_middle|><think></think>So"


def test_calls_without_an_id_are_numbered(cli: Cli) -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}] * 2
    done = cli.run(
        *("prompt", "--template", "k2-instruct", "-"),
        stdin=request({"role": "assistant", "tool_calls": calls}),
    )
    assert "functions.f:0<|" in done.stdout
    assert "functions.f:1<|" in done.stdout


@pytest.mark.parametrize(
    ("piped", "said"),
    [
        (b"{", "the request is not JSON: Expecting property name"),
        (b"\xff", "the request is not UTF-8: byte 0xff at offset 0"),
        (b"[]", "the request: expected an object, found []"),
        (b"{}", "messages: expected a list, found null"),
        (request(5), "messages[0]: expected an object, found 5"),
        (request({"content": "x"}), "messages[0].role: expected a word, such as user, found null"),
        (request({"role": "user", "content": 5}), "messages[0].content: expected text or a list"),
        (request({"role": "user", "content": [5]}), "messages[0].content[0]: expected an object"),
        (
            request({"role": "user", "content": [{"type": "x"}]}),
            'content[0]: expected a part with a text, an image or a video, found {"type": "x"}',
        ),
        (request({"role": "user", "name": 5}), "messages[0].name: expected text, found 5"),
        (request(tools=[5]), "tools[0]: expected an object, found 5"),
        (
            request({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}),
            "messages[0].tool_calls[0].function.arguments: expected JSON text or an object",
        ),
        (
            request({"role": "user", "content": [{"type": "video_url"}]}),
            "the template k2-thinking has no form for a film",
        ),
    ],
)
def test_a_request_that_is_none_is_refused_in_one_line(cli: Cli, piped: bytes, said: str) -> None:
    done = cli.run("prompt", "--template", "k2-thinking", "-", stdin=piped)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_not_there_is_named(cli: Cli) -> None:
    done = cli.run("prompt", "--template", "k3", "nope.json")
    assert "there is no template 'k3'; there are: k2-instruct, k2-thinking, k2.5" in done.stderr
    done = cli.run("prompt", "--template", "k2.5", "nope.json")
    assert "the request nope.json cannot be read: No such file" in done.stderr
    done = cli.run("tokens", "--tokenizer", "nope.model", stdin=b"")
    assert "the vocabulary nope.model cannot be read: No such file" in done.stderr


@pytest.mark.parametrize("special", [False, True])
def test_a_line_of_ids_is_printed_for_each_line_of_text(cli: Cli, special: bool) -> None:
    options = ["--special"] if special else []
    piped = "".join(f"{json.dumps(text)}\n" for text in TRICKY).encode()
    done = cli.run("tokens", "--tokenizer", str(NANO), *options, "--jsonl", stdin=piped)
    assert done.returncode == 0
    ids = [json.loads(line) for line in done.stdout.splitlines()]
    assert ids == [NANO_TOKENIZER.encode(text, special=special) for text in TRICKY]


def test_plain_text_is_taken_as_it_is(cli: Cli) -> None:
    done = cli.run("tokens", "--tokenizer", str(NANO.parent), stdin=b'"a"\n')
    assert json.loads(done.stdout) == NANO_TOKENIZER.encode('"a"\n')


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"5", "line 2: expected a JSON string, found 5"),
        (b"", "line 2: expected a JSON string, found nothing"),
        (b'"a', 'line 2: expected a JSON string, found "a'),
        (b"\xff", "line 2 is not UTF-8: byte 0xff at offset 0"),
    ],
)
def test_a_line_that_is_no_string_is_refused_by_its_number(
    cli: Cli, line: bytes, said: str
) -> None:
    piped = b'"a"\n' + line + b'\n"b"\n'
    done = cli.run("tokens", "--tokenizer", str(NANO), "--jsonl", stdin=piped)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stdout.splitlines()) == 1, "what came before is told"
