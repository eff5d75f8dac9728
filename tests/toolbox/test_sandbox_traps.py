"""The seven traps of sandboxes, each as a law that holds for every launcher that can keep it."""

import asyncio
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_harness import BWRAPS, IDENTITIES, drive

from chogori.toolbox.sandbox import Bwrap, Landlock, Launcher, Limits, Policy, run
from chogori.toolbox.sandbox.policy import MIB
from chogori.toolbox.sandbox.process import Running

bwraps = pytest.mark.parametrize("launcher", [Bwrap(Path(path)) for path in BWRAPS], ids=BWRAPS)
confined = pytest.mark.parametrize(
    "launcher", [*(Bwrap(Path(path)) for path in BWRAPS), Landlock()], ids=[*BWRAPS, "landlock"]
)
identities = pytest.mark.parametrize("identity", IDENTITIES)
each_bwrap = pytest.mark.parametrize("binary", BWRAPS)
LIMITS = Limits(memory_bytes=256 * MIB, tree_memory_bytes=256 * MIB, processes=24)


async def python(code: str, policy: Policy, launcher: Launcher, limits: Limits = LIMITS) -> str:
    outcome = await run(["python3", "-c", code], policy, limits, 30, launcher=launcher)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@identities
@each_bwrap
def test_trap_1_the_launcher_shows_neither_environment_nor_host_paths(
    binary: str, identity: str
) -> None:
    shown = drive(binary, identity, argv=["cat", "/proc/1/environ", "/proc/1/cmdline"])["output"]
    assert "bwrap\0--args\0" in shown
    assert "/bwrap" not in shown
    assert "=" not in shown.partition("bwrap\0")[0], "no variable, not even a harmless one"


@confined
async def test_trap_2_a_socket_to_the_machine_underneath_cannot_be_made(
    launcher: Launcher, tmp_path: Path
) -> None:
    code = (
        "import socket\n"
        "try: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\n"
        "except OSError as error: print(error.errno)"
    )
    assert await python(code, Policy(out=tmp_path), launcher) == "97\n"


@identities
@each_bwrap
def test_trap_3_the_number_of_processes_is_limited_whoever_starts_the_sandbox(
    binary: str, identity: str
) -> None:
    code = (
        "import os, time\n"
        "try:\n"
        "    for n in range(100):\n"
        "        if os.fork() == 0: time.sleep(30)\n"
        "except BlockingIOError: print('stopped', n < 24)"
    )
    outcome = drive(binary, identity, argv=["python3", "-c", code])
    assert outcome["output"] == "stopped True\n"
    assert not outcome["killed_by_processes"], "the kernel refused, nobody was killed"


@confined
async def test_trap_4_too_large_an_allocation_fails_and_shared_memory_is_counted_too(
    launcher: Launcher, tmp_path: Path
) -> None:
    policy = Policy(out=tmp_path)
    code = "try: bytearray(300 << 20)\nexcept MemoryError: print('refused')"
    assert await python(code, policy, launcher) == "refused\n"
    hoard = (
        "import mmap, time\n"
        "m = mmap.mmap(-1, 400 << 20)\n"
        "for page in range(0, 400 << 20, 4096): m[page] = 1\n"
        "time.sleep(30)"
    )
    outcome = await run(["python3", "-c", hoard], policy, LIMITS, 30, launcher=launcher)
    assert outcome.killed_by_memory
    assert not outcome.timed_out


@confined
async def test_trap_5_a_sandbox_outlives_the_thread_that_asked_for_it(
    launcher: Launcher, tmp_path: Path
) -> None:
    started: list[Running] = []

    async def start() -> None:
        policy = Policy(out=tmp_path)
        started.append(await Running.start(launcher, ["cat"], policy, LIMITS, stdin=True))
        assert await echo(started[0], b"up") == b"up"

    thread = threading.Thread(target=lambda: asyncio.run(start()))
    thread.start()
    thread.join()
    try:
        with pytest.raises(TimeoutError):  # it has a while to die in
            async with asyncio.timeout(0.2):
                await started[0].wait()
        assert await echo(started[0], b"still here") == b"still here"
    finally:
        await started[0].end()
        started[0].close()


async def echo(running: Running, words: bytes) -> bytes:
    assert running.process.stdin is not None
    os.write(running.process.stdin.fileno(), words)
    return await running.read()


@identities
@each_bwrap
def test_trap_6_what_is_shown_inside_can_also_be_read_inside(binary: str, identity: str) -> None:
    script = "ls /etc /opt /opt/venv /opt/venv/lib && python3 -c 'import ssl, numpy, pandas'"
    outcome = drive(binary, identity, argv=["/bin/sh", "-c", script])
    assert outcome["exit_code"] == 0, outcome["output"]


@confined
async def test_trap_7_files_made_inside_belong_to_the_folders_owner_and_can_be_changed_again(
    launcher: Launcher, tmp_path: Path
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir(mode=0o700)
    (work / "mine").write_text("of the user")
    (work / "mine").chmod(0o600)
    before = work.stat()
    policy = Policy(out=out, workspace=work, work_writable=True)
    add = (
        "import os\n"
        "for name in (os.environ['OUT'] + '/made', os.environ['WORK'] + '/mine'):\n"
        "    print('again', file=open(name, 'a'))"
    )
    await python(add, policy, launcher)
    await python(add, policy, launcher)
    assert (out / "made").read_text() == "again\nagain\n"
    assert (work / "mine").read_text() == "of the useragain\nagain\n"
    for path in (out / "made", work / "mine", work):
        assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)
    assert stat.S_IMODE(work.stat().st_mode) == 0o700
    (out / "made").unlink()


@confined
async def test_the_users_folder_is_read_only_unless_it_is_said(
    launcher: Launcher, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir(mode=0o700)
    (work / "mine").write_text("of the user")
    policy = Policy(out=tmp_path / "out", workspace=work)
    code = (
        "import os\n"
        "print(open('mine').read())\n"
        "try: open('new', 'w')\n"
        "except OSError as error: print('refused')"
    )
    assert await python(code, policy, launcher) == "of the user\nrefused\n"
    assert [path.name for path in work.iterdir()] == ["mine"]


@bwraps
async def test_a_sandbox_has_a_loopback_of_its_own(launcher: Launcher, tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname()).close()\n"
        "print('connected')"
    )
    assert await python(code, Policy(out=tmp_path), launcher) == "connected\n"


@bwraps
async def test_an_environment_below_a_folder_named_work_is_visible_all_the_same(
    launcher: Launcher, tmp_path: Path
) -> None:
    policy = Policy(out=tmp_path / "out", workspace=tmp_path)
    code = "import numpy, sys; print(sys.prefix, numpy.__file__)"
    assert "/opt/venv /opt/venv/lib/" in await python(code, policy, launcher)
    bare = replace(policy, python=None)
    outcome = await run(["ls", "/opt"], bare, LIMITS, 30, launcher=launcher)
    assert "venv" not in outcome.output
