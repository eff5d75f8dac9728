"""The parts of the chat page, each by itself, in real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from apps.browser import chromium
from chogori.apps.pages import WEB, page_routes
from chogori.chat import ScriptedModel
from served import served

STREAM = (
    'data: {"a":"ä€😀"}\n\n: keep-alive\n\ndata:one\r\ndata: two\r\n\r\n'
    "event: x\rdata: z\r\rdata: [DONE]\n\n"
)
EVENTS = ['{"a":"ä€😀"}', "one\ntwo", "z", "[DONE]"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with (
        served(ScriptedModel(["Hello."]), tmp_path_factory.mktemp("parts")) as server,
        chromium(tmp_path_factory.mktemp("profile")) as context,
    ):
        page = context.new_page()
        page.goto(f"{server.url}/docs")
        yield page


def test_a_stream_cut_anywhere_gives_the_same_events(page: Any) -> None:
    told = page.evaluate(
        """async ([text, pieces]) => {
          const { readEvents } = await import("/page/sse.js");
          const bytes = new TextEncoder().encode(text);
          const read = async (...cuts) => {
            const body = new ReadableStream({
              start(controller) {
                let from = 0;
                for (const cut of [...cuts, bytes.length]) {
                  controller.enqueue(bytes.slice(from, cut));
                  from = cut;
                }
                controller.close();
              },
            });
            const found = [];
            for await (const event of readEvents(body)) found.push(event);
            return JSON.stringify(found);
          };
          const all = new Set();
          for (let cut = 0; cut <= bytes.length; cut += 1) all.add(await read(cut));
          all.add(await read(...Array.from({ length: bytes.length - 1 }, (_, at) => at + 1)));
          return [...all];
        }""",
        [STREAM, 0],
    )
    assert told == ["[" + ",".join(map(_json, EVENTS)) + "]"]


def _json(text: str) -> str:
    return '"' + text.replace('"', '\\"').replace("\n", "\\n") + '"'


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17 * 23", 391),
        ("-2 ^ 2", -4),
        ("2 ^ 3 ^ 2", 512),
        ("(3 + 4) * 2 - 10 / 4", 11.5),
        (".5e1 + 1", 6),
    ],
)
def test_the_page_does_sums(page: Any, expression: str, value: float) -> None:
    assert page.evaluate(_CALCULATE, expression) == value


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "the expression ends too early"),
        ("(1", "a parenthesis is not closed"),
        ("1 2", "2 is not expected here"),
        ("alert(1)", "a is no number"),
    ],
)
def test_what_is_no_sum_is_told_to_the_model(page: Any, expression: str, problem: str) -> None:
    assert page.evaluate(_CALCULATE, expression) == f"error: {problem}"


_CALCULATE = """async (expression) => {
  const { run } = await import("/page/tools.js");
  const said = run({ name: "calculate", arguments: JSON.stringify({ expression }) }, true);
  return said.startsWith("error") ? said : Number(said);
}"""


def test_text_that_grows_is_drawn_as_it_would_be_whole(page: Any) -> None:
    text = (
        "# A\n\n- one\n  - two\n\n```js\nlet x;\n\nx = 1;\n```\n"
        "then *some* text\nand\n1. more\n\n> q"
    )
    same = page.evaluate(
        """async (text) => {
          const { showMarkdown } = await import("/page/markdown.js");
          const growing = document.createElement("div");
          for (let end = 1; end <= text.length; end += 1) {
            showMarkdown(growing, text.slice(0, end));
            const whole = document.createElement("div");
            showMarkdown(whole, text.slice(0, end));
            if (growing.outerHTML !== whole.outerHTML) return text.slice(0, end);
          }
          const told = (selector) => growing.querySelector(selector).textContent;
          return told("ul ul li") + told("pre");
        }""",
        text,
    )
    assert same == "twolet x;\n\nx = 1;"


def test_a_file_comes_with_a_policy_that_forbids_all_others() -> None:
    client = TestClient(Starlette(routes=page_routes()))
    files = [f"/page/{one.name}" for one in WEB.iterdir() if one.suffix != ".html"]
    for path in ("/", "/docs", *files):
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", sorted(WEB.glob("*.html")), ids=lambda path: path.name)
def test_a_page_names_no_other_host_and_holds_no_script(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "://" not in text.replace("http://127.0.0.1:8000", "")
    assert "<script>" not in text
    assert "style=" not in text
