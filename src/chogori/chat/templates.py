"""How a conversation is laid out for the models of the Kimi K2 family, exactly as published.

    <|im_system|>tool_declare<|im_middle|>TOOLS<|im_end|>                 if there are tools
    <|im_system|>system<|im_middle|>TEXT<|im_end|>
    <|im_user|>user<|im_middle|>TEXT<|im_end|>
    <|im_assistant|>assistant<|im_middle|>REPLY<|im_end|>
    <|im_system|>tool<|im_middle|>## Return of ID\\nTEXT<|im_end|>
    <|im_assistant|>assistant<|im_middle|>                                the reply begins here

    REPLY = <think>REASONING</think>TEXT<|tool_calls_section_begin|>CALL<|tool_calls_section_end|>
    CALL  = <|tool_call_begin|>ID<|tool_call_argument_begin|>JSON<|tool_call_end|>

Nothing stands between the turns. A turn is a list of pieces, text and markers apart, so that text
which reads like a marker stays text when it becomes token ids (`prompts`).

Sources: the chat templates published with Kimi-K2-Thinking and Kimi-K2.5. That of K2-Instruct is
the former without its think part. Where a name is given it stands instead of the role.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from chogori.chat.conversation import Conversation
from chogori.chat.markers import (
    ARGUMENTS_BEGIN,
    ASSISTANT,
    CALL_BEGIN,
    CALL_END,
    END,
    MEDIA_BEGIN,
    MEDIA_CONTENT,
    MEDIA_END,
    MEDIA_PAD,
    MEDIA_START,
    MIDDLE,
    SECTION_BEGIN,
    SECTION_END,
    SYSTEM,
    THINK_BEGIN,
    THINK_END,
    USER,
    Marker,
)
from chogori.chat.messages import Message, ToolCall, ToolSpec
from chogori.chat.parts import ImagePart, Part, TextPart, VideoPart
from chogori.chat.profiles import Retention
from chogori.chat.typescript import Inexpressible, declare
from chogori.errors import ConfigError

Piece = str | Marker
Pieces = tuple[Piece, ...]

Separators = tuple[str, str]
SPACED: Separators = (", ", ": ")
COMPACT: Separators = (",", ":")

KIMI = "You are Kimi, an AI assistant created by Moonshot AI."
NO_THOUGHT: Pieces = (THINK_BEGIN, THINK_END)
_IMAGE: Pieces = ("image", MEDIA_CONTENT, MEDIA_PAD, MEDIA_END)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The layout for one model."""

    name: str
    default_system: str = ""
    """What the system says where the first message is not its own; "": nothing."""
    tools: Literal["json", "typescript"] = "json"
    thinks: bool = False
    """Whether a reply begins with its reasoning, if need be empty."""
    opens_thinking: bool = False
    """Whether the prompt writes `<think>`; otherwise the model does."""
    image: Pieces = (MEDIA_START, *_IMAGE)
    film: Pieces | None = None
    """What stands for a film; None: the model cannot see any."""
    separators: Separators = SPACED
    """Of JSON that the template writes: tools, and arguments that are given as an object. The
    templates published since mid-2025 are said to write COMPACT."""

    def declaration(self, tools: Sequence[Mapping[str, Any]]) -> Pieces:
        """The turn that tells of `tools`, entries of a request's `tools`; nothing if none."""
        if not tools:
            return ()
        return (SYSTEM, "tool_declare", MIDDLE, self._tools(tools), END)

    def default_turn(self, conversation: Conversation) -> Pieces:
        """The system's turn, where the conversation does not begin with one."""
        if not self.default_system or (len(conversation) and conversation[0].role == "system"):
            return ()
        return (SYSTEM, "system", MIDDLE, self.default_system, END)

    def turn(self, message: Message, *, reasons: bool) -> Pieces:
        """The turn of one message, with its reasoning or without.

        Raises `ConfigError` where the model cannot be shown what the message holds.
        """
        return (*self.head(message), *self.body(message, reasons=reasons), END)

    def head(self, message: Message) -> Pieces:
        """Who speaks."""
        speaker = {"user": USER, "assistant": ASSISTANT}.get(message.role, SYSTEM)
        return (speaker, message.name or message.role, MIDDLE)

    def body(self, message: Message, *, reasons: bool) -> Pieces:
        """What is said, between the head and the end of a turn."""
        content = [piece for part in message.content for piece in self._part(part)]
        match message.role:
            case "assistant":
                return (*self._thought(message, reasons), *content, *_calls(message))
            case "tool":
                return (f"## Return of {message.tool_call_id or ''}\n", *content)
            case _:
                return tuple(content)

    def opening(self, *, thinking: bool = True, prefill: str | None = None) -> Pieces:
        """How a reply begins before the model writes, after `assistant` and the middle marker.

        A reply that goes on from `prefill` has reasoned already.
        """
        if prefill is not None:
            return (*(NO_THOUGHT if self.thinks else ()), prefill)
        if not self.opens_thinking:
            return ()
        return (THINK_BEGIN,) if thinking else NO_THOUGHT

    def lets_reason(self, *, thinking: bool = True, prefill: str | None = None) -> bool:
        """Whether what the model writes after such an opening begins with reasoning."""
        return self.thinks and prefill is None and (thinking or not self.opens_thinking)

    def json(self, value: Any) -> str:
        """JSON as the template writes it."""
        return json.dumps(value, ensure_ascii=False, separators=self.separators)

    def _tools(self, tools: Sequence[Mapping[str, Any]]) -> str:
        if self.tools == "json":
            return self.json(tools)
        ordered = _sorted(list(tools))
        try:
            return declare(ordered) or self.json(ordered)
        except Inexpressible:
            return self.json(ordered)

    def _thought(self, message: Message, reasons: bool) -> Pieces:
        if not self.thinks:
            return ()
        return (THINK_BEGIN, (reasons and message.reasoning) or "", THINK_END)

    def _part(self, part: Part) -> Pieces:
        match part:
            case TextPart(text):
                return (text,)
            case ImagePart():
                return self.image
            case VideoPart() if self.film is not None:
                return self.film
            case _:
                shown = "a film" if isinstance(part, VideoPart) else "a file"
                raise ConfigError(
                    f"the template {self.name} has no form for {shown}, and the conversation "
                    "holds one; leave it out, or tell its content as text"
                )


