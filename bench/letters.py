"""Forty short letters, read by a swarm and by one agent, with the embedded model.

    python bench/letters.py [--model local] [--seed 1] [--letters 40] [--plan-seconds 240]

"Which company does each come from, and what amount does it ask for?", answered as one table: by
`Swarm.map`, a subagent for each letter; by one agent that is given all of them; and by a swarm
whose orchestrator plans by itself, which is told and not judged. Prints what is wanted and
measured; exits 1 if a measure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chogori import Agent, Swarm, ToolError, load, tool
from chogori.agent import Budget
from chogori.chat import Answer, ChatModel, Options
from chogori.store import Store, open_store
from chogori.swarm.record import tree
from letters_data import Letter, make_letters

WANTED = 0.9
PLAIN = Options(temperature=0.0, stream=False, max_tokens=400)
ROW_TOKENS = 48
"""What a row of the single agent's table may take: a small model may not know when to end."""
READER = "You read letters. You copy names and amounts exactly as they are written."
COLUMNS = ("written to", "written by", "amount to pay now")
"""Who it is written to is asked first, or a small model takes them for the writer."""
TEMPLATE = (
    "A letter:\n\n{item}\n\nWhich company is this letter written to, which company wrote and "
    "signed it, and what amount does it ask to be paid now?"
)
TABLE = (
    "Here are {count} letters.\n\n{letters}\n\nFor each letter: which company is it written to, "
    "which company wrote and signed it, and what amount does it ask to be paid now? Answer with "
    "one line for each letter, all {count} of them, in the form: "
    "number | written to | written by | amount to pay now"
)
PLANNED = (
    "There are {count} letters, numbered from 1 to {count}; read_letter reads one. Find out for "
    "each which company wrote it (not the one it is written to), and what amount it asks to be "
    "paid now. Have subagents do it, and give one table of all {count}: number | company | amount"
)


@dataclass(slots=True)
class Read:
    """What came of one way."""

    name: str
    rows: Sequence[tuple[int, str, str]]
    """The number of a letter, a company, an amount."""
    seconds: float
    told: str

    def right(self, letters: Sequence[Letter]) -> int:
        """Letters with the right company and amount; of one that comes twice, the first row."""
        first = {number: (company, amount) for number, company, amount in reversed(self.rows)}
        return sum(letter.is_right(*first.get(n, ("", ""))) for n, letter in enumerate(letters, 1))

    def once(self, letters: Sequence[Letter]) -> int:
        """Letters that appear exactly once."""
        times = Counter(number for number, _, _ in self.rows)
        return sum(times[number] == 1 for number in range(1, len(letters) + 1))


async def by_swarm(model: ChatModel, letters: Sequence[Letter], store: Store) -> Read:
    """A subagent for each letter, without anybody who plans."""
    swarm = Swarm(Agent(model, options=PLAIN, store=store), shared_folder=False, roles=())
    began = time.perf_counter()
    table = await swarm.map(
        TEMPLATE,
        [letter.text for letter in letters],
        columns=COLUMNS,
        agent="reader",
        system_prompt=READER,
        run_id="map",
    )
    seconds = time.perf_counter() - began
    rows = [
        (number, str(row.values[COLUMNS[1]]), str(row.values[COLUMNS[2]]))
        for number, row in enumerate(table.rows, 1)
    ]
    node = await tree(store, "map")
    return Read(
        "Swarm.map", rows, seconds, f"{node.all_steps} steps, {node.critical_steps()} critical"
    )


async def by_one_agent(model: ChatModel, letters: Sequence[Letter], store: Store) -> Read:
    """One that is given all letters at once."""
    listed = "\n\n".join(f"--- Letter {n}\n{letter.text}" for n, letter in enumerate(letters, 1))
    options = replace(PLAIN, max_tokens=ROW_TOKENS * len(letters) + 100)
    agent = Agent(model, instructions=READER, options=options, store=store)
    began = time.perf_counter()
    answer = await agent.run(TABLE.format(count=len(letters), letters=listed), run_id="one")
    told = f"{answer.steps} steps, {answer.usage.prompt:,} tokens read"
    return Read("one agent", rows_in(answer.text), time.perf_counter() - began, told)


