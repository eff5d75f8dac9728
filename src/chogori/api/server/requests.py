"""POST /v1/chat/completions: the body as a `ChatRequest`.

Known fields are checked, unknown ones left aside (an upstream is handed them). Of the switches for
thinking `thinking` goes before `reasoning_effort`, that before `reasoning`, and that before
`chat_template_kwargs`. `max_completion_tokens` goes before `max_tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chogori.api.server.messages import Messages, read_messages
from chogori.api.server.policy import MOST_REPLIES
from chogori.api.server.reading import (
    Json,
    choice,
    flag,
    items,
    needed,
    number,
    plain_json,
    record,
    text,
    whole,
    wrong,
)
from chogori.api.server.refusals import invalid
from chogori.api.server.tool_requests import ToolRequest, read_response_format, read_tools
from chogori.chat import Options, ToolSpec

MOST_TOKENS = 10_000_000
MOST_STOPS = 16
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_HANDED_ON = ("logit_bias", "cache_salt", "prediction", "verbosity", "service_tier")
"""Fields that are an upstream's affair."""
_NEVER = ("api_base", "base_url", "api_key")
"""Fields by which some gateways are told another address or key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a client asks."""

    body: Json
    model: str
    said: Messages
    tools: tuple[ToolSpec, ...]
    options: Options
    replies: int = 1
    streams: bool = False
    includes_usage: bool = False
    counts_all_along: bool = False
    """Whether every chunk carries the usage so far."""
    wants_token_ids: bool = False
    says_thinking: bool = False
    """Whether thinking was switched by `thinking`."""
    shows_reasoning: bool = True
    has_alias: bool = False
    """Whether reasoning also goes out under the name `reasoning`."""
    is_plain: bool = True
    """Whether an upstream can be handed the body as it came, the model's name excepted."""


def read_chat(body: Json, model: str | None = None) -> ChatRequest:
    """The request that a body is; `model` comes from the path where the path names one. Raises
    `Refused`."""
    for name in _NEVER:
        body.pop(name, None)
    named = model or needed(text(body, "model"), "model")
    if not named:
        raise invalid("model", "model must name a model.")
    said = read_messages(body)
    tools = read_tools(body)
    thinking, effort, says_thinking = _thinking(body)
    is_thought_about = thinking is not None or effort is not None
    streams = flag(body, "stream") or False
    usage, all_along = _stream_options(body, streams)
    shows, alias = _reasoning(body)
    replies = whole(body, "n", 1, MOST_REPLIES) or 1
    _check_the_rest(body)
    return ChatRequest(
        body=body,
        model=named,
        said=said,
        tools=tools.specs,
        options=_options(body, said, tools, thinking, effort, streams),
        replies=replies,
        streams=streams,
        includes_usage=usage,
        counts_all_along=all_along,
        wants_token_ids=flag(body, "return_token_ids") or False,
        says_thinking=says_thinking,
        shows_reasoning=shows,
        has_alias=alias,
        is_plain=said.is_plain
        and tools.is_plain
        and replies == 1
        and shows
        and not (is_thought_about or alias),
    )


def _options(
    body: Json,
    said: Messages,
    tools: ToolRequest,
    thinking: bool | None,
    effort: str | None,
    streams: bool,
) -> Options:
    most = whole(body, "max_completion_tokens", 1, MOST_TOKENS)
    old = whole(body, "max_tokens", 1, MOST_TOKENS)
    form = read_response_format(body)
    if said.prefill is not None and form is not None:
        raise invalid(
            "response_format", "Partial mode and a response_format that is JSON do not go together."
        )
    user, identifier = text(body, "user"), text(body, "safety_identifier")
    extra = {name: body[name] for name in _HANDED_ON if body.get(name) is not None}
    if tools.foreign:
        extra["tools"] = list(tools.foreign)
    return Options(
        temperature=number(body, "temperature", 0, 2),
        top_p=number(body, "top_p", 0, 1),
        top_k=whole(body, "top_k", -1, 1_000_000),
        min_p=number(body, "min_p", 0, 1),
        presence_penalty=number(body, "presence_penalty", -2, 2),
        frequency_penalty=number(body, "frequency_penalty", -2, 2),
        seed=whole(body, "seed", -(2**63), 2**63 - 1),
        max_tokens=most if most is not None else old,
        stop=_stops(body),
        logprobs=_logprobs(body),
        tool_choice=tools.choice,
        parallel_tool_calls=flag(body, "parallel_tool_calls") is not False,
        response_format=form,
        prefill=said.prefill,
        thinking=thinking,
        effort=effort,
        stream=streams,
        cache_key=text(body, "prompt_cache_key"),
        user=user or identifier,
        extra=extra,
    )


