"""`chogori keys` and `chogori usage`: each command reads its options and makes one call."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import typer

from chogori.apps.options import Data, settings_of, told

keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Who may use the server, how much, and at what price. All of it also while it runs.",
)
KeyId = Annotated[str, typer.Argument(help="The public id, or its beginning.", metavar="ID")]
Organisation = Annotated[str, typer.Option(help="Whose it is.", metavar="NAME")]
Tier = Annotated[
    Literal["none", "free", "tier0", "tier1", "tier2", "tier3", "tier4", "tier5"] | None,
    typer.Option(help="Limits to begin with; free is 100 requests a minute.", show_default=False),
]
Count = Annotated[int | None, typer.Option(min=1, metavar="N", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _done(work: Coroutine[Any, Any, int | None]) -> None:
    import asyncio

    sys.exit(asyncio.run(work) or 0)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What to call it.")] = "",
    organisation: Organisation = "default",
    project: Annotated[str, typer.Option(help="What it is for.", metavar="NAME")] = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: models, chat, agent, files, batch, usage, admin. Default: all "
            "but admin.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model it may ask. Default: all.", metavar="NAME", show_default=False),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="In how long: 90m, 12h, 30d.", metavar="TIME", show_default=False),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="From where it may be used.", metavar="CIDR", show_default=False),
    ] = None,
    hide_reasoning: Annotated[
        bool, typer.Option("--hide-reasoning", help="Replies come without their reasoning.")
    ] = False,
    tier: Tier = None,
    requests_per_minute: Count = None,
    tokens_per_minute: Count = None,
    tokens_per_day: Count = None,
    concurrent_requests: Count = None,
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Make a key. It is shown once; only a digest of it is kept."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        limits = platform.limits_of(
            tier, requests_per_minute, tokens_per_minute, tokens_per_day, concurrent_requests
        )
        grant = platform.grant_of(
            name, organisation, project, scope, model, expires, network, hide_reasoning
        )
        _done(platform.create_key(settings, grant, limits, json=json))


@keys.command("list")
def list_keys(json: AsJson = False, data: Data = None) -> None:
    """List the keys, oldest first."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        _done(platform.list_keys(settings, json=json))


@keys.command("revoke")
def revoke_key(id: KeyId, data: Data = None) -> None:
    """End a key at once, with the requests that it has under way."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        _done(platform.revoke_key(settings, id))


@keys.command("rotate")
def rotate_key(
    id: KeyId,
    grace: Annotated[
        str, typer.Option(help="How long the old one stays good.", metavar="TIME")
    ] = "24h",
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Make the successor of a key, which may do the same; shown once."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        _done(platform.rotate_key(settings, id, grace, json=json))


@keys.command("limit")
def limit(
    key: Annotated[
        str | None, typer.Option(help="Of a key.", metavar="ID", show_default=False)
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(help="Of a project.", metavar="ORGANISATION/NAME", show_default=False),
    ] = None,
    organisation: Annotated[
        str | None, typer.Option(help="Of an organisation.", metavar="NAME", show_default=False)
    ] = None,
    tier: Tier = None,
    requests_per_minute: Count = None,
    tokens_per_minute: Count = None,
    tokens_per_day: Count = None,
    concurrent_requests: Count = None,
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Set the limits of a key, a project or an organisation, in place of those it had.

    Without any, list all limits.
    """
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        subject = platform.subject_of(key, project, organisation)
        limits = platform.limits_of(
            tier, requests_per_minute, tokens_per_minute, tokens_per_day, concurrent_requests
        )
        _done(platform.limit(settings, subject, limits, json=json))


@keys.command("topup", context_settings={"ignore_unknown_options": True})
def top_up(
    organisation: Annotated[str, typer.Argument(help="Whose balance.", metavar="ORGANISATION")],
    dollars: Annotated[str, typer.Argument(help="How much; below 0, to take it back.")],
    note: Annotated[str, typer.Option(help="What for.")] = "",
    voucher: Annotated[
        bool, typer.Option("--voucher", help="A gift rather than a payment; spent first.")
    ] = False,
    data: Data = None,
) -> None:
    """Add to a balance. From then on its organisation pays before it asks."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        _done(platform.top_up(settings, organisation, dollars, note, voucher=voucher))


@keys.command("balance")
def balance(json: AsJson = False, data: Data = None) -> None:
    """List the organisations and what they have, or owe."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        _done(platform.balances(settings, json=json))


@keys.command("price")
def price(
    model: Annotated[str | None, typer.Argument(help="As it is served.")] = None,
    input: Annotated[
        str | None, typer.Option(help="Dollars for a million prompt tokens.", show_default=False)
    ] = None,
    cached: Annotated[
        str | None, typer.Option(help="... of those from a cache.", show_default="as --input")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="... of those that are written.", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From when on.", metavar="YYYY-MM-DD", show_default="now")
    ] = None,
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Set what tokens of a model cost from some time on; without a model, list all prices."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        wanted = platform.price_of(model, input, cached, output, since)
        _done(platform.price(settings, wanted, json=json))


@keys.command("audit")
def audit(json: AsJson = False, data: Data = None) -> None:
    """Show who changed what, and check that log and the ledger; exits 1 if something is wrong."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        _done(platform.audit(settings, json=json))


def usage(
    by: Annotated[
        Literal["model", "project", "key"], typer.Option(help="What to tell apart.")
    ] = "model",
    days: Annotated[int, typer.Option(min=1, help="So many, up to today.", metavar="N")] = 7,
    organisation: Organisation = "default",
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Show the requests, tokens and cost of each day (UTC)."""
    settings = settings_of(data)
    with told(settings.data):
        from chogori.apps import platform

        _done(platform.usage(settings, organisation, by, days, json=json))
