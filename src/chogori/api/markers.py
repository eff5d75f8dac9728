"""Text in which a model's own markup was left: reasoning tags and Kimi's tool-call markers.

Servers without the right parser pass on what the model wrote:

    <think>why</think>text<|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0
    <|tool_call_argument_begin|>{...}<|tool_call_end|><|tool_calls_section_end|>

`ContentReader` takes content apart; no marker ever comes out of it as text, however the stream is
cut, since anything that may yet become a marker is held back. `ReasoningReader` watches reasoning
for calls written in it (vllm pull 33646, llxprt-code 749): a call that anything follows was a
draft and stays reasoning, word for word; a well-formed call with which the reply ends was meant,
the model only forgot to close its reasoning. Otherwise reasoning is never altered.

`<think>` counts only where the content begins. `</think>` without it ends reasoning only where
the caller says that the prompt may have begun it (then content waits until that is known, or the
reply ends); at the very start it is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from chogori.api.arguments import mended, parsed_object

CALL_BEGIN = "<|tool_call_begin|>"
ARGUMENTS_BEGIN = "<|tool_call_argument_begin|>"
CALL_END = "<|tool_call_end|>"
SECTION_BEGINS = ("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>")
SECTION_ENDS = ("<|tool_calls_section_end|>", "<|tool_call_section_end|>")
TOOL_MARKERS = (*SECTION_BEGINS, *SECTION_ENDS, CALL_BEGIN, ARGUMENTS_BEGIN, CALL_END)
THINK_BEGIN = "<think>"
THINK_ENDS = ("</think>", "</thinking>")

_ID = re.compile(r"(?:functions\.)?(?P<name>[A-Za-z_$][\w.:\-]*?)(?::\d+)?")
_CALL = (
    rf"{re.escape(CALL_BEGIN)}\s*(?P<id>[^<\s]+)\s*{re.escape(ARGUMENTS_BEGIN)}"
    rf"(?P<arguments>(?:(?!{re.escape(CALL_BEGIN)}).)*?){re.escape(CALL_END)}"
)
_A_CALL = re.compile(_CALL, re.DOTALL)
_NOTHING_BUT_CALLS = re.compile(
    rf"(?:{'|'.join(map(re.escape, SECTION_BEGINS))})?\s*"
    rf"(?:{re.sub('[?]P<[a-z]+>', '?:', _CALL)}\s*)+"
    rf"(?:{'|'.join(map(re.escape, SECTION_ENDS))})?\s*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """A tool call that was written out in markers."""

    id: str
    arguments: str

    @property
    def name(self) -> str:
        """The function's name as the id holds it; "" where it holds none."""
        return name_in(self.id)


Piece = Said | Thought | Written


