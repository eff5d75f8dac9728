"""Laws of a service that is killed: what was delivered is paid, once, and nothing is held."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import service_child
from service_harness import world

from chogori.service.ledger import unbilled


def killed(folder: Path, lines: int) -> list[str]:
    """Serve, kill after so many requests were delivered; returns those that were."""
    program = [sys.executable, service_child.__file__, str(folder), "8"]
    environ = {"PYTHONPATH": str(Path(service_child.__file__).parent)}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        told = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        told += list(child.stdout)
    return [line.strip() for line in told if line.endswith("\n")]


async def wrong(folder: Path, delivered: list[str]) -> list[str]:
    """What is not as it must be once the service has been killed."""
    async with world(folder) as here:
        missing = await here.store.read(lambda tx: unbilled(tx, delivered))
        audited = await here.administration.audit()
        assert audited.verdict is not None
        broken = [audited.verdict.problem] if audited.verdict.problem else []
        assert here.service.purse.held == 0
        return missing + audited.problems + broken


@pytest.mark.parametrize("seed", range(2))
async def test_what_was_delivered_before_a_kill_is_billed_once_and_nothing_is_held_after(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    delivered: list[str] = []
    for _ in range(2):  # the second one goes on after the first
        delivered += killed(tmp_path, chance.randint(0, 100))
        assert await wrong(tmp_path, delivered) == []
