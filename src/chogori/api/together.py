"""Chunks that arrived together are told together.

A fast server sends dozens of chunks in one packet, each with a few letters. Whatever is done for a
chunk (repair, deltas, a view that draws) is then done once for them all. `repair` makes the same
message of a stream however it is cut, so joining changes nothing.
"""

# This is the hottest loop of the client: it asks for exact types, and tells the type checker less.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Chunk = Mapping[str, Any] | None
_TEXTS = frozenset({"content", "reasoning_content", "reasoning"})
_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs"})
_NOTHING = ("", "")


def together(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """`chunks`, neighbours joined that only add to the same text, or to the arguments of the same
    call."""
    held: list[str] = []
    first: Chunk = None
    place: str | int = ""
    for chunk in chunks:
        where, text = _only_text(chunk)
        if held and where != place:
            yield _joined(first, place, held)
            held = []
        if where == "":
            yield chunk
            continue
        if not held:
            first, place = chunk, where
        held.append(text)
    if held:
        yield _joined(first, place, held)


def _joined(first: Chunk, place: str | int, texts: list[str]) -> Chunk:
    if len(texts) == 1 or first is None:
        return first
    text = "".join(texts)
    if isinstance(place, int):
        delta = {"tool_calls": [{"index": place, "function": {"arguments": text}}]}
    else:
        delta = {place: text}
    return {**first, "choices": [{"index": 0, "delta": delta}]}


def _only_text(chunk: Chunk) -> tuple[str | int, str]:
    """Where a chunk that brings nothing else adds text, the name of a field or the index of a call,
    and the text; ("", "") for all others."""
    if chunk is None or chunk.get("usage"):
        return _NOTHING
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return _NOTHING
    choice = choices[0]
    if choice.get("index") or choice.get("finish_reason") or choice.get("logprobs"):
        return _NOTHING
    delta = choice.get("delta")
    if type(delta) is not dict or len(delta) != 1 or not _CHOICE.issuperset(choice):
        return _NOTHING
    [(name, value)] = delta.items()
    if name in _TEXTS and type(value) is str:
        return name, value
    return _only_arguments(value) if name == "tool_calls" else _NOTHING


def _only_arguments(calls: Any) -> tuple[str | int, str]:
    if type(calls) is not list or len(calls) != 1 or type(calls[0]) is not dict:
        return _NOTHING
    call = calls[0]
    function, index = call.get("function"), call.get("index")
    if len(call) != 2 or type(index) is not int or type(function) is not dict:
        return _NOTHING
    text = function.get("arguments")
    return (index, text) if len(function) == 1 and type(text) is str else _NOTHING
