"""No attack gets out, whichever launcher confines it and whoever started it.

What Landlock cannot do is listed exactly, so that an improvement fails these tests as a hole does.
"""

import json
import platform
from typing import Any

import pytest
from sandbox_attacks import NAMED
from sandbox_harness import BWRAPS, IDENTITIES, ROOT_ON_OVERLAY, drive

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the attacks call the kernel by x86_64 numbers"
)

MANY = "import os, time\nfor _ in range(60): os.fork() or time.sleep(30)\ntime.sleep(30)"
LANDLOCK_ALLOWS = {"stat_secret", "guess_processes", "fill_tmp"}


def attack(launcher: str, identity: str, **facts: Any) -> dict[str, dict[str, str]]:
    outcome = drive(launcher, identity, attack=True, **facts)
    assert outcome["exit_code"] == 0, outcome["output"]
    return json.loads(outcome["output"])


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("launcher", BWRAPS)
def test_nothing_gets_out_of_bubblewrap(launcher: str, identity: str) -> None:
    result = attack(launcher, identity)
    assert result["escaped"] == {}
    assert set(result["blocked"]) == set(NAMED)


@pytest.mark.parametrize("identity", [ROOT_ON_OVERLAY])
@pytest.mark.parametrize("launcher", BWRAPS)
def test_where_files_cannot_be_mapped_only_the_kernel_count_of_processes_is_lost(
    launcher: str, identity: str
) -> None:
    assert attack(launcher, identity, spare_forks=True)["escaped"] == {}
    assert drive(launcher, identity, argv=["python3", "-c", MANY])["killed_by_processes"]


def test_nothing_gets_out_of_landlock_but_what_it_cannot_hold() -> None:
    result = attack("landlock", "user")
    assert set(result["escaped"]) == LANDLOCK_ALLOWS
    assert set(result["blocked"]) == set(NAMED) - LANDLOCK_ALLOWS


@pytest.mark.parametrize("identity", [IDENTITIES[0]])
def test_landlock_as_root_leaves_the_number_of_processes_to_the_watchdog(identity: str) -> None:
    result = attack("landlock", identity, spare_forks=True)
    assert set(result["escaped"]) == LANDLOCK_ALLOWS
    assert drive("landlock", identity, argv=["python3", "-c", MANY])["killed_by_processes"]


def test_without_a_sandbox_the_attacks_do_get_through() -> None:
    escaped = attack("unsafe", "user", spare_forks=True)["escaped"]
    holes = {"connect_tcp", "connect_abstract_socket", "connect_file_socket", "read_secret"}
    assert holes | {"write_workspace", "list_processes", "signal_host"} <= set(escaped)
    assert "secret_in_environment" not in escaped
