"""What the doctor says of machines of every kind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cli_harness import Cli

from api.endpoint import serving
from api.probed import Probed
from chogori.apps.doctor import Check, examine
from chogori.apps.settings import Settings, read_settings
from chogori.toolbox.sandbox import Bwrap, Landlock, Probe

BWRAP = Bwrap(Path("/usr/bin/bwrap"))


def checks(
    tmp_path: Path,
    *probes: Probe,
    lacking: tuple[str, ...] = (),
    model: str = "scripted:x",
) -> dict[str, Check]:
    found = examine(
        Settings(data=tmp_path / "data", model=model),
        probes=lambda: probes,
        has=lambda module: module not in lacking,
        models=tmp_path / "models",
    )
    return {check.name: check for check in found}


def test_what_is_there_needs_no_mending(tmp_path: Path) -> None:
    found = checks(tmp_path, Probe(BWRAP, None))
    assert found["sandbox"].state == "ok"
    assert found["sandbox"].mend == ""
    assert not [check for check in found.values() if check.state == "missing"]
    assert not (tmp_path / "data").exists(), "looking changes nothing"


def test_the_fallback_is_good_enough_and_the_better_one_is_offered(tmp_path: Path) -> None:
    check = checks(tmp_path, Probe(BWRAP, "no\nnamespaces"), Probe(Landlock(), None))["sandbox"]
    assert check.state == "ok"
    assert "landlock" in check.found.lower()
    assert "no" in check.found
    assert check.mend


def test_without_a_sandbox_ask_cannot_work_and_both_ways_are_told(tmp_path: Path) -> None:
    check = checks(tmp_path, Probe(Landlock(), "the kernel is too old"))["sandbox"]
    assert check.state == "missing"
    assert "the kernel is too old" in check.found
    assert "sudo apt-get install bubblewrap" in check.mend
    assert "pip install 'chogori[sandbox]'" in check.mend
    assert checks(tmp_path)["sandbox"].state == "missing"


@pytest.mark.parametrize(
    ("model", "state"),
    [("local", "missing"), ("gguf:x", "missing"), ("https://h/v1#m", "optional")],
)
def test_the_engine_is_needed_for_embedded_models_alone(
    tmp_path: Path, model: str, state: str
) -> None:
    found = checks(tmp_path, Probe(BWRAP, None), lacking=("xllamacpp",), model=model)
    assert found["embedded engine"].state == state
    assert "chogori[local]" in found["embedded engine"].mend


def test_the_model_that_ask_would_use_is_needed(tmp_path: Path) -> None:
    found = checks(tmp_path, Probe(BWRAP, None), model="local")
    assert found["model local"].state == "missing"
    assert found["model local"].mend == "chogori models pull local"
    assert found["model smollm2"].state == "optional"


def test_a_damaged_model_is_told_from_one_that_is_not_here(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    found = checks(tmp_path, Probe(BWRAP, None), model="smollm2")
    assert found["model smollm2"].state == "missing"
    assert "truncated" in found["model smollm2"].found


def test_missing_extras_are_told_with_their_command(tmp_path: Path) -> None:
    found = checks(tmp_path, Probe(BWRAP, None), lacking=("sympy", "mcp"))
    assert found["libraries for python"].found == "without sympy"
    assert "chogori[tools]" in found["libraries for python"].mend
    assert "chogori[mcp]" in found["MCP servers"].mend


def test_a_data_folder_that_others_can_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    check = checks(tmp_path, Probe(BWRAP, None))["data folder"]
    assert check.mend == f"chmod 700 {tmp_path / 'data'}"


def test_a_data_folder_that_cannot_be_made_is_missing(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert checks(tmp_path, Probe(BWRAP, None))["data folder"].state == "missing"


def test_the_command_says_what_is_missing_and_exits_1(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    done = cli.run("doctor")
    assert done.returncode == 1
    assert "→ chogori models pull local" in done.stdout
    assert "chogori ask needs:" in done.stdout
    told = json.loads(cli.run("doctor", "--json").stdout)
    assert {"name", "state", "found", "mend"} == set(told[0])


def test_settings_come_from_options_then_from_the_environment(tmp_path: Path) -> None:
    environ = {"XDG_DATA_HOME": "/x", "CHOGORI_MODEL": "smollm2", "CHOGORI_API_KEY": "secret"}
    settings = read_settings(environ)
    assert (settings.data, settings.model) == (Path("/x/chogori"), "smollm2")
    assert "secret" not in repr(settings)
    assert read_settings(environ, model="local", data=tmp_path).model == "local"
    assert read_settings({}).model == "local"


async def test_an_endpoint_is_asked_what_it_does_with_us(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    async with serving(respond=Probed(reads=False)) as endpoint:
        spec = f"{endpoint.url}#kimi-k2-thinking"
        shown = await asyncio.to_thread(cli.run, "doctor", "--model", spec)
        lines = (await asyncio.to_thread(cli.run, "doctor", "--model", spec, "--json")).stdout
    assert "sandbox" in shown.stdout, "the machine is looked at, too"
    assert "no (needed)" in shown.stdout
    assert "the profile differs: retention='none'" in shown.stdout
    assert "a run would lose what it needs: reasoning read" in shown.stdout
    assert shown.returncode == 1
    machine, report = map(json.loads, lines.splitlines())
    assert {"name", "state", "found", "mend"} == set(machine[0])
    assert report["works"] is False
    assert report["profile"]["retention"] == "none"
    assert report["assumed"]["retention"] == "chain"
    assert {"name", "asked", "verdict", "seen", "requests", "needed"} == set(report["findings"][0])


async def test_an_endpoint_that_works_leaves_the_verdict_to_the_machine(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    async with serving(respond=Probed()) as endpoint:
        spec = f"{endpoint.url}#kimi-k2-thinking"
        done = await asyncio.to_thread(cli.run, "doctor", "--model", spec, "--json")
    machine, report = map(json.loads, done.stdout.splitlines())
    assert report["works"] is True
    assert done.returncode == any(check["state"] == "missing" for check in machine)


def test_an_endpoint_that_nobody_runs_is_one_error(tmp_path: Path) -> None:
    done = Cli(tmp_path).run("doctor", "--model", "http://127.0.0.1:9/v1#[m]")
    assert done.returncode == 1
    assert "nothing answers at http://127.0.0.1:9/v1" in done.stdout
    assert "http://127.0.0.1:9/v1#[m]" in done.stdout
    assert "nothing can be told of its profile" in done.stdout


def test_other_models_are_asked_when_that_is_wished(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    spec = cli.script({"content": "one two", "repeat": True})
    assert "does with us" not in cli.run("doctor", "--model", spec).stdout
    shown = cli.run("doctor", "--model", spec, "--probe").stdout
    assert f"What {spec} does with us" in " ".join(shown.split())
    assert "does not apply" in shown


def test_an_endpoint_of_the_environment_is_not_asked_without_being_named(tmp_path: Path) -> None:
    done = Cli(tmp_path).run("doctor", CHOGORI_MODEL="http://127.0.0.1:9/v1#m")
    assert "does with us" not in done.stdout