def _stops(body: Json) -> tuple[str, ...]:
    value = body.get("stop")
    if value is None:
        return ()
    stops = [value] if type(value) is str else items(body, "stop", MOST_STOPS) or []
    for at, stop in enumerate(stops):
        where = "stop" if type(value) is str else f"stop[{at}]"
        if type(stop) is not str:
            raise wrong(where, "a string", stop)
        if not stop or len(stop) > 1024:
            raise invalid(where, f"{where} must be a text of 1 to 1024 characters.")
    return tuple(stops)


def _logprobs(body: Json) -> int | None:
    wanted = flag(body, "logprobs")
    top = whole(body, "top_logprobs", 0, 20)
    if top and not wanted:
        raise invalid("top_logprobs", "top_logprobs needs logprobs to be true.")
    return (top or 0) if wanted else None


def _stream_options(body: Json, streams: bool) -> tuple[bool, bool]:
    options = record(body, "stream_options")
    if options is None:
        return False, False
    if not streams:
        raise invalid("stream_options", "stream_options needs stream to be true.")
    usage = flag(options, "include_usage", "stream_options.") or False
    all_along = flag(options, "continuous_usage_stats", "stream_options.") or False
    return usage, usage and all_along


def _thinking(body: Json) -> tuple[bool | None, str | None, bool]:
    """Whether to think, how hard, and whether `thinking` said so."""
    template = record(body, "chat_template_kwargs") or {}
    thinks: bool | None = None
    for name in ("enable_thinking", "thinking"):
        switched = flag(template, name, "chat_template_kwargs.")
        thinks = thinks if switched is None else switched
    effort: str | None = None
    reasoning = record(body, "reasoning") or {}
    enabled = flag(reasoning, "enabled", "reasoning.")
    thinks = thinks if enabled is None else enabled
    for fields, name, where in (
        (reasoning, "effort", "reasoning."),
        (body, "reasoning_effort", ""),
    ):
        if (said := choice(fields, name, EFFORTS, where)) is not None:
            thinks, effort = said != "none", None if said == "none" else said
    switch = body.get("thinking")
    if switch is None:
        return thinks, effort, False
    if type(switch) is bool:
        return switch, effort if switch else None, True
    fields = record(body, "thinking") or {}
    kind = choice(fields, "type", ("enabled", "disabled", "adaptive"), "thinking.")
    choice(fields, "keep", ("all",), "thinking.")
    whole(fields, "budget_tokens", 0, MOST_TOKENS, "thinking.")
    effort = choice(fields, "effort", EFFORTS, "thinking.") or effort
    if kind is None:
        return thinks, effort, False
    return kind != "disabled", None if kind == "disabled" else effort, True


def _reasoning(body: Json) -> tuple[bool, bool]:
    """Whether reasoning is shown, and whether under both names."""
    reasoning = record(body, "reasoning")
    include = flag(body, "include_reasoning")
    hidden = include is False or bool(reasoning and flag(reasoning, "exclude", "reasoning."))
    return not hidden, bool(include) or reasoning is not None


def _check_the_rest(body: Json) -> None:
    """Fields that change nothing here, or are an upstream's affair, but must be what they are."""
    for name in ("store", "echo", "ignore_eos"):
        flag(body, name)
    for name in ("service_tier", "verbosity", "cache_salt"):
        text(body, name)
    metadata = record(body, "metadata")
    if metadata is not None:
        if len(metadata) > 16:
            raise invalid("metadata", "metadata holds at most 16 pairs.")
        for name, value in metadata.items():
            if type(value) is not str or len(name) > 64 or len(value) > 512:
                raise invalid(
                    "metadata",
                    "metadata holds texts of at most 512 characters under names of at most 64.",
                )
    biases = record(body, "logit_bias") or {}
    for token in biases:
        number(biases, token, -100, 100, "logit_bias.")
    if body.get("prediction") is not None:
        plain_json(record(body, "prediction"), "prediction", 1_000_000)
    modalities: list[Any] = items(body, "modalities", 8) or ["text"]
    if modalities != ["text"]:
        raise invalid("modalities", "Replies are text: modalities can be ['text'] alone.")
    for name in ("functions", "function_call"):
        if body.get(name) is not None:
            raise invalid(name, f"{name} was replaced by tools and tool_choice; use those.")
