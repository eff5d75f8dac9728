"""A swarm on a Ray of two nodes, one of which is killed while its subagents are at work.

    python bench/swarm/ray_node.py [--agents 12] [--calls 6] [--model URL#MODEL] [--kill]

Prints one line of JSON: what was answered, what was called how often, and whose process was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VARIABLES = {
    "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_TMPDIR": "/tmp",
}


def script(folder: Path, calls: int, model_ms: int) -> str:
    """What a subagent's model says: `calls` calls in a row, then what it saw last."""
    path = folder / "subagent.jsonl"
    seconds = model_ms / 1000
    replies: list[dict[str, Any]] = [
        {"calls": [{"name": "look", "arguments": {"key": f"k{n}"}, "id": f"c{n}"}],
         "delay_seconds": seconds} for n in range(calls)
    ]  # fmt: skip
    replies.append({"content": "done", "delay_seconds": seconds})
    path.write_text("".join(json.dumps(reply) + "\n" for reply in replies))
    return f"scripted:{path}"


def cluster() -> tuple[Any, Any]:
    """A head, where the orchestrator is, and a second node; small, and on this machine alone."""
    from ray.cluster_utils import Cluster

    size: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    return made, made.add_node(**size)


async def run(folder: Path, options: argparse.Namespace, kill: Callable[[], None]) -> Any:
    """A table of as many subagents, with `kill` called while the second node is at work."""
    import ray_tools

    from chogori import Agent
    from chogori.chat import Options
    from chogori.store import open_store
    from chogori.swarm import Swarm
    from chogori.swarm.ray import RayExecutor

    executor = RayExecutor(folder, load="ray_tools:load_model", task_options={"num_cpus": 0.5})
    async with open_store(folder) as store:
        spec = options.model or script(folder, options.calls, options.model_ms)
        model = ray_tools.load_model(spec)
        lead = Agent(model, store=store, options=Options(stream=False))
        swarm = Swarm(lead, subagent_tools=[ray_tools.look], executor=executor, shared_folder=False)
        items = [f"item {n}" for n in range(options.agents)]
        mapping = asyncio.create_task(swarm.map("Look at {item}.", items, system_prompt="Look."))
        if options.kill:
            while not _is_time(options) and not mapping.done():
                await asyncio.sleep(0.02)
            await asyncio.to_thread(kill)
        table = await mapping
    await executor.aclose()
    return table


def _is_time(options: argparse.Namespace) -> bool:
    """Whether a call is under way on the node that is to be lost, and some work is done."""
    import ray_tools

    told, doomed = ray_tools.notes(), ray_tools.doomed()
    is_held = any(line["node"] == doomed and line["key"] == ray_tools.HELD for line in told)
    return is_held and len(told) >= options.agents * options.calls // 4


def main() -> None:
    parser = argparse.ArgumentParser(description="A swarm on a Ray of two nodes.")
    parser.add_argument("--agents", type=int, default=12)
    parser.add_argument("--calls", type=int, default=6)
    parser.add_argument("--model-ms", type=int, default=50)
    parser.add_argument("--model", help="an endpoint in place of the script")
    parser.add_argument("--kill", action="store_true", help="kill the second node in the middle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(VARIABLES | {"CHOGORI_BENCH_NOTES": str(folder / "notes")})
        import ray
        import ray_tools

        logging.getLogger("ray").setLevel(logging.ERROR)
        nodes, second = cluster()
        if options.kill:
            ray_tools.doom(second.node_id)
        began = time.perf_counter()
        try:
            ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
            table = asyncio.run(
                run(folder, options, lambda: nodes.remove_node(second, allow_graceful=False))
            )
            seconds = time.perf_counter() - began
        finally:
            ray.shutdown()
            nodes.shutdown()
        told = ray_tools.notes()
        calls = Counter((line["run"], line["key"]) for line in told)
        print(json.dumps({
            "agents": options.agents,
            "answered": sum(row.ended == "answer" and row.message == "done" for row in table.rows),
            "seconds": round(seconds, 2),
            "calls": len(calls),
            "repeated": sum(calls.values()) - len(calls),
            "keys": len({line["idempotency"] for line in told}),
            "nodes": len({line["node"] for line in told}),
            "moved": sum(
                len({line["node"] for line in told if line["run"] == run}) > 1
                for run in {line["run"] for line in told}
            ),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
