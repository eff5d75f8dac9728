"""The `chogori` command. Each command reads its options and makes one call into the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chogori.apps import swarm_command, weight_commands
from chogori.apps.cli_keys import keys, usage
from chogori.apps.cli_runs import runs
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
    Steps,
    Temperature,
    Tools,
    Unsafe,
    Web,
    Workspace,
    Write,
    Yes,
    settings_of,
    told,
)
from chogori.apps.serve_command import serve
from chogori.apps.weight_commands import Memory

if TYPE_CHECKING:
    from chogori.apps.session import Wanted

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A thinking agent that answers with real tools, on your own machine.",
)
models = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, pull and inspect models."
)
app.add_typer(models, name="models")
app.add_typer(runs, name="runs")
app.add_typer(keys, name="keys")
app.command("usage")(usage)


def _version(wanted: bool) -> None:
    if wanted:
        import chogori

        typer.echo(f"chogori {chogori.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What stands before any command."""


@app.command()
def ask(
    question: Annotated[
        str | None, typer.Argument(help="What to ask; by default what is piped in.")
    ] = None,
    model: Model = None,
    workspace: Workspace = Path(),
    write: Write = False,
    quiet: Quiet = False,
    json: Json = False,
    reasoning: Reasoning = False,
    steps: Steps = 300,
    seconds: Seconds = None,
    temperature: Temperature = None,
    file: Files = None,
    yes: Yes = False,
    web: Web = False,
    allow_host: AllowHosts = None,
    mcp: Mcp = None,
    allow_read_only: AllowReadOnly = False,
    tool: Tools = None,
    unsafe: Unsafe = False,
    context: ContextOption = None,
    memory: Memory = None,
    data: Data = None,
) -> None:
    """Ask one question. Text that is piped in, or given by --file, comes with it.

    Exit code: 0 answered, 3 the budget ended first, 1 error, 130 Ctrl-C.
    """
    settings = settings_of(data, model, memory)
    with told(settings.data):
        from chogori.apps import asking, views

        wanted = _wanted(
            workspace, write, steps, seconds, temperature, yes, web, allow_host, mcp,
            allow_read_only, unsafe, context, tool,
        )  # fmt: skip
        view = views.view_for(quiet=quiet, json=json, reasoning=reasoning)
        sys.exit(asking.ask(settings, wanted, view, question, file or []))


@app.command()
def chat(
    model: Model = None,
    workspace: Workspace = Path(),
    write: Write = False,
    quiet: Quiet = False,
    json: Json = False,
    reasoning: Reasoning = False,
    steps: Steps = 300,
    seconds: Seconds = None,
    temperature: Temperature = None,
    file: Files = None,
    yes: Yes = False,
    web: Web = False,
    allow_host: AllowHosts = None,
    mcp: Mcp = None,
    allow_read_only: AllowReadOnly = False,
    tool: Tools = None,
    unsafe: Unsafe = False,
    context: ContextOption = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Take over a run that is kept, with its own model, tools and budget: an id, or: "
            "last.",
            metavar="ID",
        ),
    ] = None,
    memory: Memory = None,
    data: Data = None,
) -> None:
    """Talk. Ctrl-C stops an answer, Ctrl-D ends; /new begins anew, /help says more."""
    settings = settings_of(data, model, memory)
    with told(settings.data):
        from chogori.apps import asking, views

        wanted = _wanted(
            workspace, write, steps, seconds, temperature, yes, web, allow_host, mcp,
            allow_read_only, unsafe, context, tool,
        )  # fmt: skip
        view = views.view_for(quiet=quiet, json=json, reasoning=reasoning)
        sys.exit(asking.chat(settings, wanted, view, file or [], run))


@models.command("list")
def list_models() -> None:
    """List the models that can be pulled, and which are here."""
    with told(settings_of().data):
        from chogori.apps import listings

        listings.print_models()


@models.command("pull")
def pull_model(
    name: Annotated[str, typer.Argument(help="local or smollm2.", metavar="NAME")],
) -> None:
    """Bring a model here. What was interrupted goes on where it stopped."""
    with told(settings_of().data):
        from chogori.apps import pulling

        pulling.pull_model(name)


@app.command()
def doctor(
    json: Json = False,
    model: Model = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the model, even if it is no endpoint.")
    ] = False,
    data: Data = None,
) -> None:
    """Say what this machine has and lacks, with the commands that mend it.

    An endpoint that --model names is asked as well what it does with us: reasoning, tool calls,
    streaming, tokens, JSON. That takes fifteen short requests at most.

    Exit code: 1 if something is missing that `chogori ask` needs, here or at the endpoint.
    """
    settings = settings_of(data, model)
    with told(settings.data):
        from chogori.apps import listings

        is_endpoint = (model or "").startswith(("http://", "https://"))
        sys.exit(listings.print_health(settings, json=json, probe=probe or is_endpoint))


@app.command()
def prompt(
    request: Annotated[
        Path, typer.Argument(help="A chat request as JSON; - reads it.", metavar="REQUEST.json")
    ],
    template: Annotated[
        str, typer.Option(help="k2-instruct, k2-thinking or k2.5.", metavar="NAME")
    ],
) -> None:
    """Print the exact prompt that a chat request becomes."""
    with told(settings_of().data):
        from chogori.apps import looking

        looking.print_prompt(template, request)


@app.command()
def tokens(
    tokenizer: Annotated[Path, typer.Option(help="A tiktoken.model file.", metavar="FILE")],
    special: Annotated[
        bool, typer.Option("--special", help="Names of special tokens become their ids.")
    ] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Read a JSON string, print a list, in each line.")
    ] = False,
) -> None:
    """Print the token ids of the text that is piped in."""
    with told(settings_of().data):
        from chogori.apps import looking

        looking.print_tokens(tokenizer, special=special, jsonl=jsonl)


app.command()(swarm_command.swarm)
models.command("inspect")(weight_commands.inspect)
app.command()(serve)
for _command in (weight_commands.logits, weight_commands.quantize, weight_commands.compare):
    app.command()(_command)


def _wanted(
    workspace: Path, write: bool, steps: int, seconds: float | None, temperature: float | None,
    yes: bool, web: bool, allow_hosts: list[str] | None, mcp: list[str] | None,
    allow_read_only: bool, unsafe: bool, context: str | None, tools: list[str] | None,
) -> Wanted:  # fmt: skip
    from chogori.agent import Budget
    from chogori.apps.session import Wanted, read_context
    from chogori.chat import Options

    if unsafe:
        typer.echo("--unsafe: tools run without a sandbox, and can do what you can", err=True)
    return Wanted(
        workspace=workspace.expanduser().absolute(),
        write=write,
        budget=Budget(steps=steps, seconds=seconds),
        options=Options(temperature=temperature),
        approval="always" if yes else "ask",
        web=web,
        allow_hosts=allow_hosts or [],
        mcp=mcp or [],
        allow_read_only=allow_read_only,
        unsafe=unsafe,
        only=tools,
        context=None if context is None else read_context(context),
    )


def main() -> None:
    """The entry point. Text that a terminal cannot show must not end the program."""
    import io

    from chogori.apps.collector import collect_seldom

    collect_seldom()
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "replace"),
        (sys.stderr, "replace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
