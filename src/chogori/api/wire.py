"""Requests: a conversation, tools and options as the JSON bytes of POST /chat/completions.

A message is serialised once, when a request first holds it; every later request joins the bytes
that `Conversation.folded` keeps. There are two encodings of a message, with its reasoning and
without; the profile's retention and the start of the chain decide which goes out where.

Reasoning goes back word for word, under `reasoning_content`; under `reasoning` where the same
endpoint sent it so. Fields we do not know go back to the endpoint that sent them, and to no other.
Arguments that no tool could read go back as an object that holds them (`arguments.as_object`).
With `needs_reasoning` every message that calls tools carries the field, if need be empty: Kimi's
API answers 400 where it is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, cast

from chogori.api.arguments import as_object
from chogori.api.fields import dump, listed
from chogori.api.ids import unique_ids
from chogori.api.joined import BEGIN, Encoded, Joined, Upto
from chogori.chat import (
    AllowedTools,
    Conversation,
    FilePart,
    ImagePart,
    JsonFormat,
    Message,
    NamedTool,
    Options,
    Part,
    Profile,
    TextPart,
    ToolChoice,
    ToolSpec,
    VideoPart,
)
from chogori.errors import ConfigError

ENCODER = "chat.completions/2"
"""What is written here and how; the number rises with every change of bytes."""
PICTURE_TOKENS = 1024
"""What Moonshot bills for a picture of any size."""

_MOONSHOT = ("api.moonshot.ai", "api.moonshot.cn")
_OPENAI = ("api.openai.com",)


class Wire:
    """Writes the requests to one model of one endpoint."""

    def __init__(self, url: str, host: str, model: str, profile: Profile) -> None:
        self.url = url
        self.host = host
        self.model = model
        self.profile = profile
        self._key = ("chogori.api", url, model, profile)
        self._tools: tuple[ToolSpec, ...] = ()
        self._tools_json = b"[]"
        self._renamed: tuple[Conversation, dict[int, Message]] | None = None
        """The last conversation, and what of it must be written differently."""
        self._rest: tuple[tuple[int, ...], Options, Sequence[ToolSpec], bytes] | None = None
        """The last tools, by their identity, and options; what is written of them. The tools are
        held, so that no other has their identity."""

    def request(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> bytes:
        """The body. Raises `ConfigError` where the model cannot be shown what the messages hold."""
        return b"".join(self.body(conversation, tools, options))

    def body(
        self,
        conversation: Conversation,
        tools: Sequence[ToolSpec] = (),
        options: Options = Options(),
    ) -> list[bytes | memoryview]:
        """`request` in pieces. While they are held, the next request has to copy this one."""
        pieces: list[bytes | memoryview] = [self._messages(conversation)]
        if options.prefill is not None:
            pieces.append(b"," * bool(conversation) + _prefilled(options.prefill))
        return [*pieces, b"]," + self._after_messages(tools, options)]

    def _after_messages(self, tools: Sequence[ToolSpec], options: Options) -> bytes:
        """What follows the messages, to the last brace. All run long it is the same."""
        # By identity: each run has a list of its own, of the same tools.
        specs = tuple(map(id, tools))
        if self._rest is None or self._rest[0] != specs or self._rest[1] is not options:
            self._rest = (specs, options, tools, self._write_rest(tools, options))
        return self._rest[3]

    def _write_rest(self, tools: Sequence[ToolSpec], options: Options) -> bytes:
        pieces: list[bytes] = []
        extra = dict(options.extra)
        more = listed(extra.pop("tools", None))
        if tools and not more:
            pieces += [b'"tools":', self._tool_list(tools), b","]
        elif more:  # an endpoint's own, such as Moonshot's $web_search, beside ours
            pieces += [b'"tools":', dump([*map(_tool, tools), *more]), b","]
        body: dict[str, Any] = {"model": self.model}
        knobs = _knobs(options, self.profile, self.host, has_tools=bool(tools))
        body |= {name: knob for name, knob in knobs.items() if name not in self.profile.fixed}
        extra.pop("messages", None)
        for name, value in extra.items():
            both = isinstance(value, Mapping) and isinstance(body.get(name), dict)
            body[name] = {**body[name], **value} if both else value
        if options.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return b"".join([*pieces, dump(body).removeprefix(b"{")])

    def fingerprint(
        self, conversation: Conversation, tools: Sequence[ToolSpec], options: Options
    ) -> str:
        """Tells requests apart by their bytes: each message is hashed once, with what came before
        it, when it is encoded."""
        upto = conversation.folded(self._key, self._upto)
        said = upto[-1].sent if upto else b""
        if renamed := self._unique(conversation):  # seldom: what was hashed is not what is sent
            said = b""
            for message in self._written(conversation, renamed):
                said = _linked(said, sha256(message).digest())
        if options.prefill is not None:
            said = _linked(said, sha256(_prefilled(options.prefill)).digest())
        whole = sha256(said + self._after_messages(tools, options))
        return f"{ENCODER}:{whole.hexdigest()}"

    def size(self, conversation: Conversation, tools: Sequence[ToolSpec] = ()) -> tuple[int, int]:
        """Bytes of messages and tools as they would be sent, and pictures among them."""
        upto = conversation.folded(self._key, self._upto)
        encoded = [each.message for each in upto]
        start = self._reasoning_from(conversation)
        size = sum(message.bare_size for message in encoded[:start])
        size += sum(message.full_size for message in encoded[start:])
        if tools:
            size += len(self._tool_list(tools))
        return size, sum(message.pictures for message in encoded)

    def encode(self, message: Message) -> Encoded:
        """One message, with and without reasoning. Asked once for each message."""
        fields, reasoning = self._fields(message)
        bare = dump(fields)
        full = bare if reasoning is None else dump(fields | reasoning)
        if reasoning is not None and self.profile.needs_reasoning and message.tool_calls:
            bare = dump(fields | dict.fromkeys(reasoning, ""))
        pictures = [part for part in message.content if isinstance(part, ImagePart | VideoPart)]
        unseen = sum(len(part.url) for part in pictures)
        return Encoded(
            bare,
            full,
            len(bare) - unseen,
            len(full) - unseen,
            len(pictures),
        )

    def _upto(self, before: Upto | None, message: Message) -> Upto:
        encoded = self.encode(message)
        bare = sha256(encoded.bare).digest()
        full = bare if encoded.full is encoded.bare else sha256(encoded.full).digest()
        all_bare = _linked(before.bare if before else b"", bare)
        if self.profile.retention == "none" or self._ends_chain(message):
            return Upto(encoded, all_bare, all_bare)
        return Upto(encoded, all_bare, _linked(before.sent if before else b"", full))

    def _ends_chain(self, message: Message) -> bool:
        """Whether no reasoning up to and with `message` is sent any more (`chain_start`)."""
        is_answer = message.role == "assistant" and not message.tool_calls
        return self.profile.retention == "chain" and is_answer

    def _messages(self, conversation: Conversation) -> bytes | memoryview:
        """What of the body comes up to the last message."""
        if renamed := self._unique(conversation):
            return BEGIN + b",".join(self._written(conversation, renamed))
        upto = conversation.folded(self._key, self._upto)
        joined = conversation.attached(self._key, Joined)
        return joined.upto(upto, self._reasoning_from(conversation))

    def _written(self, conversation: Conversation, renamed: Mapping[int, Message]) -> list[bytes]:
        """Every message as it is sent, those written anew that hold an id of two calls."""
        start = self._reasoning_from(conversation)
        encoded = [
            self.encode(renamed[at]) if at in renamed else upto.message
            for at, upto in enumerate(conversation.folded(self._key, self._upto))
        ]
        return [each.full if at >= start else each.bare for at, each in enumerate(encoded)]

    def _unique(self, conversation: Conversation) -> dict[int, Message]:
        """`unique_ids`, asked once for the fingerprint of a request and for the request."""
        if self._renamed is None or self._renamed[0] is not conversation:
            self._renamed = (conversation, unique_ids(conversation))
        return self._renamed[1]

    def _reasoning_from(self, conversation: Conversation) -> int:
        match self.profile.retention:
            case "all":
                return 0
            case "chain":
                return conversation.chain_start
            case "none":
                return len(conversation)

    def _fields(self, message: Message) -> tuple[dict[str, Any], dict[str, str] | None]:
        came_from_here = message.extra.get("endpoint") in (None, self.url)
        fields: dict[str, Any] = {"role": message.role}
        if message.content or not message.tool_calls:
            fields["content"] = self._content(message.content)
        if message.name:
            fields["name"] = message.name
        if message.tool_call_id is not None:
            fields["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            fields["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": as_object(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if came_from_here and isinstance(unknown := message.extra.get("fields"), Mapping):
            fields = {**cast(Mapping[str, Any], unknown), **fields}
        reasoning = message.reasoning
        if reasoning is None and self.profile.needs_reasoning and message.tool_calls:
            reasoning = ""
        if reasoning is None or message.role != "assistant":
            return fields, None
        used = message.extra.get("reasoning_field") if came_from_here else None
        return fields, {"reasoning" if used == "reasoning" else "reasoning_content": reasoning}

    def _content(self, content: tuple[Part, ...]) -> str | list[dict[str, Any]]:
        if all(isinstance(part, TextPart) for part in content):
            return "".join(part.text for part in content if isinstance(part, TextPart))
        return [self._part(part) for part in content]

    def _part(self, part: Part) -> dict[str, Any]:
        if isinstance(part, ImagePart | VideoPart) and not self.profile.sees_images:
            shown = "a picture" if isinstance(part, ImagePart) else "a film"
            raise ConfigError(
                f"the model {self.profile.name or self.model!r} cannot see, and the conversation "
                f"holds {shown}; ask a model that can (kimi-k2.5), or leave it out"
            )
        match part:
            case TextPart(text):
                return {"type": "text", "text": text}
            case ImagePart(url):
                return {"type": "image_url", "image_url": {"url": url}}
            case VideoPart(url):
                return {"type": "video_url", "video_url": {"url": url}}
            case FilePart(url, name):
                held = {"file_data" if url.startswith("data:") else "file_id": url}
                return {"type": "file", "file": held | ({"filename": name} if name else {})}

    def _tool_list(self, tools: Sequence[ToolSpec]) -> bytes:
        if (specs := tuple(tools)) != self._tools:
            self._tools = specs
            self._tools_json = dump([_tool(spec) for spec in specs])
        return self._tools_json


def _linked(before: bytes, digest: bytes) -> bytes:
    """The hash of messages, from that of those before the last and the last one's own."""
    return sha256(before + digest).digest()


