"""The messages of a request, as ours. `developer` is `system`; content is text or parts; a picture
is an object or a bare address; arguments are text or the object itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from chogori.api.fields import dump
from chogori.api.server.reading import Json, flag, items, needed, text, wrong
from chogori.api.server.refusals import invalid, missing
from chogori.chat import (
    Content,
    FilePart,
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCall,
    VideoPart,
    content_of,
)

MOST_MESSAGES = 10_000
MOST_PARTS = 1_000
MOST_CALLS = 1_000
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_FOLDED = ("developer",)
"""Roles that an upstream may not know."""


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of a request."""

    messages: tuple[Message, ...]
    prefill: str | None = None
    """The text of a last message that is only the beginning of the reply."""
    pictures: int = 0
    films: int = 0
    picture_bytes: int = 0
    """What their addresses take up of the body."""
    is_plain: bool = True
    """Whether they can be handed on as they came."""


def read_messages(body: Json) -> Messages:
    """The messages of a body."""
    entries = needed(items(body, "messages", MOST_MESSAGES), "messages")
    if not entries:
        raise invalid("messages", "messages must hold at least one message.")
    reader = _Reader()
    messages = [reader.read(entry, f"messages[{at}]") for at, entry in enumerate(entries)]
    last: Json = entries[-1]
    prefill = None
    if flag(last, "partial", f"messages[{len(entries) - 1}]."):
        prefill = _prefill(messages.pop(), len(entries) - 1)
    return Messages(
        tuple(messages),
        prefill,
        reader.pictures,
        reader.films,
        reader.picture_bytes,
        reader.is_plain and prefill is None,
    )


def _prefill(message: Message, at: int) -> str:
    if message.role != "assistant" or message.tool_calls:
        raise invalid(
            f"messages[{at}].partial", "Only an assistant's text can be partial (partial mode)."
        )
    return message.text


class _Reader:
    def __init__(self) -> None:
        self.pictures = 0
        self.films = 0
        self.picture_bytes = 0
        self.is_plain = True

    def read(self, entry: Any, where: str) -> Message:
        if type(entry) is not dict:
            raise wrong(where, "an object", entry)
        fields = cast(Json, entry)
        said = needed(fields.get("role"), f"{where}.role")
        role = _ROLES.get(said) if type(said) is str else None
        if role is None:
            raise wrong(f"{where}.role", f"one of {', '.join(_ROLES)}", said)
        if said in _FOLDED:
            self.is_plain = False
        content = self._content(fields.get("content"), f"{where}.content")
        name = text(fields, "name", f"{where}.")
        if role == "assistant":
            return self._reply(fields, content, name, where)
        if fields.get("content") is None and not (role == "system" and fields.get("tools")):
            raise missing(f"{where}.content")
        if role == "tool":
            id = needed(text(fields, "tool_call_id", f"{where}."), f"{where}.tool_call_id")
            return Message("tool", content, tool_call_id=id, name=name)
        return Message(role, content, name=name)

    def _reply(self, fields: Json, content: Content, name: str | None, where: str) -> Message:
        calls = items(fields, "tool_calls", MOST_CALLS, f"{where}.") or []
        reasoning, alias = (
            text(fields, name, f"{where}.") for name in ("reasoning_content", "reasoning")
        )
        flag(fields, "partial", f"{where}.")
        if reasoning is None and alias is not None:
            reasoning, self.is_plain = alias, False
        return Message(
            "assistant",
            content,
            reasoning,
            tuple(self._call(call, f"{where}.tool_calls[{at}]") for at, call in enumerate(calls)),
            name=name,
        )

    def _call(self, call: Any, where: str) -> ToolCall:
        if type(call) is not dict:
            raise wrong(where, "an object", call)
        fields = cast(Json, call)
        if fields.get("type", "function") not in ("function", None):
            raise wrong(f"{where}.type", "function", fields["type"])
        function = needed(fields.get("function"), f"{where}.function")
        if type(function) is not dict:
            raise wrong(f"{where}.function", "an object", function)
        inner = cast(Json, function)
        name = needed(text(inner, "name", f"{where}.function."), f"{where}.function.name")
        arguments = inner.get("arguments")
        if type(arguments) is not str:
            self.is_plain = False
            if type(arguments) not in (dict, type(None)):
                raise wrong(f"{where}.function.arguments", "JSON as a string", arguments)
            arguments = "{}" if arguments is None else dump(arguments).decode()
        return ToolCall(text(fields, "id", f"{where}.") or "", name, arguments)

    def _content(self, content: Any, where: str) -> Content:
        if type(content) is str:
            return content_of(content)
        if content is None:
            return ()
        parts = items({"content": content}, "content", MOST_PARTS, where.removesuffix("content"))
        return tuple(
            part
            for at, entry in enumerate(parts or ())
            if (part := self._part(entry, f"{where}[{at}]")) is not None
        )

    def _part(self, part: Any, where: str) -> Part | None:
        if type(part) is str:
            self.is_plain = False
            return TextPart(part)
        if type(part) is not dict:
            raise wrong(where, "an object", part)
        fields = cast(Json, part)
        kind = fields.get("type")
        match kind:
            case "text" | "input_text" | "output_text":
                self.is_plain = self.is_plain and kind == "text"
                return TextPart(needed(text(fields, "text", f"{where}."), f"{where}.text"))
            case "refusal":
                return TextPart(needed(text(fields, "refusal", f"{where}."), f"{where}.refusal"))
            case "image_url" | "input_image":
                self.pictures += 1
                self.is_plain = self.is_plain and kind == "image_url"
                return ImagePart(self._address(fields.get("image_url"), f"{where}.image_url"))
            case "video_url":
                self.films += 1
                return VideoPart(self._address(fields.get("video_url"), f"{where}.video_url"))
            case "file":
                return _file(fields.get("file"), f"{where}.file")
            case "thinking" | "reasoning":
                return None
            case None:
                raise missing(f"{where}.type")
            case _:
                raise wrong(f"{where}.type", "one of text, image_url, video_url, file", kind)

    def _address(self, held: Any, where: str) -> str:
        if type(held) is dict:
            found = cast(Json, held).get("url")
            where = f"{where}.url"
        else:
            found, self.is_plain = held, False
        url = needed(found, where)
        if type(url) is not str:
            raise wrong(where, "an address", url)
        if not url.startswith(("data:", "https://", "http://", "ms://")):
            raise invalid(where, f"{where} must be a data:, http(s): or ms: address.")
        self.picture_bytes += len(url)
        return url


def _file(held: Any, where: str) -> FilePart:
    if type(held) is not dict:
        raise wrong(where, "an object", held)
    fields = cast(Mapping[str, Any], held)
    url = text(fields, "file_data", f"{where}.") or text(fields, "file_id", f"{where}.")
    return FilePart(needed(url, f"{where}.file_id"), text(fields, "filename", f"{where}.") or "")
