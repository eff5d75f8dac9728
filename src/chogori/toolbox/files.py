"""Tools that read, write, list and search text files, in the sandbox of the run.

Here is what a model is told of them; the work is done by `sandbox/inside`. What comes back was
made beside programs of unknown intent, so it is checked: whatever they make of it, it is text of a
bounded length, and can mislead nobody but the model that ran them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from chogori.chat import Tool, ToolContext, ToolError, ToolResult, content_of, tool
from chogori.toolbox.places import MAX_CHARS, tell
from chogori.toolbox.sandboxes import Sandboxes

_SECONDS = 60
_TEXT_CHARS = 10_000_000
"""As much text is written in one call."""
_ANSWER_CHARS = 4_000_000
_NOTE_CHARS = 1_000
_NOTES = 10

Where = Annotated[str, "A file: /work/..., /out/..., or relative to /work."]


def file_tools(
    sandboxes: Sandboxes, *, max_chars: int = MAX_CHARS, grep_seconds: int = 10
) -> list[Tool]:
    """`read_file`, `write_file`, `edit_file`, `list_files` and `grep` in the runs' sandboxes."""
    # Two edits of one file must not both begin from what was there before either.
    writing = asyncio.Lock()

    @tool(effect="pure")
    async def read_file(
        path: Where,
        context: ToolContext,
        first_line: Annotated[int, "Where to begin; lines count from 1."] = 1,
        lines: Annotated[int, "How many lines at most."] = 2_000,
    ) -> str:
        """Read a text file. What does not fit is cut, and the result says how to read on."""
        span = {"first_line": first_line, "lines": lines, "max_chars": max_chars}
        return (await _ask(sandboxes, context, {"op": "read_file", "path": path, **span})).text

    @tool(effect="idempotent", touches=_touches)
    async def write_file(
        path: Where,
        text: Annotated[str, "The whole text of the file."],
        context: ToolContext,
    ) -> ToolResult:
        """Write a text file, new or in place of the one that is there. Makes its folders."""
        if len(text) > _TEXT_CHARS:
            raise ToolError(
                f"{len(text):,} characters are more than the {_TEXT_CHARS:,} that write_file "
                "takes; write the file with python"
            )
        async with writing:
            request = {"op": "write_file", "path": path, "text": text}
            return (await _ask(sandboxes, context, request)).result()

    async def edited_before(
        path: str, old: str, new: str, context: ToolContext, all: bool = False
    ) -> ToolResult | None:
        request = {"op": "edited", "path": path, "old": old, "new": new, "key": _key(context)}
        try:
            happened = await _ask(sandboxes, context, request)
        except ToolError:  # doing it now would say what is wrong
            return None
        return happened.result() if happened.text else None

    @tool(effect="reconcilable", touches=_touches, reconcile=edited_before)
    async def edit_file(
        path: Where,
        old: Annotated[str, "The text to replace, exactly as it is in the file."],
        new: Annotated[str, "What to put in its place."],
        context: ToolContext,
        all: Annotated[bool, "Replace every occurrence; otherwise there must be just one."] = False,
    ) -> ToolResult:
        """Replace a piece of a text file. Take in enough of the text around it to be unique."""
        request = {"op": "edit_file", "path": path, "old": old, "new": new, "all": all}
        request["key"] = _key(context)
        async with writing:
            answer = await sandboxes.ask(context, request, _SECONDS)
            if answer is not None:
                return told(answer).result()
            # Whoever was to do it was ended, before or after.
            happened = await edited_before(path, old, new, context)
            return happened or (await _ask(sandboxes, context, request)).result()

    @tool(effect="pure")
    async def list_files(
        context: ToolContext,
        path: Annotated[str, "A folder."] = ".",
        pattern: Annotated[str, "A glob below it: *.csv, src/*.py, **/*.py for any depth."] = "*",
    ) -> str:
        """List the files and folders in a folder, with their sizes."""
        request = {"op": "list_files", "path": path, "pattern": pattern, "max_chars": max_chars}
        return (await _ask(sandboxes, context, request)).text

    @tool(effect="pure")
    async def grep(
        pattern: Annotated[str, "A regular expression, as in Python's re; one line at a time."],
        context: ToolContext,
        path: Annotated[str, "A folder to search with all below it, or one file."] = ".",
        glob: Annotated[str, "Which files: *.py, *.{js,ts}, src/*.c."] = "*",
        ignore_case: Annotated[bool, "Take capital and small letters as one."] = False,
    ) -> str:
        """Search text files for a regular expression. Tells `path:line: text` for each match."""
        how = {"glob": glob, "ignore_case": ignore_case, "seconds": grep_seconds}
        request = {"op": "grep", "path": path, "pattern": pattern, **how}
        found = await _ask(sandboxes, context, request, seconds=_SECONDS + grep_seconds)
        out = sandboxes.reach.policy(context.run_id, context.out).out
        text = await tell(found.text, out, limit=max_chars, name="grep")
        return "\n".join([*([text] if text else []), *(f"[{note}]" for note in found.notes)])

    return [read_file, write_file, edit_file, list_files, grep]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer about files, checked for its shape."""

    text: str
    files: tuple[str, ...]
    notes: tuple[str, ...]

    def result(self) -> ToolResult:
        return ToolResult(content_of(self.text), extra={"files": list(self.files)})


def told(answer: Mapping[str, Any]) -> Told:
    """`answer`, if it is one; what the inside reports as a problem is raised as `ToolError`."""
    problem = answer.get("problem")
    if isinstance(problem, str):
        raise ToolError(_clean(problem, MAX_CHARS))
    text, files, notes = (answer.get(name) for name in ("text", "files", "notes"))
    if not isinstance(text, str) or not _are_strings(files) or not _are_strings(notes):
        raise ToolError(
            "the sandbox gave an answer that cannot be read; a program that this run left running "
            "may be meddling with it"
        )
    return Told(
        _clean(text, _ANSWER_CHARS),
        tuple(_clean(each, _NOTE_CHARS) for each in cast(list[str], files)[:_NOTES]),
        tuple(_clean(each, _NOTE_CHARS) for each in cast(list[str], notes)[:_NOTES]),
    )


async def _ask(
    sandboxes: Sandboxes, context: ToolContext, request: dict[str, Any], *, seconds: int = _SECONDS
) -> Told:
    """The answer to what may be asked twice: whoever was to give it may be ended from within."""
    for _ in range(2):
        answer = await sandboxes.ask(context, request, seconds)
        if answer is not None:
            return told(answer)
    raise ToolError(
        f"{request['op']} was ended twice before it was done; a program that this run left running "
        "may be ending every process of the sandbox"
    )


def _clean(text: str, limit: int) -> str:
    """What is left of `text` as valid text of at most so many characters."""
    return text[:limit].encode("utf-8", "replace").decode()


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in cast(list[Any], value))


def _touches(**arguments: object) -> list[str]:
    """Which file a path means is known only inside, so all are written in the order asked for."""
    return ["files"]


def _key(context: ToolContext) -> str:
    return context.key or f"{context.run_id}/{context.call.id}"
