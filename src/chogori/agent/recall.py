"""The tool results of a run, and the tool by which a model reads them again.

Results alone, never what the model itself wrote: what a tool returns is evidence for claims, and
nobody bears out their own words. Texts are not copied; a record holds the run's own messages.

A query is words, not a regular expression: one that a model writes may never come to an end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from chogori.chat import Content, Message, TextPart, Tool, ToolError, content_of, tool

LINES = 200
LINE_CHARS = 2_000
"""A longer line counts as several, so that any text can be read in pages."""
PAGE_CHARS = 20_000
EXCERPT_CHARS = 300
NAMED = 20
"""An error names as many call ids."""
_LINE = re.compile(rf"[^\n]{{0,{LINE_CHARS}}}\n|[^\n]{{1,{LINE_CHARS}}}")


class Record:
    """The tool results of one run, in order, each under a key: its call id, or `ID#2` for the
    second of an id that came again (a model numbers anew when it no longer sees its calls)."""

    def __init__(self) -> None:
        self._results: dict[str, Message] = {}
        self._again: dict[str, list[str]] = {}
        """The later keys of an id."""
        self.tool: Tool = tool(effect="pure")(self.recall)

    def copy(self) -> Record:
        """Another record of the same results."""
        twin = Record()
        twin._results = dict(self._results)
        twin._again = {id: list(keys) for id, keys in self._again.items()}
        return twin

    def add(self, result: Message) -> str:
        """Keep `result`; the key that `recall` knows it by."""
        id = key = result.tool_call_id or "call"
        number = len(self._again.get(id, ())) + 1
        while key in self._results:
            number += 1
            key = f"{id}#{number}"
        if key != id:
            self._again.setdefault(id, []).append(key)
        self._results[key] = result
        return key

    async def recall(
        self,
        call_id: Annotated[str | None, "Read the result of this call."] = None,
        query: Annotated[str | None, "Find the lines that hold all of these words."] = None,
        first_line: Annotated[int, "The first line to show."] = 1,
        lines: Annotated[int, "How many lines to show."] = LINES,
    ) -> Content:
        """Read again what tools returned earlier, also what is hidden now.

        With call_id: that result, in pages. With query: the lines of all results (with both: of
        that one) that hold every word, each with its call id. With neither: a list of all results.
        """
        if call_id and call_id not in self._results:
            raise ToolError(self._unknown(call_id))
        words = (query or "").casefold().split()
        if call_id and not words:
            return self._read(call_id, first_line, lines)
        told = self._found(words, call_id) if words else self._listed()
        return content_of(_page("\n".join(told), first_line, lines))

    def _read(self, key: str, first_line: int, lines: int) -> Content:
        result = self._results[key]
        again = ", ".join(self._again.get(key, ()))
        page = _page(result.text, first_line, lines, f"the id came again: {again}" if again else "")
        rest = [part for part in result.content if not isinstance(part, TextPart)]
        return (*content_of(page), *(rest if first_line == 1 else ()))

    def _found(self, words: Sequence[str], key: str | None) -> list[str]:
        results = {key: self._results[key]} if key else self._others()
        found = [
            f"{_named(key, result)}, line {number}: {_excerpt(line, words)}"
            for key, result in results.items()
            if _holds(result.text, words)
            for number, line in enumerate(_LINE.findall(result.text), 1)
            if _holds(line, words)
        ]
        return found or [
            f"no line of the results ({len(results)} were searched) holds all of: "
            f"{' '.join(words)}. Fewer words find more"
        ]

    def _listed(self) -> list[str]:
        listed = [
            f"{_named(key, result)}: {size(result)}" for key, result in self._others().items()
        ]
        return listed or ["no tool has returned anything yet"]

    def _others(self) -> dict[str, Message]:
        """All but what `recall` itself returned, which is a copy of something else."""
        own = self.tool.spec.name
        return {key: result for key, result in self._results.items() if result.name != own}

    def _unknown(self, call_id: str) -> str:
        known = list(self._results)
        latest = f"there are {len(known)}, the latest of: {', '.join(known[-NAMED:])}"
        return (
            f"there is no result of call {call_id!r}; "
            f"{latest if known else 'no tool has returned anything yet'}. "
            "Without arguments recall lists them all"
        )


def size(result: Message) -> str:
    """How much a result is, in words."""
    others = sum(not isinstance(part, TextPart) for part in result.content)
    text = _many(len(result.text), "character")
    return f"{text} and {_many(others, 'other part')}" if others else text


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _named(key: str, result: Message) -> str:
    return f"{key} ({result.name})" if result.name else key


def _page(text: str, first: int, count: int, note: str = "") -> str:
    """Lines of `text`, character for character; after them, in brackets, which lines they are,
    unless they are all."""
    lines: list[str] = _LINE.findall(text)
    if not 1 <= first <= max(1, len(lines)):
        raise ToolError(f"there is no line {first}; there are {len(lines)}, counted from 1")
    last, length = first - 1, 0
    while last < min(len(lines), first - 1 + max(1, count)):
        length += len(lines[last])
        if length > PAGE_CHARS:
            break
        last += 1
    notes = [note] if note else []
    if first > 1 or last < len(lines):
        more = f"first_line={last + 1} goes on" if last < len(lines) else "the end"
        notes.insert(0, f"lines {first} to {last} of {len(lines)}; {more}")
    page = "".join(lines[first - 1 : last]) or "(no text)"
    return f"{page}\n[{'; '.join(notes)}]" if notes else page


def _holds(text: str, words: Sequence[str]) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)


def _excerpt(line: str, words: Sequence[str]) -> str:
    if len(line) <= EXCERPT_CHARS:
        return line.strip()
    start = max(0, line.casefold().find(words[0]) - EXCERPT_CHARS // 3)
    return f"...{line[start : start + EXCERPT_CHARS].strip()}..."
