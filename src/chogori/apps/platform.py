"""What `chogori keys ...` and `chogori usage` do."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast

import orjson

from chogori.api.platform import Scope, UsageQuery, UsageRow
from chogori.apps.listings import print_table
from chogori.apps.settings import Settings
from chogori.apps.words import clean, one_line
from chogori.errors import ConfigError
from chogori.presets.platform import open_administration
from chogori.service import (
    TIERS,
    Administration,
    Grant,
    Key,
    Limits,
    Price,
    Subject,
    dollars,
    microdollars,
)

DAY = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": DAY}
_SPAN = re.compile(r"(\d{1,9})([smhd])")
_GROUPS: dict[str, Literal["project_id", "api_key_id", "model"]] = {
    "model": "model",
    "project": "project_id",
    "key": "api_key_id",
}


def seconds_of(text: str) -> float:
    """How long `90m`, `12h` or `30d` is. Raises `ConfigError`."""
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise ConfigError(f"{text!r} is no length of time; expected a number with s, m, h or d")
    return float(int(found[1]) * _UNITS[found[2]])


def grant_of(
    name: str,
    organisation: str,
    project: str,
    scopes: Sequence[str] | None,
    models: Sequence[str] | None,
    expires: str | None,
    networks: Sequence[str] | None,
    hides_reasoning: bool,
) -> Grant:
    """What the options of `keys create` say. Raises `ConfigError`."""
    grant = Grant(
        name=name,
        organisation=organisation,
        project=project,
        models=tuple(models) if models else None,
        networks=tuple(networks or ()),
        expires=time.time() + seconds_of(expires) if expires else None,
        shows_reasoning=not hides_reasoning,
    )
    return replace(grant, scopes=cast(frozenset[Scope], frozenset(scopes))) if scopes else grant


def limits_of(
    tier: str | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    tokens_per_day: int | None,
    concurrent_requests: int | None,
) -> Limits | None:
    """Those of the tier, with what is said besides; None where nothing is said at all."""
    said = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "concurrent_requests": concurrent_requests,
    }
    given = {name: value for name, value in said.items() if value is not None}
    if tier is None and not given:
        return None
    return replace(TIERS[tier or "none"], **given)


def subject_of(key: str | None, project: str | None, organisation: str | None) -> Subject | None:
    """Whose limits are meant; None: nobody's. Raises `ConfigError` where several are named."""
    named = [
        subject
        for subject in (
            Subject("key", key or ""),
            Subject("project", project or ""),
            Subject("organisation", organisation or ""),
        )
        if subject.id
    ]
    if len(named) > 1:
        raise ConfigError("name one of --key, --project and --organisation")
    return named[0] if named else None


def price_of(
    model: str | None,
    input: str | None,
    cached: str | None,
    output: str | None,
    since: str | None,
) -> Price | None:
    """The price that the options name; None: none. Raises `ConfigError`."""
    if model is None:
        return None
    if input is None or output is None:
        raise ConfigError("a price has an --input and an --output, in dollars for a million tokens")
    try:
        begins = time.time() if since is None else _midnight(since)
    except ValueError as error:
        raise ConfigError(f"{since!r} is no date; expected YYYY-MM-DD") from error
    tokens = microdollars(input)
    return Price(
        model, begins, tokens, tokens if cached is None else microdollars(cached),
        microdollars(output),
    )  # fmt: skip


def _midnight(date: str) -> float:
    return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()


async def create_key(
    settings: Settings, grant: Grant, limits: Limits | None, *, json: bool
) -> None:
    """A new key on the standard output, this once."""
    async with _opened(settings) as administration:
        made = await administration.create_key(grant, limits or Limits())
        _print_new(await _key(administration, made.id), made.text, json=json)


async def rotate_key(settings: Settings, id: str, grace: str, *, json: bool) -> None:
    """The successor of a key on the standard output, this once."""
    seconds = seconds_of(grace)
    async with _opened(settings) as administration:
        made = await administration.rotate_key(id, seconds)
        _print_new(await _key(administration, made.id), made.text, json=json)


async def _key(administration: Administration, id: str) -> Key:
    return next(key for key in await administration.list_keys() if key.id == id)


def _print_new(key: Key, text: str, *, json: bool) -> None:
    if json:
        _print_json(_shown(key) | {"key": text})
        return
    print(text)
    print(f"the key {key.id} is shown this once: only a digest of it is kept", file=sys.stderr)


async def list_keys(settings: Settings, *, json: bool) -> None:
    """A line for each key; none shows it."""
    async with _opened(settings) as administration:
        keys = await administration.list_keys()
    if json:
        _print_json([_shown(key) for key in keys])
        return
    rows = [("ID", "NAME", "PROJECT", "STATE", "CREATED", "EXPIRES", "MODELS", "SCOPES")]
    for key in keys:
        grant = key.grant
        rows.append(
            (
                key.id,
                clean(one_line(grant.name)),
                f"{grant.organisation}/{grant.project}",
                key.state(time.time()),
                _when(key.created),
                _when(grant.expires),
                clean(" ".join(grant.models)) if grant.models else "all",
                " ".join(sorted(grant.scopes)),
            )
        )
    print_table(rows)


def _shown(key: Key) -> dict[str, Any]:
    grant = key.grant
    return {
        "id": key.id,
        "name": grant.name,
        "organisation": grant.organisation,
        "project": grant.project,
        "state": key.state(time.time()),
        "scopes": sorted(grant.scopes),
        "models": grant.models,
        "networks": grant.networks,
        "shows_reasoning": grant.shows_reasoning,
        "created_at": int(key.created),
        "expires_at": None if grant.expires is None else int(grant.expires),
        "successor": key.successor,
    }


