"""A real MCP server for `test_mcp.py`. Its first argument is a file that it may write."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Literal

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel

LEDGER = Path(sys.argv[1])
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)

server = MCPServer("shop")


class Address(BaseModel):
    street: str
    zip: int


class Person(BaseModel):
    name: str
    address: Address
    kind: Literal["buyer", "seller"] = "buyer"


@server.tool(annotations=ToolAnnotations(read_only_hint=True), description="Count stock. " * 200)
def count(item: str) -> str:
    return f"{len(item)} {item}"


@server.tool()
def order(item: str) -> str:
    """Order an item."""
    with LEDGER.open("a") as ledger:
        ledger.write(f"{item}\n")
    return f"ordered {item}"


@server.tool()
def fail(why: str) -> str:
    """Raise an error."""
    raise ToolError(why)


@server.tool()
async def hang() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return "never"


@server.tool()
def die() -> str:
    """End the server in the middle of a call."""
    print("out of paper", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
def register(person: Person, tags: list[str] | None = None) -> str:
    """Register a person."""
    return f"{person.name} of {person.address.zip}"


@server.tool(structured_output=False)
def picture() -> list[Any]:
    """A picture with a word."""
    return ["a pixel", Image(data=PIXEL, format="png")]


@server.tool()
def talk(length: int) -> str:
    """Say much."""
    return "x" * length


@server.tool()
def environment() -> str:
    """What the server was given, and who it is."""
    return ",".join(sorted(os.environ)) + f";{os.getpid()}"


@server.tool(name="odd name!")
def odd() -> str:
    """Has a name that endpoints do not take."""
    return "odd"


if __name__ == "__main__":
    server.run()
