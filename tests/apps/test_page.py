"""The chat page, in real Chromium, before a real server whose model is a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.browser import chromium
from chogori.chat import ScriptedModel, ToolCall, assistant
from chogori.chat.scripted import Reply
from served import Served, served

GOLDEN = Path(__file__).parent.parent / "golden" / "page.aria.yaml"
TROUBLE = "<img src=x onerror=alert(1)> **bold** <script>alert(2)</script> [x](javascript:alert(3))"
MOUNTAINS = "\n".join(
    (
        "## The highest",
        "",
        "1. **Everest**",
        "2. `K2`",
        "",
        "| Peak | Metres |",
        "|---|---|",
        "| K2 | 8611 |",
        "",
        "```python",
        "print(8848 - 8611)",
        "```",
    )
)
CALLS = (
    ToolCall("functions.calculate:0", "calculate", '{"expression": "17 * 23"}'),
    ToolCall("functions.look_up:1", "look_up", '{"what": "K2"}'),
)
LONG = " ".join(f"word{number}" for number in range(100))
SCRIPT = [
    Reply(message=assistant(MOUNTAINS, reasoning="I recall them."), match="mountains"),
    Reply(message=assistant(reasoning="I compute.", calls=CALLS), match="^17"),
    Reply(message=assistant("It is 391."), match="^8611 m$"),
    Reply(message=assistant(TROUBLE), match="trouble"),
    Reply(message=assistant(LONG, reasoning="At length."), match="slowly", delta_seconds=0.05),
    Reply(message=assistant("Never."), match="fail", fault="fail"),
    Reply(message=assistant(LONG), match="cut", fault="cut"),
]


@pytest.fixture(scope="module")
def model() -> ScriptedModel:
    return ScriptedModel(SCRIPT)


@pytest.fixture(scope="module")
def server(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = {"kimi-k2-thinking": model, "other": model}
    with served(models, tmp_path_factory.mktemp("page")) as one:
        yield one


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as context:
        yield context


class Tab:
    """A tab that shows the chat page, and all that went wrong in it."""

    def __init__(self, browser: Any, server: Served) -> None:
        self.server = server
        self.page = browser.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        # That a request was refused is told by the browser too; the page shows it.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def open(self, *, key: bool = True) -> Tab:
        self.page.goto(self.server.url)
        if key:
            self.page.fill("#key", self.server.key)
            self.page.keyboard.press("Enter")
            self.page.wait_for_selector("#model:enabled")
        return self

    def ask(self, question: str) -> None:
        self.page.fill("#question", question)
        self.page.keyboard.press("Enter")

    def answered(self, replies: int = 1) -> None:
        """Wait until so many replies are whole."""
        self.page.locator(".reply .spent").nth(replies - 1).wait_for()
        self.page.wait_for_selector("#send:visible")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).last.inner_text()


@pytest.fixture
def tab(browser: Any, server: Served) -> Iterator[Tab]:
    one = Tab(browser, server)
    yield one
    strangers = {url for url in one.asked if not url.startswith(server.url)}
    one.page.close()
    assert one.wrong == []
    assert strangers == set(), "the page asks its own server and nobody else"


def test_a_key_is_asked_for_and_stays_in_the_tab(tab: Tab, browser: Any) -> None:
    tab.open(key=False)
    tab.page.fill("#key", "sk-chg-wrong")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("API key").first.wait_for()
    tab.page.fill("#key", tab.server.key)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#model:enabled")
    names = tab.page.locator("#model option").all_inner_texts()
    assert sorted(names) == ["kimi-k2-thinking", "other"]
    assert tab.page.evaluate("JSON.stringify({...localStorage})") == "{}"
    assert browser.cookies() == []
    assert tab.server.key in tab.page.evaluate("JSON.stringify({...sessionStorage})")


def test_a_reply_is_drawn_with_its_reasoning_folded_and_its_cost(tab: Tab) -> None:
    tab.open().ask("Which mountains are the highest?")
    tab.answered()
    assert tab.page.locator(".reasoning").get_attribute("open") is None
    assert not tab.page.get_by_text("I recall them.").is_visible()
    tab.page.click(".reasoning summary")
    assert tab.page.get_by_text("I recall them.").is_visible()
    assert tab.page.locator(".text strong").inner_text() == "Everest"
    assert tab.page.locator(".text td").all_inner_texts() == ["K2", "8611"]
    assert tab.page.locator(".text pre").inner_text() == "print(8848 - 8611)"
    spent = tab.text(".spent")
    assert "kimi-k2-thinking · 5 tokens in" in spent
    assert "reasoning" in spent
    assert "$0.0000" in spent, "a price is known of this model"


def test_the_page_can_be_read_without_seeing_it(tab: Tab) -> None:
    tab.open().ask("Which mountains are the highest?")
    tab.answered()
    tree = tab.page.locator("body").aria_snapshot()
    lines = [line for line in tree.splitlines() if "tokens" not in line]
    assert "\n".join(lines) + "\n" == GOLDEN.read_text(encoding="utf-8")


def test_calls_are_cards_and_their_results_go_back_to_the_model(
    tab: Tab, model: ScriptedModel
) -> None:
    tab.open()
    tab.page.click("#settings")
    tab.page.check("#page-tools")
    look_up = {
        "type": "function",
        "function": {"name": "look_up", "parameters": {"type": "object"}},
    }
    tab.page.fill("#own-tools", json.dumps([look_up]))
    tab.page.click("#settings-dialog button[type=submit]")
    tab.ask("17 times 23?")
    card = tab.page.locator(".card").last
    card.get_by_text("waits for its result").wait_for()
    first = tab.page.locator(".card").first
    assert first.locator("h3").inner_text() == "calculate"
    assert first.locator(".result pre").inner_text() == "391", "the page did this one itself"
    tab.page.reload()
    card.get_by_text("waits for its result").wait_for()
    card.locator("textarea").fill("8611 m")
    card.locator("form button").click()
    tab.answered(2)
    assert tab.text(".text") == "It is 391."
    asked = model.asked[-1]
    assert {tool.name for tool in asked.tools} == {"clock", "calculate", "look_up"}
    sent = [(message.role, message.text) for message in asked.conversation]
    assert sent[-2:] == [("tool", "391"), ("tool", "8611 m")]
    assert asked.conversation[1].reasoning == "I compute."


def test_a_reload_in_the_middle_keeps_what_came_and_goes_on(tab: Tab, model: ScriptedModel) -> None:
    tab.open().ask("Count slowly.")
    tab.page.get_by_text("word3", exact=False).wait_for()
    tab.page.reload()
    tab.page.get_by_text("What had come is kept").wait_for()
    kept = tab.text(".text")
    assert kept.startswith("word0 word1 word2 word3")
    assert tab.page.locator(".reasoning").count() == 1
    tab.page.click(".go-on")
    tab.page.wait_for_selector(".writing")
    tab.page.click("#stop")
    tab.page.get_by_text("Stopped.").wait_for()
    prefill = model.asked[-1].options.prefill
    assert prefill is not None
    assert prefill.strip() == kept.strip()
    assert tab.text(".text").startswith(kept.strip())
    assert len(model.asked[-1].conversation) == 1, "the model was asked to go on, not again"


def test_stop_frees_the_model(tab: Tab) -> None:
    tab.open().ask("Count slowly.")
    tab.page.get_by_text("word1", exact=False).wait_for()
    tab.page.keyboard.press("Escape")
    tab.page.get_by_text("Stopped.").wait_for()
    newest = "select outcome, completion from usage order by id desc limit 1"
    for _ in range(50):
        if tab.server.query(newest)[0][0] == "cut":
            break
        tab.page.wait_for_timeout(100)
    [(outcome, completion)] = tab.server.query(newest)
    assert outcome == "cut"
    assert 0 < completion < 100, "what was written by then is billed"


@pytest.mark.parametrize("question", ["fail", "cut"])
def test_what_goes_wrong_is_told_in_words_and_can_be_tried_again(tab: Tab, question: str) -> None:
    tab.open().ask(question)
    tab.page.wait_for_selector(".failed")
    assert len(tab.text(".failed")) > 20
    assert "undefined" not in tab.text(".failed")
    assert tab.page.locator(".again").is_visible()
    tab.page.click(".again")
    tab.page.wait_for_selector(".failed")


def test_nothing_a_model_writes_is_read_as_html(tab: Tab) -> None:
    tab.open().ask("trouble")
    tab.answered()
    assert "<img src=x onerror=alert(1)>" in tab.text(".text")
    assert tab.page.locator(".text img, .text script, .text a").count() == 0
    assert tab.page.locator(".text strong").inner_text() == "bold"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(tab: Tab, theme: str) -> None:
    tab.open().ask("Which mountains are the highest?")
    tab.answered()
    tab.page.click("#settings")
    tab.page.check(f"[name=theme][value={theme}]")
    tab.page.click("#settings-dialog button[type=submit]")
    faint = tab.page.evaluate(FAINT)
    assert faint == [], "4.5 to 1 is what WCAG asks of text"


FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => rgb(colour).slice(0, 3)
    .map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (rgb(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const says = (one) => [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.checkVisibility() && says(one))
    .map((one) => {
      const both = [light(getComputedStyle(one).color), light(ground(one))];
      const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
      return [one.textContent.trim().slice(0, 30), ratio];
    })
    .filter(([, ratio]) => ratio < 4.5);
}"""