class ContentReader:
    """Takes content apart into text, reasoning and calls."""

    def __init__(self, *, may_begin_thinking: bool = False) -> None:
        self._state = "begin"
        self._waits = may_begin_thinking
        self._waiting: list[str] = []
        self._buffer: str = ""
        self._call: list[str] = []
        """The id and the arguments of the call that is open."""

    def separate(self) -> None:
        """The endpoint sends reasoning apart, so content is text from its first character."""
        self._waits = False
        if self._state == "waiting":
            self._state, self._buffer = "text", "".join(self._waiting) + self._buffer
            self._waiting.clear()

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain now."""
        self._buffer += text
        return self._read()

    def end(self) -> list[Piece]:
        """The rest."""
        self.separate()
        pieces = self._read()
        rest, self._buffer = self._buffer, ""
        match self._state:
            case "thinking":
                pieces.append(Thought(rest))
            case "id" | "arguments":
                pieces += self._end_call(rest)
            case "section":
                pieces += _text_in_section(rest)
            case _:
                pieces.append(Said(rest))
        return [piece for piece in pieces if isinstance(piece, Written) or piece.text]

    def _read(self) -> list[Piece]:
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return [piece for piece in pieces if isinstance(piece, Written) or piece.text]

    def _step(self, pieces: list[Piece]) -> bool:
        """Take off the buffer what is certain; whether a marker was met, so that more may be."""
        if self._state in ("begin", "thought"):
            return self._begin()
        thinks = self._state in ("thinking", "waiting")
        before, marker, after = cut_at(self._buffer, THINK_ENDS if thinks else TOOL_MARKERS)
        if marker:
            self._buffer = after
            self._meet(before, marker, pieces)
            return True
        match self._state:
            case "text":
                pieces.append(Said(before))
            case "thinking":
                pieces.append(Thought(before))
            case "waiting":
                self._waiting.append(before)
            case "arguments":
                self._call.append(before)
            case _:
                return False
        self._buffer = after
        return False

    def _begin(self) -> bool:
        """At the start, and just after reasoning, white space waits for what it stands before."""
        start = self._buffer.lstrip()
        markers = (*THINK_ENDS, THINK_BEGIN) if self._state == "begin" else THINK_ENDS
        if any(len(start) < len(marker) and marker.startswith(start) for marker in markers):
            return False
        found = next((marker for marker in markers if start.startswith(marker)), "")
        if found:
            self._buffer = start.removeprefix(found)
            self._state = "thinking" if found == THINK_BEGIN else "thought"
        elif self._state == "begin":
            self._state = "waiting" if self._waits else "text"
        else:
            self._state, self._buffer = "text", start
        return True

    def _meet(self, before: str, marker: str, pieces: list[Piece]) -> None:
        match self._state:
            case "thinking" | "waiting":
                pieces.append(Thought("".join(self._waiting) + before))
                self._waiting.clear()
                self._state = "thought"
                return
            case "text":
                pieces.append(Said(before))
            case "section":
                pieces += _text_in_section(before)
            case "id" if marker == ARGUMENTS_BEGIN:
                self._call, self._state = [before.strip()], "arguments"
            case "arguments" if marker == ARGUMENTS_BEGIN:
                self._call.append(before)
            case _:
                pieces += self._end_call(before)
                self._state = "section"
        if marker == CALL_BEGIN:
            self._state = "id"
        elif marker in SECTION_BEGINS:
            self._state = "section"
        elif marker in SECTION_ENDS:
            self._state = "text"

    def _end_call(self, rest: str) -> list[Piece]:
        """The open call ends, in good order or because the reply or another call came between."""
        named, self._call = self._call, []
        if named:
            return [Written(named[0], ("".join(named[1:]) + rest).strip())]
        return [Written(rest.strip(), "")] if _ID.fullmatch(rest.strip()) else []


class ReasoningReader:
    """Passes reasoning on, and holds back what may turn out to be a call."""

    def __init__(self) -> None:
        self._buffer: str = ""
        self._is_held = False
        self._checked = 0

    def feed(self, text: str) -> str:
        """The reasoning that is certain to be just that."""
        self._buffer += text
        if not self._is_held:
            before, marker, after = cut_at(self._buffer, (*SECTION_BEGINS, CALL_BEGIN))
            if not marker:
                self._buffer = after
                return before
            self._is_held, self._buffer = True, marker + after
            return before + self.feed("")
        # After an end of section nothing but white space may come, or all of it was a draft.
        start = max(0, self._checked - len(SECTION_ENDS[0]))
        ends = [at + len(end) for end in SECTION_ENDS if (at := self._buffer.find(end, start)) >= 0]
        self._checked = len(self._buffer)
        if not ends:
            return ""
        stop = min(ends)
        if not self._buffer[stop:].strip():
            self._checked = 0
            return ""
        draft, self._buffer = self._buffer[:stop], self._buffer[stop:]
        self._is_held, self._checked = False, 0
        return draft + self.feed("")

    def flush(self) -> str:
        """Something followed: what was held back was a draft."""
        held, self._buffer = self._buffer, ""
        self._is_held, self._checked = False, 0
        return held

    def end(self, offered: Container[str]) -> tuple[str, list[Written]]:
        """Nothing followed: the rest of the reasoning, and the calls it ended with.

        Only calls of tools that were `offered` count.
        """
        held = self.flush()
        if not _NOTHING_BUT_CALLS.fullmatch(held):
            return held, []
        calls = [
            Written(found["id"], found["arguments"].strip()) for found in _A_CALL.finditer(held)
        ]
        texts = [mended(call.arguments) for call in calls]
        if all(call.name in offered for call in calls) and all(map(_is_object, texts)):
            return "", calls
        return held, []


def name_in(id: str) -> str:
    """The function's name in an id of Kimi's form, "functions.NAME:7"; "" where there is none."""
    found = _ID.fullmatch(id)
    return found["name"] if found else ""


def cut_at(text: str, markers: tuple[str, ...]) -> tuple[str, str, str]:
    """What comes before the first of `markers`, the marker, and what comes after it.

    Without one: what cannot belong to a marker, "", and the end that may yet become one.
    """
    at = text.find("<")
    while at >= 0:
        for marker in markers:
            if text.startswith(marker, at):
                return text[:at], marker, text[at + len(marker) :]
        tail = text[at:]
        if any(marker.startswith(tail) for marker in markers):
            return text[:at], "", tail
        at = text.find("<", at + 1)
    return text, "", ""


def _is_object(text: str) -> bool:
    return parsed_object(text) is not None


def _text_in_section(text: str) -> list[Piece]:
    return [Said(text)] if text.strip() else []