async def by_plan(
    model: ChatModel, letters: Sequence[Letter], store: Store, seconds: float
) -> Read:
    """A swarm whose orchestrator is the embedded model too."""

    @tool(effect="pure")
    async def read_letter(number: int) -> str:
        """Read the letter of this number."""
        if not 1 <= number <= len(letters):
            raise ToolError(f"there are letters 1 to {len(letters)}")
        return letters[number - 1].text

    lead = Agent(model, options=PLAIN, store=store, budget=Budget(steps=20, seconds=seconds))
    swarm = Swarm(lead, subagent_tools=[read_letter], maps=True, shared_folder=False,
                  subagent_budget=Budget(steps=6))  # fmt: skip
    began = time.perf_counter()
    answer: Answer = await swarm.run(PLANNED.format(count=len(letters)), run_id="plan")
    node = await tree(store, "plan")
    told = (f"{len(node.all_below)} subagents, {node.all_steps} steps, {node.critical_steps()} "
            f"critical, ended by {answer.stopped_by}")  # fmt: skip
    return Read("orchestrator", rows_in(answer.text), time.perf_counter() - began, told)


def rows_in(text: str) -> list[tuple[int, str, str]]:
    """The rows of a table that a model wrote."""
    rows: list[tuple[int, str, str]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        number = re.search(r"\d+", cells[0])
        if len(cells) >= 3 and number:
            rows.append((int(number[0]), cells[-2], cells[-1]))
    return rows


async def measured(options: argparse.Namespace) -> list[Read]:
    letters, found = make_letters(options.seed, options.letters), list[Read]()
    model: Any = load(options.model, context_tokens=16_384)
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder)) as store:
            await Agent(model, options=PLAIN).run("Say yes.")  # reads the weights
            for work in (
                by_swarm(model, letters, store),
                by_one_agent(model, letters, store),
                by_plan(model, letters, store, options.plan_seconds),
            ):
                read = await work
                found.append(read)
                right, once = read.right(letters), read.once(letters)
                print(f"{read.name:<14}{right:>3} of {len(letters)} right, {once} appear exactly "
                      f"once, {read.seconds:.0f} s; {read.told}", flush=True)  # fmt: skip
                if options.verbose:
                    print_wrong(read, letters)
    await model.aclose()
    return found


def print_wrong(read: Read, letters: Sequence[Letter]) -> None:
    """Each row that is not what its letter says."""
    for number, company, amount in read.rows:
        if not 1 <= number <= len(letters):
            print(f"    there is no letter {number}")
        elif not (letter := letters[number - 1]).is_right(company, amount):
            said = f"{letter.company} | {letter.cents / 100:.2f}"
            print(f"    {number}: {company} | {amount}; the letter says {said}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Forty letters, read by many and by one.")
    parser.add_argument("--model", default="local")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--letters", type=int, default=40)
    parser.add_argument("--plan-seconds", type=float, default=240.0)
    parser.add_argument("--verbose", action="store_true", help="show every row that is wrong")
    options = parser.parse_args()
    print(f"chogori {version('chogori')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    swarm, single, _ = asyncio.run(measured(options))
    letters = make_letters(options.seed, options.letters)
    count, least = len(letters), round(WANTED * len(letters))
    right, alone, once = swarm.right(letters), single.right(letters), swarm.once(letters)
    all_met = True
    for name, wanted, told, met in (
        ("rows of Swarm.map that are right", f">= {least}", str(right), right >= least),
        ("and of one agent", f"<= {right}", str(alone), alone <= right),
        ("letters that appear exactly once", str(count), str(once), once == count),
    ):
        all_met &= met
        print(f"{name:<36}{wanted:<10}{told:<10}{'met' if met else 'MISSED'}")
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
