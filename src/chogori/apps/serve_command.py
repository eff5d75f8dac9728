"""The command `chogori serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from chogori.apps.options import Data, settings_of, told
from chogori.apps.weight_commands import Memory


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A spec, or NAME=SPEC; NAME@WEIGHT=SPEC for several upstreams of one name (weight "
            "0: only if no other answers). Give it again for more models. Default: "
            "$CHOGORI_MODEL, or else local.",
            show_default=False,
            metavar="MODEL",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0: any that is free.")] = 8000,
    is_open: Annotated[
        bool, typer.Option("--open", help="Ask for no keys and count nothing; loopback only.")
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="A web origin whose pages may use the server.", metavar="URL"),
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Log each request, without its content.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Say where it serves as one JSON object.")
    ] = False,
    memory: Memory = None,
    data: Data = None,
) -> None:
    """Serve models through an OpenAI-compatible API, with keys, limits and metering.

    The first start makes a key and prints it, once. Ctrl-C stops it.
    """
    settings = settings_of(data, None, memory)
    with told(settings.data):
        from chogori.apps import serving

        wanted = serving.Serving(
            models=model or [settings.model],
            host=host,
            port=port,
            is_open=is_open,
            json=json,
            access_log=access_log,
            origins=origin or (),
        )
        serving.serve(settings, wanted)
