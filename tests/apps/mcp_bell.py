"""An MCP server with one tool, which leaves a mark in the file that is its argument."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("bell")


@server.tool()
def ring(times: int) -> str:
    """Ring the bell."""
    with Path(sys.argv[1]).open("a") as file:
        file.write("ding\n" * times)
    return f"rang {times} times"


if __name__ == "__main__":
    server.run()