def _prefilled(text: str) -> bytes:
    return dump({"role": "assistant", "content": text, "partial": True})


def _tool(spec: ToolSpec) -> dict[str, Any]:
    described = {"name": spec.name, "description": spec.description}
    return {"type": "function", "function": described | {"parameters": dict(spec.parameters)}}


def _knobs(options: Options, profile: Profile, host: str, *, has_tools: bool) -> dict[str, Any]:
    calm = profile.instant_temperature if options.thinking is False else None
    usual = profile.temperature if calm is None else calm
    limit = "max_completion_tokens" if host in (*_MOONSHOT, *_OPENAI) else "max_tokens"
    simple = {
        "temperature": usual if options.temperature is None else options.temperature,
        "top_p": profile.top_p if options.top_p is None else options.top_p,
        "top_k": options.top_k,
        "min_p": options.min_p,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        "seed": options.seed,
        limit: options.max_tokens,
        "stop": list(options.stop) or None,
        "logprobs": None if options.logprobs is None else True,
        "top_logprobs": options.logprobs or None,
        "tool_choice": _tool_choice(options.tool_choice, has_tools=has_tools),
        "parallel_tool_calls": False if has_tools and not options.parallel_tool_calls else None,
        "response_format": _response_format(options.response_format),
        "reasoning_effort": options.effort,
        "prompt_cache_key": options.cache_key,
        "user": options.user,
    }
    knobs = {name: value for name, value in simple.items() if value is not None}
    if options.prefill is not None and host not in (*_MOONSHOT, *_OPENAI):
        # vLLM and SGLang know partial mode by these names.
        knobs |= {"continue_final_message": True, "add_generation_prompt": False}
    return knobs | _thinking(options.thinking, profile, host)


