"""`chogori swarm`: reads its options and makes one call into the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from chogori.apps.options import (
    AllowHosts,
    AllowReadOnly,
    ContextOption,
    Data,
    Files,
    Json,
    Mcp,
    Model,
    Quiet,
    Reasoning,
    Seconds,
    Temperature,
    Unsafe,
    Web,
    Workspace,
    Write,
    Yes,
    settings_of,
    told,
)
from chogori.apps.weight_commands import Memory


def swarm(
    task: Annotated[
        str | None, typer.Argument(help="What to do; by default what is piped in.")
    ] = None,
    model: Model = None,
    subagent_model: Annotated[
        str | None,
        typer.Option(help="The model of the subagents. Default: the same.", metavar="SPEC"),
    ] = None,
    width: Annotated[
        int, typer.Option(min=1, max=300, help="Subagents at once.", metavar="N")
    ] = 100,
    workspace: Workspace = Path(),
    write: Write = False,
    quiet: Quiet = False,
    json: Json = False,
    reasoning: Reasoning = False,
    steps: Annotated[
        int, typer.Option(min=1, help="Replies of the orchestrator.", metavar="N")
    ] = 100,
    subagent_steps: Annotated[
        int, typer.Option(min=1, help="Replies of each subagent.", metavar="N")
    ] = 100,
    calls: Annotated[
        int, typer.Option(min=1, max=4_000, help="Tool calls of the whole swarm.", metavar="N")
    ] = 4_000,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of the whole swarm.", metavar="N")
    ] = None,
    dollars: Annotated[
        float | None, typer.Option(min=0, help="What the whole swarm may cost.", metavar="N")
    ] = None,
    seconds: Seconds = None,
    temperature: Temperature = None,
    file: Files = None,
    yes: Yes = False,
    web: Web = False,
    allow_host: AllowHosts = None,
    mcp: Mcp = None,
    allow_read_only: AllowReadOnly = False,
    unsafe: Unsafe = False,
    context: ContextOption = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Offer one task for many items in one call.")
    ] = False,
    memory: Memory = None,
    data: Data = None,
) -> None:
    """Have an orchestrator and its subagents do one task, side by side, within one budget.

    Calls of subagents that need a person's yes are refused, unless --yes allows all.
    Exit codes as for ask. A swarm that was stopped goes on with: chogori runs resume
    """
    settings = settings_of(data, model, memory)
    with told(settings.data):
        from chogori.agent import Budget
        from chogori.apps import swarming, views
        from chogori.apps.session import Wanted, read_context
        from chogori.chat import Options
        from chogori.presets import Width

        if unsafe:
            typer.echo("--unsafe: tools run without a sandbox, and can do what you can", err=True)
        wanted = Wanted(
            workspace=workspace.expanduser().absolute(),
            write=write,
            budget=Budget(
                steps=steps, calls=calls, tokens=tokens, dollars=dollars, seconds=seconds
            ),
            options=Options(temperature=temperature),
            approval="always" if yes else "ask",
            web=web,
            allow_hosts=allow_host or [],
            mcp=mcp or [],
            allow_read_only=allow_read_only,
            unsafe=unsafe,
            context=None if context is None else read_context(context),
        )
        wide = Width(subagents=width, steps=subagent_steps, maps=maps)
        view = views.view_for(quiet=quiet, json=json, reasoning=reasoning, lanes=True)
        sys.exit(swarming.run_swarm(settings, wanted, wide, subagent_model, view, task, file or []))
