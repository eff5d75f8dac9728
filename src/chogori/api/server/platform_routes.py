"""What a client may ask beside replies: which models there are, how long a prompt is, what is left
to spend, what was used, and the server's own figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import parse_qs

from chogori.api.fields import dump
from chogori.api.platform import Caller, Gate, UsageQuery, UsageRow
from chogori.api.server.chat import find_model, identify
from chogori.api.server.exchange import Exchange
from chogori.api.server.messages import read_messages
from chogori.api.server.metrics import Metrics
from chogori.api.server.reading import needed, parse, text
from chogori.api.server.refusals import invalid, missing, no_such_model, refused_for
from chogori.api.server.restoring import k2_ids
from chogori.api.server.tool_requests import read_tools
from chogori.api.server.upstreams import Served
from chogori.chat import Conversation, Message, assistant
from chogori.errors import ChogoriError

_WIDTHS = {"1m": 60, "1h": 3600, "1d": 86_400}
_MOST = {"1m": 1440, "1h": 168, "1d": 31}
_USUAL = {"1m": 60, "1h": 24, "1d": 7}
_LATEST = 4_102_444_800
"""The year 2100, in seconds since the epoch."""
Group = Literal["project_id", "api_key_id", "model"]
Groups = Mapping[str, Group | None]
USAGE_GROUPS: Groups = {
    "project_id": "project_id",
    "user_id": None,
    "api_key_id": "api_key_id",
    "model": "model",
    "batch": None,
    "service_tier": None,
}
"""What usage may be grouped by; None: of that there is but one group here, whose name is null."""
COST_GROUPS: Groups = {
    "project_id": "project_id",
    "line_item": "model",
    "api_key_id": "api_key_id",
    "model": "model",
}
"""What costs may be grouped by; a line of the bill is a model."""
COST_DAYS = 180
"""Buckets of costs, of a day each, in one answer at most."""


class PlatformRoutes:
    """Answers all but chat completions."""

    def __init__(self, models: dict[str, Served], gate: Gate, metrics: Metrics) -> None:
        self._models = models
        self._gate = gate
        self._metrics = metrics
        self._created = int(time.time())

    async def list_models(self, exchange: Exchange) -> None:
        """GET /v1/models: those that the key may ask."""
        caller = await identify(self._gate, exchange, "models")
        entries = [
            self._entry(served)
            for name, served in self._models.items()
            if caller.models is None or name in caller.models
        ]
        await exchange.respond(dump({"object": "list", "data": entries}))

    async def show_model(self, exchange: Exchange, name: str) -> None:
        """GET /v1/models/{model}; the name may hold slashes."""
        caller = await identify(self._gate, exchange, "models")
        if name not in self._models or not (caller.models is None or name in caller.models):
            raise no_such_model(name)
        await exchange.respond(dump(self._entry(self._models[name])))

    async def count_tokens(self, exchange: Exchange) -> None:
        """POST /v1/tokenizers/estimate-token-count."""
        caller = await identify(self._gate, exchange, "chat")
        body = parse(await exchange.body())
        name = needed(text(body, "model"), "model")
        said, tools = read_messages(body), read_tools(body)
        served = find_model(self._models, caller, name)
        messages: tuple[Message, ...] = said.messages
        if said.prefill is not None:
            messages = (*messages, assistant(said.prefill))
        try:
            model = served.members[0].model
            total = await model.count(Conversation(k2_ids(messages)), tools.specs)
        except ChogoriError as error:
            raise refused_for(error, name) from error
        await exchange.respond(dump({"data": {"total_tokens": total}}))

    async def balance(self, exchange: Exchange) -> None:
        """GET /v1/users/me/balance, in Moonshot's form; dollars."""
        caller = await identify(self._gate, exchange, "usage")
        balance = await self._gate.balance(caller)
        cash, voucher = (balance.cash, balance.voucher) if balance else (0, 0)
        data = {
            "available_balance": (cash + voucher) / 1e6,
            "voucher_balance": voucher / 1e6,
            "cash_balance": cash / 1e6,
        }
        await exchange.respond(dump({"code": 0, "data": data, "scode": "0x0", "status": True}))

    async def usage(self, exchange: Exchange) -> None:
        """GET /v1/organization/usage/completions."""
        caller = await identify(self._gate, exchange, "usage")
        query = read_query(_asked(exchange), USAGE_GROUPS)
        await self._buckets(exchange, caller, query, _usage_result)

    async def costs(self, exchange: Exchange) -> None:
        """GET /v1/organization/costs."""
        caller = await identify(self._gate, exchange, "usage")
        query = read_query(_asked(exchange), COST_GROUPS, days=COST_DAYS)
        await self._buckets(exchange, caller, query, _cost_result)

    async def metrics(self, exchange: Exchange) -> None:
        """GET /metrics."""
        await identify(self._gate, exchange, "admin")
        kind = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
        await exchange.respond(self._metrics.text(), headers=kind)

    async def _buckets(
        self,
        exchange: Exchange,
        caller: Caller,
        query: UsageQuery,
        told: Callable[[UsageRow], dict[str, Any]],
    ) -> None:
        rows = await self._gate.usage(caller, query)
        by_start: dict[int, list[UsageRow]] = {}
        for row in rows:
            by_start.setdefault(row.start, []).append(row)
        end = min(query.end or int(time.time()) + 1, _LATEST)
        width, start = query.bucket_seconds, query.start
        stop = min(end, start + query.limit * width)
        buckets = [
            {
                "object": "bucket",
                "start_time": at,
                "end_time": min(at + width, end),
                "results": [told(row) for row in by_start.get(at, ())],
            }
            for at in range(start, stop, width)
        ]
        more = stop < end
        page = {"has_more": more, "next_page": f"page_{stop}" if more else None}
        await exchange.respond(dump({"object": "page", "data": buckets, **page}))

    def _entry(self, served: Served) -> dict[str, Any]:
        profile = served.profile
        entry: dict[str, Any] = {
            "id": served.name,
            "object": "model",
            "created": self._created,
            "owned_by": "chogori",
            "context_length": profile.context_tokens,
            "max_model_len": profile.context_tokens,
            "max_output_tokens": profile.context_tokens,
            "supports_image_in": profile.sees_images,
            "supports_video_in": profile.sees_images,
            "supports_reasoning": profile.thinking != "off",
            "root": served.name,
            "parent": None,
            "permission": [],
        }
        if (price := self._gate.price(served.name, profile.name)) is not None:
            each = (price.input, price.output, price.cached)
        elif profile.price is not None:
            dollars = (profile.price.prompt, profile.price.completion, profile.price.cached)
            each = tuple(round(price * 1e6) for price in dollars)
        else:
            return entry
        names = ("prompt", "completion", "input_cache_read")
        entry["pricing"] = dict(zip(names, map(_dollars_a_token, each), strict=True))
        return entry


