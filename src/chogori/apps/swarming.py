"""What `chogori swarm` does, and how `chogori runs show` and `pause` know a swarm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chogori.agent import kept
from chogori.apps.asking import ANSWERED, BUDGET_ENDED, person_at_terminal, read_question
from chogori.apps.keeping import opened_store
from chogori.apps.lanes import closing
from chogori.apps.session import Session, View, Wanted
from chogori.apps.settings import Settings
from chogori.apps.words import one_line
from chogori.chat import Answer
from chogori.errors import ConfigError
from chogori.presets import Width, swarm
from chogori.store import Store
from chogori.swarm.record import Node, tree

TASK_CHARS = 60
SHOWN = 40
"""As many subagents of a stage are listed one by one; of more, only those that did not finish."""


def run_swarm(
    settings: Settings,
    wanted: Wanted,
    width: Width,
    subagent_model: str | None,
    view: View,
    question: str | None,
    files: Sequence[Path],
) -> int:
    """Have a swarm solve one task; returns the exit code."""
    question, attachments = read_question(question, files)

    async def work() -> Answer:
        async with _opened(settings, wanted, width, subagent_model, view) as session:
            return await session.turn(question, attachments)

    answer = asyncio.run(work())
    return ANSWERED if answer.stopped_by == "answer" else BUDGET_ENDED


@asynccontextmanager
async def _opened(
    settings: Settings, wanted: Wanted, width: Width, subagent_model: str | None, view: View
) -> AsyncGenerator[Session]:
    if not wanted.workspace.is_dir():
        raise ConfigError(f"--workspace {wanted.workspace}: there is no such folder")
    async with AsyncExitStack() as stack:
        model = settings.load()
        stack.push_async_callback(model.aclose)
        workers = settings.load(subagent_model) if subagent_model else None
        if workers is not None:
            stack.push_async_callback(workers.aclose)
        store = await stack.enter_async_context(opened_store(settings))
        verbs = await stack.enter_async_context(
            swarm(
                model,
                runs=settings.runs,
                subagent_model=workers,
                width=width,
                workspace=wanted.workspace,
                write=wanted.write,
                unsafe=wanted.unsafe,
                web=wanted.web,
                allow_hosts=wanted.allow_hosts,
                mcp=wanted.mcp,
                allow_read_only=wanted.allow_read_only,
                budget=wanted.budget,
                options=wanted.options,
                approval=wanted.approval,
                context=wanted.context,
                store=store,
            )
        )
        yield Session(verbs, settings, view, person_at_terminal(view), model.profile)


async def lines_of(store: Store, run_id: str) -> list[str]:
    """The subagents of a run as a tree, and what they took; none where it had none."""
    node = await tree(store, run_id)
    if not node.below:
        return []
    return [
        f"{node.run_id}  {len(node.steps)} steps",
        *_branches(node, ""),
        closing(node.report) if node.report else _so_far(node),
    ]


def _so_far(node: Node) -> str:
    """What a run that has no answer has taken."""
    every, critical = node.all_below, node.critical_steps()
    tokens = node.tokens + sum(each.tokens for each in every)
    return (
        f"{len(every)} subagents · {node.all_steps} steps in all · critical steps {critical} "
        f"({node.all_steps / max(1, critical):.1f} times) · "
        f"{sum(each.calls for each in every):,} calls · {tokens:,} tokens"
    )


def _branches(node: Node, indent: str) -> list[str]:
    shown = node.below
    if len(shown) > SHOWN:
        shown = [each for each in shown if each.state != "answered"][:SHOWN]
    lines: list[str] = []
    for each in shown:
        is_last = each is shown[-1] and len(shown) == len(node.below)
        told = f"{each.run_id}  {each.name}  {each.state}  {len(each.steps)} steps  "
        task = one_line(each.task)
        cut = task if len(task) <= TASK_CHARS else f"{task[: TASK_CHARS - 1]}…"
        lines.append(f"{indent}{'└' if is_last else '├'} {told}{each.seconds:.1f} s  {cut}")
        lines += _branches(each, f"{indent}{'  ' if is_last else '│ '}")
    if len(shown) < len(node.below):
        lines.append(f"{indent}└ and {len(node.below) - len(shown)} more that answered")
    return lines


async def pause_all(store: Store, run_id: str) -> int:
    """Have a run and all runs below it that have not ended stop before their next step; how many
    of those there are below."""
    node = await tree(store, run_id)
    under_way = [each for each in node.all_below if each.state in ("running", "unfinished")]
    for id in (run_id, *(each.run_id for each in under_way)):
        await kept.pause(store, id)
    return len(under_way)
