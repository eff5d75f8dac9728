"""A program runs in a sandbox, says what it says, and leaves nothing behind."""

import asyncio
import os
from pathlib import Path

import pytest
from sandbox_harness import BWRAPS

from chogori.toolbox.sandbox import (
    Bwrap,
    Landlock,
    Launcher,
    Limits,
    Policy,
    Probe,
    SandboxUnavailable,
    Unsafe,
    choose,
    probe,
    run,
    seccomp,
)
from chogori.toolbox.sandbox.choose import refusal
from chogori.toolbox.sandbox.output import Output
from chogori.toolbox.sandbox.policy import MIB

every = pytest.mark.parametrize(
    "launcher",
    [*(Bwrap(Path(path)) for path in BWRAPS), Landlock(), Unsafe()],
    ids=[*BWRAPS, "landlock", "unsafe"],
)
LIMITS = Limits(memory_bytes=512 * MIB, file_bytes=1 * MIB)


def processes_with(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if mark in line:
                found.append(line)
    return found


DAEMONS = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
for _ in range(3): os.wait()
print("ready", flush=True)
open(os.environ["OUT"] + "/ready", "w").close()
"""


@every
async def test_a_program_gets_its_input_and_its_output_and_exit_code_are_told(
    launcher: Launcher, tmp_path: Path
) -> None:
    argv = ["/bin/sh", "-c", "cat; echo problem >&2; exit 7"]
    outcome = await run(argv, Policy(out=tmp_path), LIMITS, 30, stdin=b"hello ", launcher=launcher)
    assert (outcome.exit_code, outcome.output) == (7, "hello problem\n")
    assert outcome.whole_output is None


@every
async def test_a_signal_is_told_as_a_shell_tells_it(launcher: Launcher, tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", "kill -9 $$"]
    outcome = await run(argv, Policy(out=tmp_path), LIMITS, 30, launcher=launcher)
    assert outcome.exit_code == 137


@every
async def test_at_the_time_limit_every_process_is_ended(launcher: Launcher, tmp_path: Path) -> None:
    mark = f"until-{tmp_path.name}-{launcher.name}"
    argv = ["python3", "-c", DAEMONS + "time.sleep(60)", mark]
    outcome = await run(argv, Policy(out=tmp_path), LIMITS, 1, launcher=launcher)
    assert outcome.timed_out
    assert outcome.output == "ready\n"
    assert processes_with(mark) == [] or launcher.name == "unsafe"


@pytest.mark.parametrize("launcher", [*(Bwrap(Path(path)) for path in BWRAPS), Landlock()])
async def test_what_is_left_running_ends_with_the_program(
    launcher: Launcher, tmp_path: Path
) -> None:
    mark = f"after-{tmp_path.name}"
    argv = ["python3", "-c", DAEMONS, mark]
    outcome = await run(argv, Policy(out=tmp_path), LIMITS, 30, launcher=launcher)
    assert outcome.exit_code == 0
    assert processes_with(mark) == []


@pytest.mark.parametrize("launcher", [*(Bwrap(Path(path)) for path in BWRAPS), Landlock()])
async def test_cancelling_ends_every_process(launcher: Launcher, tmp_path: Path) -> None:
    mark = f"cancelled-{tmp_path.name}"
    argv = ["python3", "-c", DAEMONS + "time.sleep(60)", mark]
    task = asyncio.create_task(run(argv, Policy(out=tmp_path), LIMITS, 60, launcher=launcher))
    async with asyncio.timeout(20):
        while not (tmp_path / "ready").exists():
            await asyncio.sleep(0.01)
    assert processes_with(mark)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_with(mark) == []


@every
async def test_a_flood_of_output_costs_a_file_of_limited_size_and_no_memory(
    launcher: Launcher, tmp_path: Path
) -> None:
    code = "import os; b = b'x' * 1000000\nfor _ in range(20): os.write(1, b)\nprint('the end')"
    argv = ["python3", "-c", code]
    outcome = await run(argv, Policy(out=tmp_path), LIMITS, 60, launcher=launcher, head=10, tail=10)
    assert outcome.output.startswith("x" * 10 + "\n[... ")
    assert outcome.output.endswith("\nxxthe end\n")
    assert len(outcome.output) < 300
    assert outcome.whole_output is not None
    assert outcome.whole_output.stat().st_size == LIMITS.file_bytes
    named = f"{launcher.places(Policy(out=tmp_path)).out}/{outcome.whole_output.name}"
    assert named in outcome.output


def test_output_is_whole_in_its_file_however_it_is_cut(tmp_path: Path) -> None:
    said = bytes(range(32, 127)) * 3
    for step in (1, 2, 3, 7, 50, len(said)):
        output = Output(tmp_path, stem="cut", head=20, tail=10)
        for start in range(0, len(said), step):
            output.add(said[start : start + step])
        printed = output.close()
        assert printed.whole is not None
        assert printed.whole.read_bytes() == said
        assert printed.text.startswith(said[:20].decode())
        assert printed.text.endswith(said[-10:].decode())
    assert len(list(tmp_path.iterdir())) == 1, "the same is kept once"
    short = Output(tmp_path, head=20, tail=10)
    short.add(said[:30])
    assert short.close().text == said[:30].decode()


async def test_a_link_laid_where_the_output_goes_is_not_followed(tmp_path: Path) -> None:
    precious, out = tmp_path / "precious", tmp_path / "out"
    precious.write_text("precious")
    script = f"ln -s {precious} $OUT/output-1.txt; yes | head -c 100000"
    policy = Policy(out=out)
    outcome = await run(["/bin/sh", "-c", script], policy, LIMITS, 30, launcher=Unsafe())
    assert precious.read_text() == "precious"
    assert outcome.whole_output is not None
    assert not outcome.whole_output.is_symlink()
    assert outcome.whole_output.stat().st_size == 100_000


async def test_a_tree_of_too_many_processes_is_killed(tmp_path: Path) -> None:
    code = "import os, time\nfor _ in range(30): os.fork() or time.sleep(60)\ntime.sleep(60)"
    limits = Limits(processes=10)
    argv = ["python3", "-c", code]
    outcome = await run(argv, Policy(out=tmp_path), limits, 60, launcher=Unsafe())
    assert outcome.killed_by_processes
    assert not outcome.timed_out


def test_every_launcher_is_really_tried_and_running_unconfined_is_never_chosen() -> None:
    tried = probe()
    assert [type(each.launcher) for each in tried] == [Bwrap] * len(BWRAPS) + [Landlock]
    working = [each.launcher for each in tried if each.failure is None]
    assert choose() == working[0]
    assert not isinstance(choose(), Unsafe)


def test_a_launcher_that_does_not_work_says_why_and_what_mends_it(tmp_path: Path) -> None:
    text = refusal([Probe(Landlock(), "Landlock here is version 0")])
    assert "bwrap: not installed" in text
    assert "landlock: Landlock here is version 0" in text
    assert "apt-get install bubblewrap" in text
    assert "pip install 'chogori[sandbox]'" in text


async def test_a_binary_that_is_not_there_is_an_error_and_not_a_way_round(tmp_path: Path) -> None:
    outcome = None
    try:
        outcome = await run(
            ["/bin/true"], Policy(out=tmp_path), LIMITS, 9, launcher=Bwrap(tmp_path)
        )
    except OSError:
        return
    assert outcome.exit_code != 0


@every
async def test_a_workspace_that_is_not_there_is_told_before_anything_starts(
    launcher: Launcher, tmp_path: Path
) -> None:
    policy = Policy(out=tmp_path / "out", workspace=tmp_path / "missing")
    with pytest.raises(SandboxUnavailable, match=r"there is no folder .*missing to show as /work"):
        await run(["/bin/true"], policy, LIMITS, 30, launcher=launcher)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="no system call filter for the machine 'vax'"):
        seccomp.program("vax")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("walls", [True, False])
def test_every_jump_of_the_filter_lands_in_it_and_the_end_is_an_answer(
    machine: str, walls: bool
) -> None:
    code = seccomp.program(machine, walls=walls)
    lines = [code[at : at + 8] for at in range(0, len(code), 8)]
    assert len(lines) < 4096, "the kernel's limit"
    for number, line in enumerate(lines):
        kind, if_true, if_false = int.from_bytes(line[:2], "little"), line[2], line[3]
        if kind & 7 == 5:
            assert number + 1 + max(if_true, if_false) < len(lines)
    assert lines[-1][:2] == b"\x06\x00"
