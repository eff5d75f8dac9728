"""A swarm: python examples/swarm.py [SPEC]

First the orchestrator plans by itself; then the same task for many items at once, as a table. Each
subagent has a run of its own below the orchestrator's, kept in the store.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import chogori
from chogori.store import open_store

LETTERS = {
    "letter 1": "Rice & Sons ask for 12 pounds.",
    "letter 2": "Tea Ltd asks for 30 pounds.",
}


@chogori.tool(effect="pure")
def read_letter(name: str) -> str:
    """Read a letter."""
    if name not in LETTERS:
        raise chogori.ToolError(f"there is no {name}; there are: {', '.join(LETTERS)}")
    return LETTERS[name]


async def main(spec: str) -> None:
    with TemporaryDirectory() as folder:
        async with open_store(Path(folder)) as store:
            agent = chogori.Agent(chogori.load(spec), [read_letter], store=store)
            swarm = chogori.Swarm(agent, width=100)
            answer = await swarm.run("Who asks for most, in letter 1 and letter 2?")
            print(answer.text)
            print(f"critical steps: {answer.report['critical_steps']:.0f}")
            table = await swarm.map(
                "Read {item}. Who writes, and how much do they ask for?",
                list(LETTERS),
                columns=["company", "pounds"],
            )
            print(table.csv())


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "local"))
