"""One swarm through one case, in a process of its own; prints what it cost as one line of JSON.

    python bench/swarm/ours_swarm.py --server URL --folder DIR --agents 100 --calls 15 ...

The orchestrator assigns all tasks in its first turn and answers in its second, each after as long
as any model here takes. With `--single` one agent makes all the calls instead.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "agents"))

from meter import MODEL, RESULT_CHARS, _status_mb
from passages import passage

from chogori import Agent, connect, tool
from chogori.agent import Budget
from chogori.agent.run import new_run_id
from chogori.apps.collector import collect_seldom
from chogori.chat import Answer, Options, Reply, ScriptedModel, ToolCall, ToolContext, assistant
from chogori.store import Store, open_store
from chogori.swarm import Swarm

UNLIMITED = Budget(steps=10_000, tokens=10**9)


def steps_of(seed: int, agents: int, calls: int) -> list[int]:
    """How many calls each of the mixed workload makes: 2 to 100, most of them few."""
    chance = random.Random(seed)
    drawn = [min(100, max(2, int(chance.lognormvariate(2.05, 0.95)))) for _ in range(agents)]
    drawn[chance.randrange(agents)] = 100
    while (missing := calls - sum(drawn)) != 0:
        at, step = chance.randrange(agents), 1 if missing > 0 else -1
        if 2 <= drawn[at] + step < 100:
            drawn[at] += step
    return drawn


def prompts_of(options: argparse.Namespace) -> list[str]:
    """The tasks."""
    told = [f"Task {n}." for n in range(options.agents)]
    for n in range(options.silent):
        told[n] += " SILENT"
    for n in range(options.loops):
        told[-1 - n] += " LOOP"
    return told


def lead(options: argparse.Namespace, prompts: list[str]) -> ScriptedModel:
    """The orchestrator's model."""
    calls = [
        ToolCall(f"a{n}", "assign_task", json.dumps({"agent": "writer", "prompt": prompt}))
        for n, prompt in enumerate(prompts)
    ]
    seconds = options.model_ms / 1000
    first = Reply(message=assistant(calls=calls), delay_seconds=seconds)
    return ScriptedModel([first, Reply(message=assistant("done"), delay_seconds=seconds)])


def lookup_tool(options: argparse.Namespace) -> Any:
    """Takes a while, returns 2 KB that nobody has seen before, and notes that it was called."""
    numbers = iter(range(10**9))

    @tool(effect="idempotent")
    async def lookup(key: str, context: ToolContext) -> str:
        """Look up a key."""
        await asyncio.sleep(options.tool_ms / 1000)
        if options.notes:
            with options.notes.open("ab", buffering=0) as file:
                file.write(f"{context.run_id} {key}\n".encode())
        return f"@@OUT@@ {key} {passage(next(numbers), RESULT_CHARS)}"[:RESULT_CHARS]

    return lookup


async def run(options: argparse.Namespace, store: Store) -> Answer:
    """The answer of the swarm, or of the single agent."""
    calls = options.agents * options.calls if options.single else options.calls
    model = connect(f"{options.server}/n{calls}/l{options.model_ms}/v1#{MODEL}")
    whole, plain = lookup_tool(options), Options(stream=False)
    if options.single:
        agent = Agent(model, [whole], budget=UNLIMITED, options=plain, store=store)
        answer = await agent.run("go", run_id=options.run)
    else:
        seconds = options.deadline or None
        swarm = Swarm(
            Agent(
                lead(options, prompts_of(options)),
                budget=Budget(steps=100, calls=options.most_calls or None),
                options=plain,
                store=store,
            ),
            model,
            [whole],
            width=options.width or min(300, options.agents),
            subagent_budget=Budget(steps=200, seconds=seconds),
            roles=[_worker()],
            shared_folder=False,
        )
        answer = await _answer(swarm, options)
    await model.aclose()
    return answer


def _worker() -> Any:
    from chogori.swarm import Role

    return Role("writer", "Be good.")


async def _answer(swarm: Swarm, options: argparse.Namespace) -> Answer:
    if not options.resume:
        return await swarm.run("Do all of it.", run_id=options.run)
    async for event in swarm.resume(options.run):
        if isinstance(event, Answer):
            return event
    raise AssertionError("a run that is resumed comes to an answer")


async def mapped(options: argparse.Namespace, store: Store) -> int:
    """The mixed workload, in the order drawn; how many came to their own end."""
    steps = steps_of(options.seed, options.agents, options.agents * options.calls)
    model = connect(f"{options.server}/n1/l{options.model_ms}/v1#{MODEL}")
    swarm = Swarm(
        Agent(model, options=Options(stream=False), store=store),
        subagent_tools=[lookup_tool(options)],
        width=options.width,
        subagent_budget=Budget(steps=200),
        shared_folder=False,
    )
    table = await swarm.map(
        "Do {item}",
        [f"task {n}: CALLS={count}" for n, count in enumerate(steps)],
        agent="worker",  # no ready role: it is given the tool
        system_prompt="Be good.",
        lengths=steps if options.lengths else (),
        run_id=options.run,
    )
    await model.aclose()
    return sum(row.ended == "answer" for row in table.rows)


async def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What it cost."""
    options.run = options.run or new_run_id()
    async with open_store(options.folder) as store:
        gc.collect()
        before, cpu, began = _status_mb("VmRSS"), time.process_time(), time.perf_counter()
        if options.mixed:
            done = await mapped(options, store)
            return {"seconds": time.perf_counter() - began, "done": done}
        answer = await run(options, store)
        seconds = time.perf_counter() - began
        return {
            "seconds": seconds,
            "cpu_seconds": time.process_time() - cpu,
            "text": answer.text,
            "stopped_by": answer.stopped_by,
            "report": dict(getattr(answer, "report", None) or {}),
            "before_mb": before,
            "peak_mb": _status_mb("VmHWM"),
            "messages": [m.text for m in answer.conversation if m.role == "tool"]
            if options.tell
            else [],
            "versions": {name: version(name) for name in ("chogori", "aiohttp", "orjson")},
            "load": os.getloadavg()[0],
        }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One swarm, one case.")
    parser.add_argument("--server", required=True, help="http://127.0.0.1:PORT")
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--notes", type=Path, help="a file to note every call of the tool in")
    parser.add_argument("--run", help="the id of the run")
    for name, default in (
        *(("agents", 100), ("calls", 15), ("model-ms", 50), ("tool-ms", 20), ("width", 0)),
        *(("seed", 6), ("silent", 0), ("loops", 0), ("most-calls", 0), ("deadline", 0)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("single", "mixed", "lengths", "resume", "tell"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    collect_seldom()
    print(json.dumps(asyncio.run(measured(parsed()))), flush=True)
