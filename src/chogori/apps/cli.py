"""The `chogori` command. Each command reads its options and makes one call into the library."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chogori.apps import weight_commands
from chogori.apps.weight_commands import Memory

if TYPE_CHECKING:
    from chogori.apps.session import Wanted
    from chogori.apps.settings import Settings

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
runs = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List and show past runs.")
app.add_typer(models, name="models")
app.add_typer(runs, name="runs")

MODELS = "local, smollm2, gguf:PATH, k2:PATH, k2:nano, scripted:FILE, or http(s)://HOST/v1#MODEL."
Model = Annotated[
    str | None,
    typer.Option(
        help=f"{MODELS} Default: $CHOGORI_MODEL, or else local.", show_default=False, metavar="SPEC"
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Where runs are kept. Default: $XDG_DATA_HOME/chogori.",
        show_default=False,
        metavar="DIR",
    ),
]
Workspace = Annotated[
    Path, typer.Option(help="The folder the tools see; read-only.", metavar="DIR")
]
Write = Annotated[bool, typer.Option("--write", help="Let the tools change the workspace.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer alone.")]
Json = Annotated[bool, typer.Option("--json", help="Print events, one JSON object a line.")]
Reasoning = Annotated[bool, typer.Option("--reasoning", help="Show the reasoning whole.")]
Steps = Annotated[int, typer.Option(min=1, help="Replies the run may take.", metavar="N")]
Seconds = Annotated[
    float | None, typer.Option(min=0, help="Seconds the run may take.", metavar="N")
]
Temperature = Annotated[
    float | None, typer.Option(min=0, max=2, help="Default: the model's own.", metavar="T")
]
Files = Annotated[
    list[Path] | None, typer.Option("--file", "-f", help="Attach a text file.", metavar="PATH")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Allow every call without asking.")]
Web = Annotated[bool, typer.Option("--web", help="Let the agent fetch web pages.")]
AllowHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host", help="A host that may be fetched though it is local.", metavar="HOST"
    ),
]
Mcp = Annotated[
    list[str] | None,
    typer.Option(help="Use the tools of the MCP server that this starts.", metavar="COMMAND"),
]
AllowReadOnly = Annotated[
    bool, typer.Option("--allow-read-only", help="Do not ask about read-only MCP tools.")
]
Unsafe = Annotated[
    bool, typer.Option("--unsafe", help="Run tools WITHOUT a sandbox: they can do what you can.")
]
RunId = Annotated[str, typer.Argument(help="An id, its beginning, or: last.", metavar="ID")]


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
    unsafe: Unsafe = False,
    memory: Memory = None,
    data: Data = None,
) -> None:
    """Ask one question. Text that is piped in, or given by --file, comes with it.

    Exit code: 0 answered, 3 the budget ended first, 1 error, 130 Ctrl-C.
    """
    settings = _settings(data, model, memory)
    with _told(settings):
        from chogori.apps import asking, views

        wanted = _wanted(
            workspace, write, steps, seconds, temperature, yes, web, allow_host, mcp,
            allow_read_only, unsafe,
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
    unsafe: Unsafe = False,
    memory: Memory = None,
    data: Data = None,
) -> None:
    """Talk. Ctrl-C stops an answer, Ctrl-D ends; /new begins anew, /help says more."""
    settings = _settings(data, model, memory)
    with _told(settings):
        from chogori.apps import asking, views

        wanted = _wanted(
            workspace, write, steps, seconds, temperature, yes, web, allow_host, mcp,
            allow_read_only, unsafe,
        )  # fmt: skip
        view = views.view_for(quiet=quiet, json=json, reasoning=reasoning)
        sys.exit(asking.chat(settings, wanted, view, file or []))


@models.command("list")
def list_models() -> None:
    """List the models that can be pulled, and which are here."""
    with _told(_settings()):
        from chogori.apps import listings

        listings.print_models()


@models.command("pull")
def pull_model(
    name: Annotated[str, typer.Argument(help="local or smollm2.", metavar="NAME")],
) -> None:
    """Bring a model here. What was interrupted goes on where it stopped."""
    with _told(_settings()):
        from chogori.apps import pulling

        pulling.pull_model(name)


@runs.command("list")
def list_runs(
    data: Data = None,
    number: Annotated[int, typer.Option("-n", min=1, help="How many, newest first.")] = 20,
) -> None:
    """List the runs that are kept, newest first."""
    settings = _settings(data)
    with _told(settings):
        from chogori.apps import listings

        listings.print_runs(settings, number)


@runs.command("show")
def show_run(
    id: RunId,
    data: Data = None,
    json: Json = False,
    quiet: Quiet = False,
    folded: Annotated[bool, typer.Option("--folded", help="Reasoning by its first line.")] = False,
) -> None:
    """Print a run again: reasoning, calls, results, answer, tokens, seconds."""
    settings = _settings(data)
    with _told(settings):
        from chogori.apps import listings, views

        view = views.view_for(quiet=quiet, json=json, reasoning=not folded, question=True)
        listings.show_run(settings, id, view)


@runs.command("rm")
def remove_run(id: RunId, data: Data = None, yes: Yes = False) -> None:
    """Delete a run and what its tools wrote."""
    settings = _settings(data)
    with _told(settings):
        from chogori.apps import listings

        sys.exit(listings.remove_run(settings, id, yes=yes))


@app.command()
def doctor(json: Json = False, model: Model = None, data: Data = None) -> None:
    """Say what this machine has and lacks, with the commands that mend it.

    Exit code: 1 if something is missing that `chogori ask` needs.
    """
    settings = _settings(data, model)
    with _told(settings):
        from chogori.apps import listings

        sys.exit(listings.print_checks(settings, json=json))


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
    with _told(_settings()):
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
    with _told(_settings()):
        from chogori.apps import looking

        looking.print_tokens(tokenizer, special=special, jsonl=jsonl)


models.command("inspect")(weight_commands.inspect)
for _command in (weight_commands.logits, weight_commands.quantize, weight_commands.compare):
    app.command()(_command)


def _settings(
    data: Path | None = None, model: str | None = None, memory_bytes: int | None = None
) -> Settings:
    from chogori.apps.settings import read_settings

    return read_settings(os.environ, data=data, model=model, memory_bytes=memory_bytes)


def _told(settings: Settings):
    from chogori.apps.failures import told

    return told(settings.data)


def _wanted(
    workspace: Path, write: bool, steps: int, seconds: float | None, temperature: float | None,
    yes: bool, web: bool, allow_hosts: list[str] | None, mcp: list[str] | None,
    allow_read_only: bool, unsafe: bool,
) -> Wanted:  # fmt: skip
    from chogori.agent import Budget
    from chogori.apps.session import Wanted
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
    )


def main() -> None:
    """The entry point. Text that a terminal cannot show must not end the program."""
    import io

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