async def revoke_key(settings: Settings, id: str) -> None:
    """End a key."""
    async with _opened(settings) as administration:
        print(f"revoked {await administration.revoke_key(id)}", file=sys.stderr)


async def limit(
    settings: Settings, subject: Subject | None, limits: Limits | None, *, json: bool
) -> None:
    """Set the limits of a subject, or list those of all."""
    if (subject is None) != (limits is None):
        raise ConfigError(
            "to set limits, name whose (--key, --project or --organisation) and which (--tier, "
            "--requests-per-minute, ...); --tier none takes all away"
        )
    async with _opened(settings) as administration:
        if subject is not None and limits is not None:
            await administration.set_limits(subject, limits)
        found = await administration.limits()
    if json:
        _print_json({name: asdict(each) for name, each in found.items()})
        return
    rows = [("SUBJECT", "REQUESTS/MINUTE", "TOKENS/MINUTE", "TOKENS/DAY", "CONCURRENT")]
    for name, each in sorted(found.items()):
        numbers = ["-" if value is None else str(value) for value in asdict(each).values()]
        rows.append((name, numbers[0], numbers[1], numbers[2], numbers[3]))
    print_table(rows)


async def top_up(
    settings: Settings, organisation: str, amount: str, note: str, *, voucher: bool
) -> None:
    """Add to a balance and say what it is now."""
    added = microdollars(amount)
    async with _opened(settings) as administration:
        funds = await administration.top_up(organisation, added, note, voucher=voucher)
    print(f"{organisation} has {dollars(funds.cash)} and vouchers of {dollars(funds.voucher)}")


async def balances(settings: Settings, *, json: bool) -> None:
    """A line for each organisation."""
    async with _opened(settings) as administration:
        found = await administration.organisations()
    if json:
        _print_json([asdict(each) for each in found])
        return
    rows = [("ORGANISATION", "CASH", "VOUCHERS", "PAYS")]
    for each in found:
        pays = "before" if each.is_prepaid else "after"
        rows.append((each.id, dollars(each.funds.cash), dollars(each.funds.voucher), pays))
    print_table(rows)


async def price(settings: Settings, wanted: Price | None, *, json: bool) -> None:
    """Set a price, or list all."""
    async with _opened(settings) as administration:
        if wanted is not None:
            await administration.set_price(wanted)
        found = await administration.prices()
    if json:
        _print_json([asdict(each) for each in found])
        return
    rows = [("MODEL", "SINCE", "INPUT", "CACHED", "OUTPUT")]
    for each in found:
        since = _when(each.since) if each.since else "-"
        amounts = (dollars(each.input), dollars(each.cached), dollars(each.output))
        rows.append((clean(each.model), since, *amounts))
    print_table(rows)


async def audit(settings: Settings, *, json: bool) -> int:
    """Print every change and what is wrong; returns the exit code."""
    async with _opened(settings) as administration:
        found = await administration.audit()
    problems = list(found.problems)
    if found.verdict is not None and found.verdict.problem:
        problems.append(f"the audit log: {found.verdict.problem}")
    if json:
        head = found.verdict.head if found.verdict else None
        told = {"acts": [asdict(act) for act in found.acts], "head": head, "problems": problems}
        _print_json(told)
        return 1 if problems else 0
    for act in found.acts:
        changes = orjson.dumps(act.changes).decode()
        print(clean(f"{_when(act.at)}  {act.actor}  {act.action}  {act.subject}  {changes}"))
    for problem in problems:
        print(f"wrong: {clean(problem)}")
    if not problems:
        head = f"; its head is {found.verdict.head}" if found.verdict else ""
        print(f"{len(found.acts)} changes, as they were written{head}; the ledger is balanced")
    return 1 if problems else 0


async def usage(settings: Settings, organisation: str, by: str, days: int, *, json: bool) -> None:
    """A line for each day and group, and one for all of them."""
    today = int(time.time()) // DAY * DAY
    query = UsageQuery(start=today - (days - 1) * DAY, limit=days, group_by=(_GROUPS[by],))
    async with _opened(settings) as administration:
        found = await administration.usage(organisation, query)
    if json:
        _print_json([asdict(row) for row in found])
        return
    heading = ("DAY", by.upper(), "REQUESTS", "PROMPT", "CACHED", "COMPLETION", "REASONING", "COST")
    rows = [heading, *(_usage_row(row) for row in found)]
    if found:
        rows.append(_usage_row(_total(found), "all"))
    print_table(rows)


def _total(rows: Sequence[UsageRow]) -> UsageRow:
    first, *rest = rows
    for row in rest:
        first = replace(
            first,
            usage=first.usage + row.usage,
            requests=first.requests + row.requests,
            microdollars=first.microdollars + row.microdollars,
        )
    return first


def _usage_row(row: UsageRow, day: str = "") -> tuple[str, ...]:
    group = "" if day else clean(row.model or row.project or row.key_id or "")
    used = row.usage
    counts = (row.requests, used.prompt, used.cached, used.completion, used.reasoning)
    date = day or datetime.fromtimestamp(row.start, UTC).strftime("%Y-%m-%d")
    return (date, group, *map(str, counts), dollars(row.microdollars))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncGenerator[Administration]:
    pepper = settings.environ.get("CHOGORI_PEPPER", "")
    async with open_administration(settings.make_data(), pepper=pepper) as administration:
        yield administration


def _when(at: float | None) -> str:
    return "-" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
