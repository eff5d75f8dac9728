"""A tool made of a Python function; pydantic checks the arguments before the body runs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast, get_type_hints

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from chogori.chat.messages import ToolSpec
from chogori.chat.parts import content_of
from chogori.chat.tools import Effect, PastCall, ToolContext, ToolError, ToolResult, describe


class FunctionTool:
    """See `chogori.chat.tool`, which makes these."""

    def __init__(
        self,
        function: Callable[..., Any],
        effect: Effect,
        needs_approval: bool,
        touches: Callable[..., Sequence[str]] | None,
        reconcile: Callable[..., Any] | None,
        restore: Callable[[Sequence[PastCall], ToolContext], None] | None = None,
    ) -> None:
        self.function = function
        self.effect: Effect = effect
        self.needs_approval = needs_approval
        self._touches = touches
        self._reconcile = reconcile
        self._restore = restore
        hints = get_type_hints(function, include_extras=True)
        self._context_name = next((n for n, hint in hints.items() if hint is ToolContext), None)
        self._model = _arguments_model(function, hints, self._context_name)
        schema = self._model.model_json_schema()
        schema.pop("title")
        for named in schema.get("properties", {}).values():
            named.pop("title", None)
        self.spec = ToolSpec(function.__name__, describe(function), schema)

    @property
    def path(self) -> str:
        name = self.function.__qualname__
        return "" if "<locals>" in name or "." in name else f"{self.function.__module__}:{name}"

    def touches(self, arguments: str) -> frozenset[str]:
        if self._touches is None:
            return frozenset()
        try:
            return frozenset(self._touches(**self._parse(arguments)))
        except ToolError:
            return frozenset()

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        return _as_result(await self._invoke(self.function, arguments, context))

    async def reconcile(self, arguments: str, context: ToolContext) -> ToolResult | None:
        if self._reconcile is None:
            return None
        happened = await self._invoke(self._reconcile, arguments, context)
        return None if happened is None else _as_result(happened)

    def restore(self, calls: Sequence[PastCall], context: ToolContext) -> None:
        if self._restore is not None:
            self._restore(calls, context)

    async def _invoke(
        self, function: Callable[..., Any], arguments: str, context: ToolContext
    ) -> Any:
        values = self._parse(arguments)
        if self._context_name:
            values[self._context_name] = context
        if inspect.iscoroutinefunction(function):
            return await function(**values)
        result = await asyncio.to_thread(function, **values)
        return await result if inspect.isawaitable(result) else result

    def _parse(self, arguments: str) -> dict[str, Any]:
        try:
            parsed = self._model.model_validate_json(arguments or "{}")
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()
            )
            fits = orjson.dumps(self.spec.parameters.get("properties", {})).decode()
            raise ToolError(
                f"invalid arguments: {problems}. What fits is an object with {fits}"
            ) from error
        return {name: getattr(parsed, name) for name in type(parsed).model_fields}


def _arguments_model(
    function: Callable[..., Any], hints: dict[str, Any], context_name: str | None
) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == context_name:
            continue
        if name not in hints:
            raise TypeError(f"{function.__name__}: parameter {name!r} needs a type annotation")
        annotation = hints[name]
        metadata: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
        notes = " ".join(note for note in metadata if isinstance(note, str))
        default: Any = ... if parameter.default is parameter.empty else parameter.default
        own = next((note for note in metadata if isinstance(note, FieldInfo)), None)
        described: Any = FieldInfo(
            default=default,
            description=notes or (None if own is None else own.description),
            json_schema_extra=None if own is None else own.json_schema_extra,
        )
        fields[name] = (annotation, described)
    config = ConfigDict(extra="forbid")
    return create_model(function.__name__, __config__=config, **fields)


def _as_result(value: Any) -> ToolResult:
    match value:
        case ToolResult():
            return value
        case str():
            return ToolResult(content_of(value))
        case None:
            return ToolResult(content_of("done"))
        case tuple():
            return ToolResult(cast(Any, value))
        case _:
            return ToolResult(content_of(orjson.dumps(value, default=str).decode()))
