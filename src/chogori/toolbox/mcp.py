"""Tools of other people's programs, over the Model Context Protocol (stdio).

A server is a program of the user's choice; it runs outside of the sandbox, as the user, with an
environment of PATH, HOME and LANG and what the user adds. What it says of its tools is its own
claim: each call counts as `once` and is asked for, unless the server calls the tool read-only *and*
the user believes it (`allow_read_only`). Its words reach the model cut to size.

The session lives in one task of its own from beginning to end, since the cancel scopes of anyio
must be left where they were entered; calls come to it from any task.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

import orjson

from chogori.chat import (
    Content,
    Effect,
    ImagePart,
    Part,
    TextPart,
    Tool,
    ToolContext,
    ToolError,
    ToolResult,
    ToolSpec,
    content_of,
    text_of,
)
from chogori.errors import ConfigError
from chogori.toolbox.places import MAX_CHARS, tell
from chogori.toolbox.sandbox.inside.names import cut, size_of

if TYPE_CHECKING:
    import mcp.types as wire
    from jsonschema.protocols import Validator
    from mcp import Client

_MAX_TOOLS = 200
_MAX_DESCRIPTION_CHARS = 1_000
_MAX_NOTE_CHARS = 300
"""For the descriptions inside a schema."""
_MAX_NAME_CHARS = 64  # what chat endpoints allow
_MAX_IMAGE_CHARS = 7_000_000  # 5 MB as base64
_LAST_WORDS_BYTES = 2_000


class McpServer:
    """A running MCP server: `async with McpServer("uvx some-server") as server: server.tools()`.

    Entering raises `ConfigError` when it does not start. The process ends with the context.
    """

    def __init__(
        self,
        command: str,
        *,
        allow_read_only: bool = False,
        env: Mapping[str, str] | None = None,
        start_seconds: float = 30.0,
        call_seconds: float = 120.0,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """`env` is added to the server's environment: the keys it needs go here."""
        self.command = command
        self.name = ""
        """What the server calls itself; known once it runs."""
        self.allow_read_only = allow_read_only
        self.call_seconds = call_seconds
        self.max_chars = max_chars
        self._env = dict(env or {})
        self._start_seconds = start_seconds
        self._listed: list[wire.Tool] = []
        self._client: Client | None = None
        self._last_words = _LastWords()
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        argv = _argv(self.command, _environment(self._env))
        self._task = asyncio.create_task(self._serve(argv), name=f"mcp {self.command}")
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait(
                (self._task, started),
                timeout=self._start_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            started.cancel()
            if not self._started.is_set():
                self._task.cancel()
                await asyncio.wait((self._task,))
        if not self._started.is_set():
            cause = None if self._task.cancelled() else self._task.exception()
            why = f"it did not answer within {self._start_seconds:g} seconds"
            raise ConfigError(
                f"the MCP server {self.command!r} did not start: "
                f"{_reason(cause) if cause else why}{self._last_words.quoted()}"
            ) from cause
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._client = None
        if self._task is not None:
            await asyncio.wait((self._task,))
            if not self._task.cancelled():
                self._task.exception()  # a server that ends badly has ended all the same

    def tools(self, taken: Collection[str] = ()) -> list[Tool]:
        """Its tools. One whose name is among `taken` gets the server's name in front of its own."""
        used = set(taken)
        tools: list[Tool] = []
        for listed in self._listed:
            name = _free_name(listed.name, self.name, used)
            used.add(name)
            tools.append(self._tool(name, listed))
        return tools

    async def ask(self, name: str, arguments: dict[str, Any], *, is_pure: bool) -> Content:
        """Call a tool by the name the server has for it. Raises `ToolError`."""
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        unknown = "" if is_pure else "; whether it took effect is unknown: look before you repeat"
        if self._client is None:
            raise ToolError(f"the MCP server {self.name} is not running")
        try:
            result = await self._client.call_tool(name, arguments, self.call_seconds)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                words = self._last_words.quoted()
                raise ToolError(f"the MCP server {self.name} has ended{words}{unknown}") from None
            if error.code == REQUEST_TIMEOUT:
                raise ToolError(
                    f"the MCP server {self.name} did not answer within "
                    f"{self.call_seconds:g} seconds{unknown}"
                ) from None
            said = cut(error.message, _MAX_DESCRIPTION_CHARS)
            raise ToolError(f"the MCP server {self.name} refused: {said}") from None
        except (RuntimeError, ValueError, OSError) as error:  # an answer against the protocol
            said = cut(str(error), _MAX_NOTE_CHARS)
            raise ToolError(
                f"the MCP server {self.name} gave no valid answer ({said}){unknown}"
            ) from None
        content = _content_of(result)
        if result.is_error:
            said = cut(text_of(content), self.max_chars)
            raise ToolError(said or f"{name} failed and did not say why")
        return content

    async def _serve(self, argv: Sequence[str]) -> None:
        with self._last_words as errors:
            async with _client(argv, errors) as client:
                self._listed = await _list_tools(client)
                info = client.server_info
                self.name = " ".join(info.name.split())[:_MAX_NAME_CHARS] if info else "server"
                self._client = client
                self._started.set()
                await self._stopping.wait()

    def _tool(self, name: str, listed: wire.Tool) -> Tool:
        hints = listed.annotations
        is_pure = self.allow_read_only and hints is not None and hints.read_only_hint is True
        description = listed.description or listed.title or listed.name
        spec = ToolSpec(
            name,
            f"{_shortened(description, _MAX_DESCRIPTION_CHARS)} (a tool of {self.name})",
            cast(dict[str, Any], _with_short_notes(listed.input_schema)),
        )
        validator = _validator(listed.input_schema)
        return _McpTool(self, listed.name, spec, "pure" if is_pure else "once", validator)


@dataclass(frozen=True, slots=True)
class _McpTool:
    server: McpServer
    listed_name: str
    spec: ToolSpec
    effect: Effect
    validator: Validator | None

    @property
    def needs_approval(self) -> bool:
        return self.effect == "once"

    @property
    def path(self) -> str:
        return ""

    def touches(self, arguments: str) -> frozenset[str]:
        """What a server writes is its own affair, so it is given one such call at a time."""
        return frozenset() if self.effect == "pure" else frozenset({f"mcp:{self.server.name}"})

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        values = self._parsed(arguments)
        is_pure = self.effect == "pure"
        content = await self.server.ask(self.listed_name, values, is_pure=is_pure)
        text = text_of(content)
        if len(text) > self.server.max_chars:
            limit = self.server.max_chars
            told = await tell(text, context.out, limit=limit, name=self.spec.name)
            rest = (part for part in content if not isinstance(part, TextPart))
            content = (TextPart(told), *rest)
        return ToolResult(content)

    async def reconcile(self, arguments: str, context: ToolContext) -> ToolResult | None:
        return None

    def _parsed(self, arguments: str) -> dict[str, Any]:
        try:
            values = orjson.loads(arguments or "{}")
        except orjson.JSONDecodeError as error:
            raise ToolError(f"the arguments are not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ToolError("the arguments must be a JSON object")
        problem = _problem(self.validator, values)
        if problem:
            raise ToolError(f"invalid arguments: {problem}")
        return cast(dict[str, Any], values)


# --- starting


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {"PATH": os.defpath, **own, **more}


def _argv(command: str, environment: Mapping[str, str]) -> list[str]:
    """`command` behind an env(1) that leaves it `environment` alone: the client adds its own."""
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the MCP server command {command!r} cannot be read: {error}") from None
    if not argv or shutil.which(argv[0], path=environment["PATH"]) is None:
        raise ConfigError(
            f"the MCP server command {command!r} names no program on PATH; "
            "install it or write its full path"
        )
    given = [f"{name}={value}" for name, value in environment.items()]
    return [shutil.which("env") or "/usr/bin/env", "-i", *given, *argv]


def _client(argv: Sequence[str], errors: TextIO) -> Client:
    try:
        from mcp import Client, StdioServerParameters, stdio_client
    except ImportError as error:
        raise ConfigError(f"MCP servers need: pip install 'chogori[mcp]' ({error})") from error
    parameters = StdioServerParameters(command=argv[0], args=list(argv[1:]))
    return Client(stdio_client(parameters, errors))


async def _list_tools(client: Client) -> list[wire.Tool]:
    tools: list[wire.Tool] = []
    cursor: str | None = None
    while len(tools) < _MAX_TOOLS:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None or not page.tools:
            break
    return tools[:_MAX_TOOLS]


class _LastWords:
    """The end of what a server writes to its standard error."""

    def __init__(self) -> None:
        self._said = b""

    def __enter__(self) -> TextIO:
        self._read_end, write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        asyncio.get_running_loop().add_reader(self._read_end, self._take)
        self._file = os.fdopen(write_end, "w")
        return self._file

    def __exit__(self, *_: object) -> None:
        self._take()
        asyncio.get_running_loop().remove_reader(self._read_end)
        os.close(self._read_end)
        self._file.close()

    def _take(self) -> None:
        try:
            self._said = (self._said + os.read(self._read_end, 1 << 16))[-_LAST_WORDS_BYTES:]
        except BlockingIOError:
            return

    def quoted(self) -> str:
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        words = " / ".join(" ".join(line.split()) for line in lines[-3:])[-500:]
        return f" (its last words: {words})" if words else ""


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = cast(BaseExceptionGroup[BaseException], error).exceptions[0]
    return str(error) or type(error).__name__


# --- what it says of its tools


def _free_name(name: str, server: str, used: Collection[str]) -> str:
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:_MAX_NAME_CHARS] or "tool"
    if plain not in used:
        return plain
    prefixed = re.sub(r"[^a-zA-Z0-9_-]", "_", f"{server}_{name}")
    number, free = 2, prefixed[:_MAX_NAME_CHARS]
    while free in used:
        end = f"_{number}"
        number, free = number + 1, prefixed[: _MAX_NAME_CHARS - len(end)] + end
    return free


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _with_short_notes(schema: Any, depth: int = 0) -> Any:
    """`schema` with its descriptions cut; one that is deeper than a person would write ends."""
    if depth > 30:
        return {}
    if isinstance(schema, list):
        return [_with_short_notes(each, depth + 1) for each in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _shortened(value, _MAX_NOTE_CHARS)
        if key == "description" and isinstance(value, str)
        else _with_short_notes(value, depth + 1)
        for key, value in cast(dict[str, Any], schema).items()
    }


def _validator(schema: dict[str, Any]) -> Validator | None:
    """None where the schema is none: then the server is the one to judge."""
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError:
        return None
    # An empty registry: a `$ref` to elsewhere is not fetched.
    empty = cast(Any, Registry)()
    return kind(schema, registry=empty)


def _problem(validator: Validator | None, values: Any) -> str:
    from jsonschema import exceptions
    from referencing.exceptions import Unresolvable

    if validator is None:
        return ""
    untyped = cast(Any, exceptions)
    try:
        error = untyped.best_match(validator.iter_errors(values))
    except (Unresolvable, RecursionError):
        return ""
    if error is None:
        return ""
    where = ".".join(map(str, error.absolute_path))
    fits = orjson.dumps(error.schema, default=str).decode()
    at = f"{where}: " if where else ""
    return (
        f"{at}{_shortened(error.message, _MAX_NOTE_CHARS)}. "
        f"What fits there is {_shortened(fits, _MAX_DESCRIPTION_CHARS)}"
    )


# --- what it answers


def _content_of(result: wire.CallToolResult) -> Content:
    parts = [_part_of(block) for block in result.content]
    if not parts and result.structured_content is not None:
        parts = [TextPart(orjson.dumps(result.structured_content, default=str).decode())]
    return tuple(parts) or content_of("done")


def _part_of(block: wire.ContentBlock) -> Part:
    match block.type:
        case "text":
            return TextPart(block.text)
        case "image":
            return _image(block.mime_type, block.data)
        case "audio":
            return TextPart(f"[{block.mime_type}, {_base64_size(block.data)}, not shown]")
        case "resource_link":
            return TextPart(f"[{block.name}: {block.uri}]")
        case "resource":
            resource = block.resource
            text = getattr(resource, "text", None)
            if isinstance(text, str):
                return TextPart(text)
            return _image(resource.mime_type or "unknown data", getattr(resource, "blob", ""))


def _image(kind: str, data: str) -> Part:
    if re.fullmatch(r"image/(png|jpeg|gif|webp)", kind) and len(data) <= _MAX_IMAGE_CHARS:
        return ImagePart(f"data:{kind};base64,{data}")
    return TextPart(f"[{cut(kind, 100)}, {_base64_size(data)}, not shown]")


def _base64_size(data: str) -> str:
    return size_of(len(data) * 3 // 4)
