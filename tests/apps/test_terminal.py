"""What a run looks like. The golden text is read by people: change it with care."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from chogori.apps.terminal import Terminal
from chogori.apps.words import arguments_in_short, clean, first_sentence, said_in_short
from chogori.chat import (
    Answer,
    AttemptFinished,
    AttemptStarted,
    Claim,
    Compacted,
    Conversation,
    Event,
    Landing,
    LegStarted,
    ModelLoaded,
    Paused,
    ReasoningDelta,
    Reminded,
    ReplyFinished,
    ReplyRestarted,
    Resumed,
    RunStarted,
    Steered,
    StepStarted,
    TextDelta,
    TextPart,
    ToolCall,
    ToolFinished,
    ToolStarted,
    Usage,
    Waiting,
    assistant,
    content_of,
)

SUM = ToolCall("c1", "python", '{"code": "total = sum(range(10))\\nprint(total)"}')
GREP = ToolCall("c2", "grep", '{"pattern": "total", "path": "."}')
RUN: list[Event] = [
    RunStarted("20261121-120000-abcdef", (TextPart("What is the sum?"),), "scripted"),
    ModelLoaded("scripted", 1.25),
    StepStarted(1),
    ReasoningDelta("I should add "),
    ReasoningDelta("them up. A program does it best."),
    ReplyRestarted("the stream was cut", 1),
    ReasoningDelta("I should add them up. A program does it best."),
    TextDelta("Let me compute this."),
    ReplyFinished(
        assistant("Let me compute this.", calls=[SUM, GREP]), Usage(100, 50), 3.0, 1.0, 25.0
    ),
    ToolStarted(SUM, "once"),
    ToolStarted(GREP, "pure"),
    ToolFinished(GREP, content_of("no match in 3 files"), True, 0.034, "pure"),
    ToolFinished(SUM, content_of("45\nand more\nand more"), False, 0.5, "pure"),
    Reminded("repetition", "You have made this call\nbefore."),
    StepStarted(2),
    TextDelta("It is 45, "),
    TextDelta("or 46."),
    ReplyFinished(assistant("It is 45, or 46."), Usage(200, 10), 1.0, 0.5, 20.0),
    AttemptStarted(2, "Solve it in plain Python."),
    ReasoningDelta("Once more."),
    ToolStarted(SUM, "once"),
    ToolFinished(SUM, content_of("45"), False, 0.5, "pure"),
    AttemptFinished(2, "45", True),
    Landing("steps"),
    Answer(
        "It is 45, or 46.",
        "20261121-120000-abcdef",
        "budget",
        Conversation(),
        (
            Claim("45", "supported", "c1"),
            Claim("46", "unsupported"),
            Claim("independent solutions came to: 44", "contradicted"),
        ),
        Usage(1_300, 160),
        2,
        4.21,
        0.00123,
        "steps",
    ),
]
GOLDEN = """\
What is the sum?
loaded scripted in 1.2 s
the reply was cut (the stream was cut); asking again (1)
│ I should add them up. (+5 words)
│ Let me compute this.
▸ python  total = sum(range(10)) (+1 line)
▸ grep  pattern="total", path="."
✗ grep  0.03 s  no match in 3 files
✓ python  0.50 s  45 (+2 lines)
↺ repetition: You have made this call before.
│ It is 45, or 46.
≟ checked by solution 2: Solve it in plain Python.
▸ python  total = sum(range(10)) (+1 line)
✓ python  0.50 s  45
≟ agrees: 45
stopping here (steps); asking for the best answer

It is 45, or 46.
! independent solutions came to: 44
? nothing that was seen bears out: 46
! stopped by the budget: steps

