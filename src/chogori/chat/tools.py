"""What it takes to be a tool, and `tool`, which makes one of a function.

A tool declares its **effect**: what doing it twice would do.

  pure          nothing: it may run again
  idempotent    the same as once, given the key that comes with the call
  reconcilable  harm, but the tool can be asked whether it happened
  once          harm: it is never repeated, and an unknown outcome is reported as unknown
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from chogori.chat.messages import ToolCall, ToolSpec
from chogori.chat.parts import Content

Effect = Literal["pure", "idempotent", "reconcilable", "once"]


class ToolError(Exception):
    """Raised by a tool to tell the model, in its message, what went wrong and what would work."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know of the run that calls it."""

    run_id: str
    call: ToolCall
    key: str = ""
    """The idempotency key: of run, tool, canonical arguments and occurrence."""
    out: Path | None = None
    """The run's own folder, where one exists."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool tells the model."""

    content: Content
    failed: bool = False
    effect: Effect | None = None
    """What the call turned out to be, where that is known only afterwards."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For views and records, not for the model: paths of files, figures."""


class Tool(Protocol):
    """Something a model may call."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told."""
        ...

    @property
    def effect(self) -> Effect:
        """What doing it twice would do."""
        ...

    @property
    def needs_approval(self) -> bool:
        """Whether a person must say yes to each call."""
        ...

    @property
    def path(self) -> str:
        """Where another process finds it: "module:name", or "" if it cannot."""
        ...

    def touches(self, arguments: str) -> frozenset[str]:
        """What the call writes; calls that touch the same thing run one after another."""
        ...

    async def call(self, arguments: str, context: ToolContext) -> ToolResult:
        """Run on the JSON text a model wrote. Raises `ToolError`."""
        ...

    async def reconcile(self, arguments: str, context: ToolContext) -> ToolResult | None:
        """For `reconcilable` tools: the result if the call happened, None if it did not."""
        ...


@dataclass(frozen=True, slots=True)
class PastCall:
    """A call that was made before the run was interrupted, as it is recorded."""

    arguments: str
    failed: bool
    effect: Effect
    """What the call turned out to be."""
    seconds: float


@runtime_checkable
class Restores(Protocol):
    """A tool with a state of its own, which a run that goes on has to build again."""

    def restore(self, calls: Sequence[PastCall], context: ToolContext) -> None:
        """Take note of the calls that were made; told before the first call that follows them."""
        ...


def tool(
    function: Callable[..., Any] | None = None,
    *,
    effect: Effect | None = None,
    approval: bool | None = None,
    touches: Callable[..., Sequence[str]] | None = None,
    reconcile: Callable[..., Any] | None = None,
    restore: Callable[[Sequence[PastCall], ToolContext], None] | None = None,
) -> Any:
    """Make a tool of a function: its name, its docstring, its annotated parameters.

    Without `effect` the tool counts as `once` when a run is resumed, but nobody is asked before
    it runs; with `effect="once"` a person is (`approval=False` says that nobody need be).
    A parameter annotated `ToolContext` is filled in and not shown to the model. `touches` and
    `reconcile` take the function's own parameters; `restore` is that of `Restores`. Raises
    `TypeError` without a docstring: it is what the model reads.
    """
    from chogori.chat.function_tool import FunctionTool

    def make(made_of: Callable[..., Any]) -> FunctionTool:
        asks = approval if approval is not None else effect == "once"
        return FunctionTool(made_of, effect or "once", asks, touches, reconcile, restore)

    return make if function is None else make(function)


def describe(function: Callable[..., Any]) -> str:
    """The docstring of `function`, as the model reads it."""
    description = inspect.getdoc(function)
    if not description:
        name = getattr(function, "__name__", repr(function))
        raise TypeError(f"{name} needs a docstring: it is what the model reads")
    return description