def _thinking(thinking: bool | None, profile: Profile, host: str) -> dict[str, Any]:
    """The switch, as Moonshot's API has it and, elsewhere, as chat templates read it too."""
    if profile.thinking == "forced" or (thinking is None and not profile.preserves_thinking):
        return {}
    knobs: dict[str, Any] = {}
    keeps = profile.preserves_thinking and thinking is not False
    if profile.thinking == "switchable":
        kept = {"keep": "all"} if keeps else {}
        knobs["thinking"] = {"type": "disabled" if thinking is False else "enabled"} | kept
    if host not in (*_MOONSHOT, *_OPENAI):
        template = {} if thinking is None else {"thinking": thinking, "enable_thinking": thinking}
        knobs["chat_template_kwargs"] = template | ({"preserve_thinking": True} if keeps else {})
    return knobs


def _tool_choice(choice: ToolChoice, *, has_tools: bool) -> Any:
    match choice:
        case "auto":
            return None  # what every endpoint does unasked
        case "none" | "required":
            return choice if has_tools or choice == "required" else None
        case NamedTool(name):
            return _named(name)
        case AllowedTools(names, required):
            allowed = {"mode": "required" if required else "auto", "tools": _all_named(names)}
            return {"type": "allowed_tools", "allowed_tools": allowed}


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _all_named(names: Iterable[str]) -> list[dict[str, Any]]:
    return [_named(name) for name in names]


def _response_format(wanted: JsonFormat | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {"name": wanted.name, "strict": wanted.strict, "schema": dict(wanted.schema)}
    return {"type": "json_schema", "json_schema": schema}
