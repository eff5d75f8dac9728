"""`chogori keys` and `chogori usage`, through the real command, beside a service that runs."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cli_harness import Cli

from chogori.api.platform import Caller, Credentials, Demand, Gate, Metered, Refused
from chogori.chat import Usage
from chogori.errors import LeaseHeld
from chogori.presets.platform import open_platform


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_a_key_is_shown_once_and_then_known_by_its_id(cli: Cli) -> None:
    made = cli.run("keys", "create", "web", "--model", "local", "--expires", "30d")
    key = made.stdout.strip()
    id = key.split("-")[2]
    assert made.stderr == f"the key {id} is shown this once: only a digest of it is kept\n"
    cli.told("keys", "rotate", id, "--grace", "1h", "--json")
    listed = json.loads(cli.run("keys", "list", "--json").stdout)
    assert [(each["name"], each["models"]) for each in listed] == [("web", ["local"])] * 2
    assert 3_590 <= listed[0]["expires_at"] - time.time() <= 3_600
    assert key not in cli.run("keys", "list").stdout
    assert id in cli.run("keys", "list").stdout
    assert cli.run("keys", "revoke", id).stderr == f"revoked {id}\n"
    assert all(key.split("-")[3].encode() not in data for data in cli.files().values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "create", "--scope", "root"), "there is no scope root"),
        (("keys", "create", "--expires", "soon"), "expected a number with s, m, h or d"),
        (("keys", "revoke", "nobody"), "there is no key nobody; see: chogori keys list"),
        (("keys", "limit", "--tier", "free"), "to set limits, name whose"),
        (("keys", "limit", "--organisation", "x", "--tier", "free"), "there is no organisation x"),
        (("keys", "topup", "default", "1.0000001"), "six decimals at most"),
        (("keys", "price", "m", "--input", "1"), "an --input and an --output"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(
    cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    done = cli.run(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


async def test_a_service_that_runs_learns_what_a_command_does(cli: Cli) -> None:
    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(cli.run, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    async with open_platform(cli.data) as platform:
        gate = platform.gate
        assert platform.first_key is not None
        key = await run("keys", "create")
        first, caller = [await _identified(gate, text) for text in (platform.first_key, key)]
        running = await gate.admit(caller, Demand("request", "kimi-k2.5", 1_000, 1_000))
        others = await gate.admit(first, Demand("other", "kimi-k2.5", 1_000, 1_000))
        await run("keys", "topup", "default", "12.50")
        await run("keys", "revoke", caller.key_id)
        async with asyncio.timeout(30):
            await running.revoked.wait()
        assert not others.revoked.is_set()
        metered = Metered(Usage(1_000, 500, 0, 400), "cut", 2.0, 0.5)
        assert await running.settle(metered) == 360 + 40 + 1_500
        balance = await gate.balance(caller)
        assert balance is not None
        assert balance.cash == 12_500_000 - 1_900
        [[row]] = [json.loads(await run("usage", "--json"))]
        assert (row["model"], row["requests"], row["microdollars"]) == ("kimi-k2.5", 1, 1_900)
        assert "$0.0019" in await run("usage", "--by", "key")
        assert "$12.4981" in await run("keys", "balance")
        told = await run("keys", "audit")
        assert "the ledger is balanced" in told
        assert "revoke key" in told


async def _identified(gate: Gate, key: str) -> Caller:
    """Whose key it is, as soon as the service has heard of it."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Refused):
                return await gate.identify(Credentials(key, "127.0.0.1"))
            await asyncio.sleep(0.01)


async def test_only_one_service_runs_in_a_folder(cli: Cli) -> None:
    async with open_platform(cli.data) as platform:
        assert platform.first_key is not None
        with pytest.raises(LeaseHeld, match="service is driven by process"):
            async with open_platform(cli.data):
                pass
    async with open_platform(cli.data) as platform:
        assert platform.first_key is None, "it was shown already"
