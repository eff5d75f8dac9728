"""A swarm in a process of its own, which ends itself with SIGKILL after so many deeds.

python swarm_child.py FOLDER DEEDS [resume]
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from swarm_harness import RUN, answered, assign, create, scripted, swarm, works

from chogori.chat import ToolCall, tool
from chogori.store import open_store

SUBAGENTS, STEPS = 100, 4


def steps(task: str) -> int:
    return 1 + int(task.split()[1]) % STEPS


def stages() -> list[list[ToolCall]]:
    half = SUBAGENTS // 2
    return [
        [create()],
        [assign(f"item {number}") for number in range(half)],
        [assign(f"item {number}") for number in range(half, SUBAGENTS)],
    ]


async def main(folder: Path, most: int) -> None:
    deeds = (folder / "deeds").open("a")

    @tool(effect="once", approval=False)
    async def act(key: str) -> str:
        """Act."""
        await asyncio.sleep(0.002)
        deeds.write(f"{key}\n")
        deeds.flush()
        if len((folder / "deeds").read_text().splitlines()) >= most:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"did {key}"

    async with open_store(folder / "store") as store:
        whole = swarm(scripted(stages(), works(steps, "act")), [act], store=store)
        resumes = len(sys.argv) > 3
        events = whole.resume(RUN) if resumes else whole.stream("Go.", run_id=RUN)
        answer = await answered(events)
    report = {name: answer.report[name] for name in ("subagents", "steps", "critical_steps")}
    print(answer.text, report, sep="\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