K2_INSTRUCT = Template(name="k2-instruct", default_system=KIMI)
K2_THINKING = Template(
    name="k2-thinking",
    default_system=KIMI,
    thinks=True,
    image=(MEDIA_START, *_IMAGE, "\n"),
)
K2_5 = Template(
    name="k2.5",
    tools="typescript",
    thinks=True,
    opens_thinking=True,
    image=(MEDIA_BEGIN, *_IMAGE, "\n"),
    film=("<|kimi_k25_video_placeholder|>\n",),
)
TEMPLATES = {template.name: template for template in (K2_INSTRUCT, K2_THINKING, K2_5)}


def template_named(name: str) -> Template:
    """The template of that name. Raises `ConfigError`."""
    try:
        return TEMPLATES[name]
    except KeyError:
        known = ", ".join(TEMPLATES)
        raise ConfigError(f"there is no template {name!r}; there are: {known}") from None


def lay_out(
    template: Template,
    conversation: Conversation,
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    retention: Retention = "chain",
    opening: Pieces | None = (),
) -> Pieces:
    """The whole prompt. `opening` begins the reply; None: no reply is asked for."""
    start = reasoning_from(conversation, retention)
    pieces = [*template.declaration(tools), *template.default_turn(conversation)]
    for at, message in enumerate(conversation):
        pieces += template.turn(message, reasons=at >= start)
    if opening is not None:
        pieces += [ASSISTANT, "assistant", MIDDLE, *opening]
    return tuple(pieces)


def reasoning_from(conversation: Conversation, retention: Retention) -> int:
    """From which message on reasoning goes back to the model."""
    match retention:
        case "chain":
            return conversation.chain_start
        case "all":
            return 0
        case "none":
            return len(conversation)


def text_of_pieces(pieces: Iterable[Piece]) -> str:
    """A prompt as text, as other engines and people read it."""
    return "".join(piece.text if isinstance(piece, Marker) else piece for piece in pieces)


def wire_form(spec: ToolSpec) -> dict[str, Any]:
    """A tool as an entry of a request's `tools`."""
    described = {"name": spec.name, "description": spec.description}
    return {"type": "function", "function": described | {"parameters": dict(spec.parameters)}}


def _calls(message: Message) -> Pieces:
    if not message.tool_calls:
        return ()
    calls = (piece for call in message.tool_calls for piece in _call(call))
    return (SECTION_BEGIN, *calls, SECTION_END)


def _call(call: ToolCall) -> Pieces:
    return (CALL_BEGIN, call.id, ARGUMENTS_BEGIN, call.arguments, CALL_END)


def _sorted(value: Any) -> Any:
    """Objects with their keys in order, however deep."""
    match value:
        case dict():
            items = sorted(cast(dict[str, Any], value).items())
            return {key: _sorted(inner) for key, inner in items}
        case list():
            return [_sorted(inner) for inner in cast(list[Any], value)]
        case _:
            return value
