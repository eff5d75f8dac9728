"""`bench/swarm.py` in its smallest form. (The case of a Ray node is in `swarm/test_ray.py`.)"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
sys.path.append(str(BENCH / "swarm"))


def rows(*options: str) -> dict[str, str]:
    """What was measured, by the name of the measure."""
    done = subprocess.run(
        [sys.executable, str(BENCH / "swarm.py"), "--quick", *options],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.partition("\nmeasure ")[2].partition("\n\n")[0]
    lines = [re.split(r"  +", line) for line in table.splitlines()[1:]]
    return {line[0]: line[2] for line in lines}


def test_every_subagent_of_a_fan_answers() -> None:
    told = rows("--only=fan", "--agents=4", "--wide=5")
    assert (told["4 x 15: answered"], told["5 x 13: answered"]) == ("4", "5")
    assert all(float(told[f"{name}: memory of a subagent"].split()[0]) >= 0 for name in
               ("4 x 15", "5 x 13"))  # fmt: skip


def test_a_swarm_that_is_killed_goes_on_and_does_nothing_again() -> None:
    told = rows("--only=kill", "--agents=12")
    [again] = [value for name, value in told.items() if name.endswith("done again")]
    assert (again, told["kill -9: calls lost"], told["kill -9: answered"]) == ("0", "0", "12")


def test_the_mixed_workload_is_what_it_says() -> None:
    from ours_swarm import steps_of

    steps = steps_of(6, 300, 3_900)
    assert (len(steps), sum(steps), min(steps), max(steps)) == (300, 3_900, 2, 100)
    assert sorted(steps)[150] < 13, "most are short"
    assert steps_of(6, 300, 3_900) == steps != steps_of(7, 300, 3_900)


@pytest.mark.slow
def test_what_goes_wrong_costs_itself_alone() -> None:
    told = rows("--only=faults", "--agents=12")
    assert told["10 % of model calls fail: answered"] == "12"
    assert told["5 subagents are never answered: others answered, it is marked"].startswith("7 + 5")
    assert told["a subagent goes in circles: others answered, it is marked"].startswith("11 + 1")


@pytest.mark.slow
def test_an_endpoint_that_refuses_is_found_out() -> None:
    told = rows("--only=rates", "--wide=60", "--seconds=4")
    assert told["limit 20: subagents that finish"] == "60"
