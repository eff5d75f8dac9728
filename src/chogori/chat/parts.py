"""Content is a tuple of parts: text, and what a model may look at beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextPart:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture, by address; `data:` addresses carry it within."""

    url: str


@dataclass(frozen=True, slots=True)
class VideoPart:
    """A film, by address; `data:` addresses carry it within."""

    url: str


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that was uploaded or attached, by the address its holder gave it."""

    url: str
    name: str = ""


Part = TextPart | ImagePart | VideoPart | FilePart
Content = tuple[Part, ...]


def content_of(value: str | Part | Sequence[Part]) -> Content:
    """Text, one part or several, as content; the empty text is no part at all."""
    match value:
        case "":
            return ()
        case str():
            return (TextPart(value),)
        case TextPart() | ImagePart() | VideoPart() | FilePart():
            return (value,)
        case _:
            return tuple(value)


def text_of(content: Content) -> str:
    """The text of `content`; the other parts have none."""
    return "".join(part.text for part in content if isinstance(part, TextPart))