def _asked(exchange: Exchange) -> bytes:
    return exchange.scope.get("query_string", b"")


def read_query(query: bytes, known: Groups, *, days: int = _MOST["1d"]) -> UsageQuery:
    """What the address asks for, `days` buckets of a day at most. Lists come as `name=a&name=b`,
    `name[]=a` or `name=a,b`. Raises `Refused`."""
    fields = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    width = _one(fields, "bucket_width")
    width = "1d" if width is None else width
    if width not in _WIDTHS:
        raise invalid("bucket_width", f"bucket_width must be one of {', '.join(_WIDTHS)}.")
    groups = _many(fields, "group_by")
    if "" in fields.get("group_by", ()):
        raise invalid("group_by", "group_by names nothing.")
    for group in groups:
        if group not in known:
            raise invalid("group_by", f"group_by must be among {', '.join(known)}.")
    start = _whole(fields, "start_time", 0, _LATEST)
    if start is None:
        raise missing("start_time")
    seconds = _WIDTHS[width]
    page = _one(fields, "page")
    if page is not None:
        number = page.removeprefix("page_")
        if not _is_count(number) or int(number) > _LATEST:
            raise invalid("page", "page must be the next_page of an answer.")
        start = max(start, int(number))
    end = _whole(fields, "end_time", 0, _LATEST)
    if end is not None and end <= start:
        raise invalid("end_time", "end_time must be after start_time.")
    return UsageQuery(
        start=start - start % seconds,
        end=end,
        bucket_seconds=seconds,
        group_by=tuple(dict.fromkeys(held for name in groups if (held := known[name]))),
        projects=tuple(_many(fields, "project_ids")),
        keys=tuple(_many(fields, "api_key_ids")),
        models=tuple(_many(fields, "models")),
        limit=_whole(fields, "limit", 1, days if width == "1d" else _MOST[width]) or _USUAL[width],
    )


def _is_count(text: str) -> bool:
    """Whether a text is a number of few enough digits to be read."""
    return text.isascii() and text.isdigit() and len(text) <= 12


def _one(fields: Mapping[str, list[str]], name: str) -> str | None:
    found = fields.get(name, ())
    if len(found) > 1:
        raise invalid(name, f"{name} is given twice.")
    return found[0] if found else None


def _many(fields: Mapping[str, list[str]], name: str) -> list[str]:
    found = [*fields.get(name, ()), *fields.get(f"{name}[]", ())]
    return [entry for value in found for entry in value.split(",") if entry]


def _whole(fields: Mapping[str, list[str]], name: str, low: int, high: int) -> int | None:
    value = _one(fields, name)
    if value is None:
        return None
    if not _is_count(value) or not low <= int(value) <= high:
        raise invalid(name, f"{name} must be a whole number from {low} to {high}.")
    return int(value)


def _dollars_a_token(microdollars: int) -> str:
    """As OpenRouter writes prices; from microdollars for a million tokens."""
    return f"{microdollars / 1e12:.12f}".rstrip("0").rstrip(".")


def _usage_result(row: UsageRow) -> dict[str, Any]:
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": row.usage.prompt,
        "input_cached_tokens": row.usage.cached,
        "output_tokens": row.usage.completion,
        "output_reasoning_tokens": row.usage.reasoning,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": row.requests,
        "project_id": row.project,
        "user_id": None,
        "api_key_id": row.key_id,
        "model": row.model,
        "batch": None,
        "service_tier": None,
    }


def _cost_result(row: UsageRow) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": row.microdollars / 1e6, "currency": "usd"},
        "line_item": row.model,
        "project_id": row.project,
        "api_key_id": row.key_id,
        "quantity": None,
    }
