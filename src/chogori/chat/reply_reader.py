"""Takes a reply of a Kimi K2 model apart as it streams: reasoning, text, tool calls.

    <think>why</think>text<|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0
    <|tool_call_argument_begin|>{...}<|tool_call_end|><|tool_calls_section_end|>

However the reply is cut, the message is the same, and no marker of a call comes out as text: what
may yet become one is held back. Markers come as tokens of their own (`mark`), or are read in the
text of engines that write them out (`feed`), the singular `<|tool_call_section_begin|>` too.

- Reasoning ends at `</think>`. A call written before that is a rehearsal: it is never told as a
  call, and stays reasoning without its markers. Only where the reply ends right after well-formed
  calls of tools that are there was `</think>` forgotten, and the calls are meant.
- Text counts up to the first call; what is written after it is left out, for the model writes it
  without having seen any result.
- In arguments that a marker of its own began, text that reads like a marker is only text.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Literal

from chogori.chat.call_reader import CallReader, is_object
from chogori.chat.markers import (
    ARGUMENTS_BEGIN,
    CALL_BEGIN,
    CALL_END,
    SECTION_BEGIN,
    SECTION_END,
    THINK_BEGIN,
    THINK_END,
    Marker,
)
from chogori.chat.messages import (
    MessageBuilder,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)

Told = list[ReasoningDelta | TextDelta | ToolCallDelta]
State = Literal["start", "reasoning", "rehearsal", "text", "section", "id", "arguments"]

_CALLING = {
    "<|tool_call_section_begin|>": SECTION_BEGIN,
    "<|tool_call_section_end|>": SECTION_END,
} | {
    marker.text: marker
    for marker in (SECTION_BEGIN, SECTION_END, CALL_BEGIN, ARGUMENTS_BEGIN, CALL_END)
}
_THOUGHT_ENDS = {THINK_END.text: THINK_END, "</thinking>": THINK_END}
_READ: dict[State, Mapping[str, Marker]] = {
    "start": _CALLING | _THOUGHT_ENDS | {THINK_BEGIN.text: THINK_BEGIN},
    "reasoning": _CALLING | _THOUGHT_ENDS,
    "rehearsal": _CALLING | _THOUGHT_ENDS,
    "text": _CALLING,
    "section": _CALLING,
    "id": _CALLING,
    "arguments": _CALLING,
}
"""Which markers are read in text, and where: `<think>` in the midst of text is what it says."""
_PATTERNS = {state: re.compile("|".join(map(re.escape, read))) for state, read in _READ.items()}

_GAP = " "
"""What stands where a marker is left out: what was before it and what follows must not join, or
they could read as another one."""
_FILLER = "(no content)"
"""What models write before a call when they have nothing to say."""


class ReplyReader:
    """Fed a reply, it gives back deltas."""

    def __init__(
        self,
        *,
        reasons: bool = False,
        tools: Sequence[ToolSpec] = (),
        taken: Container[str] = (),
        calls: int = 0,
    ) -> None:
        """`reasons`: the reply is reasoning from its start, whether `<think>` begins it or not.
        `taken`: the call ids of the conversation, in which there are so many `calls`."""
        self._reasons = reasons
        self._state: State = "start"
        self._buffer = ""
        self._text = _Text()
        self._has_reasoned = False
        self._rehearsal: list[str | Marker] = []
        self._is_rehearsed = False
        """Whether its section has ended, so that nothing but white space may follow."""
        self._new_calls = lambda: CallReader(tools, taken, calls)
        self._calls = self._new_calls()
        self._tool_names = {tool.name for tool in tools}
        self._is_exact = False
        """Whether a marker of its own began the arguments."""
        self._has_strayed = False
        """Whether text was left out."""

    @property
    def has_calls(self) -> bool:
        """Whether a call has been told."""
        return self._calls.count > 0

    def feed(self, text: str) -> Told:
        """More of the reply; what is certain now."""
        self._buffer += text
        return self._read(whole=False)

    def mark(self, marker: Marker) -> Told:
        """A marker that came as a token of its own."""
        told = self._read(whole=True)
        if self._state == "start" and marker != THINK_BEGIN:
            told += self._begin() + self._read(whole=True)
        self._buffer = ""  # white space before <think>
        if marker not in (THINK_BEGIN, THINK_END):
            self._is_exact = marker == ARGUMENTS_BEGIN
        return told + self._meet(marker)

    def end(self, *, cut_short: bool = False) -> Told:
        """The rest; `cut_short`: a limit ended the reply, not the model."""
        told = self._read(whole=True)
        if self._state == "start":
            told += self._begin() + self._read(whole=True)
        if self._state == "rehearsal":
            told += self._end_rehearsal(cut_short=cut_short)
        if self._state in ("id", "arguments"):
            told += self._calls.close(cut_short=cut_short)
        return told + self._text.end()

    def _read(self, *, whole: bool) -> Told:
        """Take off the buffer what is certain: all of it, where nothing can change it any more.

        At the start, white space stays until something else comes.
        """
        told: Told = []
        while self._buffer:
            before, marker, rest = self._cut(whole=whole)
            if self._state == "start":
                if before.strip() or marker not in (None, THINK_BEGIN):
                    told += self._begin()
                    continue
                if marker is None:
                    break
                before = ""
            self._buffer = rest
            if before:
                told += self._take(before)
            if marker is None:
                break
            self._is_exact = False
            told += self._meet(marker)
        return told

    def _cut(self, *, whole: bool) -> tuple[str, Marker | None, str]:
        """The buffer before its first marker, the marker, and what follows; without one, what is
        certain, None, and what may yet become one."""
        text, read = self._buffer, _READ[self._state]
        if self._state == "arguments" and self._is_exact:
            return text, None, ""
        if found := _PATTERNS[self._state].search(text):
            return text[: found.start()], read[found[0]], text[found.end() :]
        at = text.rfind("<")
        if whole or at < 0 or not any(name.startswith(text[at:]) for name in read):
            return text, None, ""
        return text[:at], None, text[at:]

    def _begin(self) -> Told:
        """The reply does not begin with `<think>`."""
        if self._reasons:
            return self._begin_reasoning()
        self._state = "text"
        return []

    def _begin_reasoning(self) -> Told:
        self._state = "reasoning"
        # A message that reasoned nothing differs from one that did not reason.
        told: Told = [] if self._has_reasoned else [ReasoningDelta("")]
        self._has_reasoned = True
        return told

    def _take(self, text: str) -> Told:
        """Text without markers."""
        match self._state:
            case "reasoning":
                return [ReasoningDelta(text)]
            case "rehearsal":
                self._rehearsal.append(text)
                if text.strip() and self._is_rehearsed:
                    return self._resume_reasoning()
            case "text":
                return self._text.add(text)
            case "id":
                self._calls.add_to_id(text)
            case "arguments":
                return [*self._calls.argue(text)]
            case "start" | "section":
                self._has_strayed = self._has_strayed or bool(text.strip())
        return []

    def _meet(self, marker: Marker) -> Told:
        match self._state:
            case "reasoning" | "rehearsal":
                return self._meet_in_reasoning(marker)
            case "start" | "text" if marker == THINK_BEGIN:
                return self._begin_reasoning()
            case _ if marker in (THINK_BEGIN, THINK_END):
                return []
            case "text" if marker not in (SECTION_BEGIN, CALL_BEGIN):
                return self._text.add(_GAP)
            case _:
                return self._meet_in_calls(marker)

    def _meet_in_reasoning(self, marker: Marker) -> Told:
        if marker == THINK_END:
            told = self._resume_reasoning()
            self._state = "text"
            self._text.follows_reasoning = True
            return told
        if self._rehearsal or marker in (SECTION_BEGIN, CALL_BEGIN):
            self._state = "rehearsal"
            self._rehearsal.append(marker)
            self._is_rehearsed = marker == SECTION_END
            return []
        return [ReasoningDelta(_GAP)]

    def _meet_in_calls(self, marker: Marker) -> Told:
        told: Told = [*self._text.end()]
        if marker == ARGUMENTS_BEGIN and self._state == "arguments":
            return [*self._calls.argue(_GAP)]
        if marker == ARGUMENTS_BEGIN and self._state == "id":
            self._state = "arguments"
            return [*self._calls.begin_arguments()]
        if self._state in ("id", "arguments"):
            told += self._calls.close()
        self._state = "section"
        if marker == CALL_BEGIN:
            self._state = "id"
            self._calls.open()
        return told

    def _resume_reasoning(self) -> Told:
        """What was rehearsed is reasoning, without its markers."""
        text = "".join(_GAP if isinstance(piece, Marker) else piece for piece in self._rehearsal)
        self._rehearsal.clear()
        self._state = "reasoning"
        return [ReasoningDelta(text)] if text else []

    def _end_rehearsal(self, *, cut_short: bool) -> Told:
        """The reply ends with calls that were written as reasoning."""
        reader = ReplyReader()
        reader._calls = self._new_calls()
        told: Told = []
        for piece in self._rehearsal:
            told += reader.feed(piece) if isinstance(piece, str) else reader.mark(piece)
        told += reader.end()
        message = MessageBuilder()
        for delta in told:
            message.add(delta)
        calls = message.message.tool_calls
        is_meant = not (cut_short or reader._has_strayed) and all(
            call.name in self._tool_names and is_object(call.arguments) for call in calls
        )
        if not (calls and is_meant):
            return self._resume_reasoning()
        self._calls = reader._calls
        self._state = "section"
        return told


class _Text:
    """The text of a reply. It waits while it may be nothing but white space or a filler."""

    def __init__(self) -> None:
        self.follows_reasoning = False
        self._held = ""
        self._has_begun = False

    def add(self, text: str) -> Told:
        if self._has_begun:
            return [TextDelta(text)]
        self._held += text
        return [] if _FILLER.startswith(self._held.strip()) else self._say()

    def end(self) -> Told:
        return [] if self._held.strip() in ("", _FILLER) else self._say()

    def _say(self) -> Told:
        text, self._held = self._held, ""
        self._has_begun = True
        return [TextDelta(text.lstrip() if self.follows_reasoning else text)]