2 steps · tokens: 1,300 in, 160 out, 24.0/s · 4.2 s · $0.0012 · run 20261121-120000-abcdef
"""


LATER: list[Event] = [
    LegStarted((TextPart("And\nthe mean?"),)),
    Resumed("20261121-120000-abcdef", 3, 17),
    Steered("In German,\nplease."),
    Compacted("hide_tool_results", 12, 90_000, 8_000),
    ToolFinished(SUM, content_of("nobody knows"), True, 0.0, "once", {"unknown": True}),
    LegStarted(approve={"c1": True}),
    Paused(),
    Waiting("person", "20261121-120000-abcdef", (), Conversation()),
]
GOLDEN_LATER = """\
And
the mean?
going on with step 3
» In German, please.
⇣ 12 messages are hidden from the model: 90,000 to 8,000 tokens
? python  0.00 s  nobody knows
"""


def drawn(events: Iterable[Event], *, terminal: bool = False, reasoning: bool = False) -> str:
    file, ticks = io.StringIO(), iter(range(10_000))
    console = Console(file=file, width=80, height=24, force_terminal=terminal, legacy_windows=False)
    view = Terminal(console, reasoning=reasoning, question=True, clock=lambda: next(ticks))
    for number, event in enumerate(events):
        view.show(event, number)
    view.stopped()
    return file.getvalue()


def test_the_golden_run() -> None:
    plain = drawn(RUN)
    assert plain == GOLDEN
    assert "\x1b" not in plain


def test_what_happens_to_a_run_that_goes_on() -> None:
    assert drawn(LATER) == GOLDEN_LATER
    assert on_screen(drawn(LATER, terminal=True)) == GOLDEN_LATER.splitlines()


def test_reasoning_is_shown_whole_when_it_is_asked_for() -> None:
    events = [ReasoningDelta("One. Two.\nThree."), TextDelta("x")]
    assert "│ One. Two.\n│ Three.\n" in drawn(events, reasoning=True)
    assert drawn(events) == "│ One. (+2 words)\n"


def test_on_a_terminal_the_same_lines_stay_when_what_is_live_is_gone() -> None:
    screen = on_screen(drawn(RUN, terminal=True))
    assert screen == GOLDEN.splitlines()


def on_screen(written: str) -> list[str]:
    """A terminal that knows as much as is written here."""
    import re

    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\x1b\][^\x1b]*\x1b\\|[^\x1b]", written):
        if token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif re.fullmatch(r"\x1b\[\d*A", token):
            row -= int(token[2:-1] or 1)
        elif token == "\x1b[2K":
            lines[row] = ""
        elif len(token) == 1:
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
            column += 1
        else:
            assert token[-1] in "mhl", f"an unexpected control: {token!r}"
    return [line.rstrip() for line in lines[:-1]]


def test_a_live_line_is_never_wider_than_the_terminal() -> None:
    written = drawn([ReasoningDelta("好" * 200)], terminal=True)
    live = written.split("\x1b[0m")[0].split("\x1b[2m")[1]
    assert live == "…" + "好" * 38


def test_nothing_that_a_model_or_a_tool_wrote_steers_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b2J\x07\r\b\u202egood"
    call = ToolCall("c", evil, f'{{"a": "{evil}"}}')
    written = drawn(
        [
            ReasoningDelta(evil),
            TextDelta(evil),
            ReplyFinished(assistant(evil, calls=[call]), Usage(), 1, 1, 1),
            ToolStarted(call, "once"),
            ToolFinished(call, content_of(evil), False, 0.1, "once"),
            Waiting("approval", "r", (call,), Conversation()),
            Reminded(evil, evil),
            Steered(evil),
            LegStarted((TextPart(evil),)),
            Answer(evil, "r", "answer", Conversation(), (Claim(evil, "unsupported"),)),
        ]
    )
    assert not set(written) & set("\x1b\x07\x9b\r\b\u202e")
    assert written.count("good") >= 7


def test_a_stopped_turn_leaves_what_was_thought() -> None:
    assert drawn([ReasoningDelta("I was about"), TextDelta("to")]) == "│ I was about\n"
    assert drawn([ReasoningDelta("Cut here")]) == "│ Cut here\n"


def test_a_call_that_waits_is_shown_whole_but_not_without_end() -> None:
    call = ToolCall("c", "send", "x" * 10_000)
    shown = drawn([Waiting("approval", "r", (call,), Conversation())])
    assert "… (6,000 more characters)" in shown


@given(st.text())
def test_clean_text_holds_no_control_characters(text: str) -> None:
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in clean(text))
    clean(text).encode()


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Only one", "Only one"),
        ("It is 3.14, I think. Or not.", "It is 3.14, I think. (+2 words)"),
        ("好的。然后继续。", "好的。"),
        ("Line one\nline two", "Line one (+2 words)"),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, short: str) -> None:
    assert first_sentence(text) == short


def test_arguments_and_results_in_short() -> None:
    assert arguments_in_short("{broken") == "{broken"
    assert arguments_in_short("") == ""
    assert arguments_in_short("[1]") == "[1]"
    assert arguments_in_short('{"a": 1, "b": [2]}') == "a=1, b=[2]"
    assert said_in_short("a\nb\n") == "a (+1 line)"
    assert len(said_in_short("x" * 9_999)) < 400
