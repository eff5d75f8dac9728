"""A program that serves until it is killed, and says which requests were delivered.

    service_child.py FOLDER TASKS

Each task asks again and again; a line with the id of a request is printed after it was settled, as
a server would send the last byte then. One task changes prices and balances meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
from pathlib import Path

from service_harness import MODEL, metered

from chogori.api.platform import Caller, Credentials, Demand
from chogori.presets.platform import Platform, open_platform
from chogori.service import Price


async def ask(platform: Platform, caller: Caller) -> None:
    while True:
        demand = Demand(secrets.token_hex(8), MODEL, 100, 100)
        admission = await platform.gate.admit(caller, demand)
        await asyncio.sleep(random.random() / 100)
        await admission.settle(metered(random.randint(0, 100), random.randint(0, 100)))
        print(demand.request_id, flush=True)


async def decide(platform: Platform) -> None:
    while True:
        await platform.administration.top_up("default", 1_000_000)
        price = Price(MODEL, random.random(), random.randint(0, 10**6), 0, random.randint(0, 10**7))
        await platform.administration.set_price(price)
        await asyncio.sleep(0.02)


async def main(folder: Path, tasks: int) -> None:
    async with open_platform(folder) as platform:
        made = await platform.administration.rotate_key(
            (await platform.administration.list_keys())[-1].id
        )
        while True:  # the service hears of the key by itself
            try:
                caller = await platform.gate.identify(Credentials(made.text, "127.0.0.1"))
                break
            except Exception:
                await asyncio.sleep(0.01)
        print("ready", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(decide(platform))
            for _ in range(tasks):
                group.create_task(ask(platform, caller))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
