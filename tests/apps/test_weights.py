"""`models inspect`, `logits`, `quantize`: the real command on small checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_harness import Cli

from chogori.engine.k2 import NANO
from chogori.model import load, nano, save
from reference.drawn_networks import drawn


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_inspect_says_what_a_checkpoint_is(cli: Cli) -> None:
    done = cli.run("models", "inspect", str(NANO))
    assert "parameters   2,976,960, of which 1,797,312 are active" in done.stdout
    assert "288 bytes of cache a token" in done.stdout
    told = json.loads(cli.run("models", "inspect", "k2:nano", "--json").stdout)
    assert (told["parameters"], told["format"], told["has_weights"]) == (2_976_960, "int4", True)
    assert sum(component["bytes"] for component in told["components"].values()) == told["bytes"]


def test_inspect_refuses_what_is_no_checkpoint(cli: Cli) -> None:
    done = cli.run("models", "inspect", str(cli.work))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no checkpoint: it has no config.json" in done.stderr
    assert "there is no folder nowhere" in cli.run("models", "inspect", "nowhere").stderr


def test_logits_are_those_of_the_network(cli: Cli) -> None:
    expected = load(NANO, dtype=torch.float32).next_logits(torch.tensor([[1, 2, 3]]))[0]
    done = cli.run("logits", "k2:nano", "--ids", "1,2,3", "--json")
    found = torch.tensor(json.loads(done.stdout))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    likeliest = cli.run("logits", "k2:nano", "--ids", "1,2,3").stdout.splitlines()[1].split()
    assert int(likeliest[0]) == int(expected.argmax())


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--ids", "1,x"), 1, "--ids is '1,x'; expected token ids such as 1,2,3"),
        (("--ids", "4096"), 1, "there is no token 4096: ids go from 0 to 4,095"),
        (("--ids", "1", "--dtype", "int4"), 1, "expected float32 or bfloat16"),
        (("--ids", "1", "--memory", "1KB"), 1, "1.0 KB of memory are too little"),
        (("--ids", "1", "--memory", "much"), 2, "'much' is no amount of memory"),
    ],
)
def test_wrong_options_are_told(cli: Cli, options: tuple[str, ...], code: int, said: str) -> None:
    done = cli.run("logits", "k2:nano", *options)
    assert done.returncode == code
    assert said in done.stderr


def test_quantize_writes_a_checkpoint_and_never_over_another(cli: Cli) -> None:
    save(drawn(nano(), 0), cli.work / "source")
    made = cli.run("quantize", "source", "made", "--rule", "absmax/7")
    assert (made.returncode, made.stdout) == (0, "made is whole\n")
    assert cli.run("logits", "k2:made", "--ids", "1").returncode == 0
    again = cli.run("quantize", "source", "made")
    assert again.returncode == 1
    assert "is not written over" in again.stderr
    other = cli.run("quantize", "source", "other", "--rule", "absmax")
    assert "there is no rule 'absmax'; there are: absmax/7.5, absmax/7" in other.stderr
