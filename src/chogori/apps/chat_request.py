"""Chat requests in files: what to lay out, taken from the JSON that people write.

What a request may hold is what OpenAI-compatible servers take, and `add_generation_prompt` (by
default true), `thinking` and `chat_template_kwargs` as Moonshot's API, vLLM and SGLang know them.
Fields that do not bear on the prompt are left aside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from chogori.chat import (
    Content,
    Conversation,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolCall,
    VideoPart,
    content_of,
    system,
)
from chogori.chat.profiles import Retention
from chogori.chat.templates import Template, lay_out, text_of_pieces
from chogori.errors import ConfigError

_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request for the next reply, as a template takes it."""

    conversation: Conversation
    tools: tuple[Mapping[str, Any], ...] = ()
    is_asked: bool = True
    """Whether the prompt ends where the reply is to begin."""
    thinking: bool = True
    retention: Retention = "chain"
    prefill: str | None = None

    def text(self, template: Template) -> str:
        """The prompt."""
        opening = template.opening(thinking=self.thinking, prefill=self.prefill)
        pieces = lay_out(
            template,
            self.conversation,
            self.tools,
            retention=self.retention,
            opening=opening if self.is_asked else None,
        )
        return text_of_pieces(pieces)


def read_request(text: str, template: Template) -> ChatRequest:
    """The request that `text` is. Raises `ConfigError`, which names the place."""
    try:
        body = _record(json.loads(text), "the request")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the request is not JSON: {error}") from None
    switches = _record(body.get("chat_template_kwargs") or {}, "chat_template_kwargs")
    thinking = body.get("thinking", switches.get("thinking", True))
    keeps = switches.get("preserve_thinking") is True
    if isinstance(thinking, Mapping):
        switch = _record(thinking, "thinking")
        thinking, keeps = switch.get("type") != "disabled", keeps or switch.get("keep") == "all"
    reader = _Messages(template)
    messages = [
        reader.read(_record(message, f"messages[{at}]"), f"messages[{at}]")
        for at, message in enumerate(_list(body.get("messages"), "messages"))
    ]
    prefill = messages.pop().text if reader.ends_partial else None
    if messages and not reader.begins_with_system and template.default_system:
        messages = [system(template.default_system), *messages]
    tools = _list(body.get("tools") or [], "tools")
    return ChatRequest(
        conversation=Conversation(messages),
        tools=tuple(_record(tool, f"tools[{at}]") for at, tool in enumerate(tools)),
        is_asked=body.get("add_generation_prompt") is not False,
        thinking=thinking is not False,
        retention="all" if keeps else "chain",
        prefill=prefill,
    )


class _Messages:
    """Reads messages in order."""

    def __init__(self, template: Template) -> None:
        self.begins_with_system: bool | None = None
        self.ends_partial = False
        """Whether the last message is the beginning of the reply."""
        self._template = template
        self._calls = 0

    def read(self, message: Mapping[str, Any], where: str) -> Message:
        role, name = message.get("role"), message.get("name")
        if not isinstance(role, str) or not role:
            _refuse(f"{where}.role", "a word, such as user", role)
        if not isinstance(name, str | None):
            _refuse(f"{where}.name", "text", name)
        if self.begins_with_system is None:
            self.begins_with_system = role == "system"
        self.ends_partial = role == "assistant" and message.get("partial") is True
        content = _content(message.get("content"), f"{where}.content")
        if role not in _ROLES:
            # Templates let any other role speak as the system does, under its own name.
            return Message("system", content, name=name or role)
        return Message(
            role,
            content,
            _text_or_none(message.get("reasoning_content"), f"{where}.reasoning_content"),
            self._read_calls(message.get("tool_calls"), f"{where}.tool_calls"),
            _text_or_none(message.get("tool_call_id"), f"{where}.tool_call_id"),
            name,
        )

    def _read_calls(self, calls: Any, where: str) -> tuple[ToolCall, ...]:
        return tuple(
            self._read_call(_record(call, f"{where}[{at}]"), f"{where}[{at}]")
            for at, call in enumerate(_list(calls or [], where))
        )

    def _read_call(self, call: Mapping[str, Any], where: str) -> ToolCall:
        function = _record(call.get("function"), f"{where}.function")
        name = _text_or_none(function.get("name"), f"{where}.function.name") or ""
        if "arguments" not in function:
            _refuse(f"{where}.function.arguments", "JSON text or an object", None)
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            arguments = self._template.json(arguments)
        id = _text_or_none(call.get("id"), f"{where}.id")
        number, self._calls = self._calls, self._calls + 1
        return ToolCall(f"functions.{name}:{number}" if id is None else id, name, arguments)


def _content(content: Any, where: str) -> Content:
    if content is None or isinstance(content, str):
        return content_of(content or "")
    if not isinstance(content, list):
        _refuse(where, "text or a list of parts", content)
    parts = _list(content, where)
    return tuple(
        _part(_record(part, f"{where}[{at}]"), f"{where}[{at}]") for at, part in enumerate(parts)
    )


def _part(part: Mapping[str, Any], where: str) -> Part:
    for kind, made in (("image", ImagePart), ("video", VideoPart)):
        for key in (kind, f"{kind}_url"):
            if part.get("type") == key or key in part:
                held = part.get(key)
                url = (
                    cast(Mapping[str, Any], held).get("url") if isinstance(held, Mapping) else held
                )
                return made(url if isinstance(url, str) else "")
    text = part.get("text")
    if not isinstance(text, str):
        _refuse(where, "a part with a text, an image or a video", dict(part))
    return TextPart(text)


def _text_or_none(value: Any, where: str) -> str | None:
    if not isinstance(value, str | None):
        _refuse(where, "text", value)
    return value


def _record(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(where, "an object", cast(object, value))
    return cast(Mapping[str, Any], value)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(where, "a list", cast(object, value))
    return cast(list[Any], value)


def _refuse(where: str, expected: str, found: object) -> NoReturn:
    shown = json.dumps(found, ensure_ascii=False, default=repr)
    shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
    raise ConfigError(f"{where}: expected {expected}, found {shown}")
