"""`chogori runs plot`, through the real command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_harness import Cli

PNG = b"\x89PNG\r\n"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.run("ask", "-q", "--model", made.script({"content": "Yes."}), "Is it so?")
    return made


def test_a_run_is_drawn_into_both_formats_and_into_one_that_is_named(cli: Cli) -> None:
    id = cli.kept()[0]["run_id"]
    both, one = cli.work / "picture", cli.work / "named.svg"
    done = cli.run("runs", "plot", "last", "--out", str(both))
    assert done.stdout.split() == [f"{both}.png", f"{both}.svg"], done.stderr
    assert both.with_suffix(".png").read_bytes().startswith(PNG)
    assert id in both.with_suffix(".svg").read_text()
    assert cli.run("runs", "plot", id, "--out", str(one)).returncode == 0
    assert one.read_bytes().startswith(b"<?xml")


def test_what_cannot_be_drawn_is_said_in_a_sentence(cli: Cli) -> None:
    done = cli.run("runs", "plot", "last", "--out", str(cli.work / "no" / "where.png"))
    assert done.returncode != 0
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert cli.run("runs", "plot", "nothing").returncode != 0


def test_without_matplotlib_it_is_said_what_to_install(cli: Cli) -> None:
    code = (
        "import sys; sys.modules['matplotlib.figure'] = sys.modules['matplotlib'] = None\n"
        f"sys.argv[1:] = ['runs', 'plot', 'last', '--data', {str(cli.data)!r}]\n"
        "import chogori.apps.cli; chogori.apps.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "pip install 'chogori[tools]'" in done.stderr
    assert "Traceback" not in done.stderr
