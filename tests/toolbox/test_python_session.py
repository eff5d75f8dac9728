"""A Python that remembers, in a sandbox: what it keeps, what it rebuilds, and what it admits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_harness import BWRAPS

from chogori.toolbox.sandbox import (
    Bwrap,
    Interpreter,
    Landlock,
    Launcher,
    Limits,
    Policy,
    PythonPool,
    PythonSession,
    SandboxUnavailable,
    Unsafe,
    make_fonts,
)
from chogori.toolbox.sandbox.policy import MIB
from chogori.toolbox.sandbox.snapshot import changed, snapshot

LAUNCHERS: list[Launcher] = [*(Bwrap(Path(path)) for path in BWRAPS[:1]), Landlock()]


@pytest.fixture(params=LAUNCHERS, ids=lambda launcher: launcher.name)
async def session(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PythonSession]:
    async with opened(Policy(out=tmp_path / "out"), request.param) as session:
        yield session


@asynccontextmanager
async def opened(
    policy: Policy, launcher: Launcher = LAUNCHERS[0], **options: object
) -> AsyncIterator[PythonSession]:
    session = PythonSession(policy, launcher=launcher, **options)  # type: ignore[arg-type]
    async with aclosing(session):
        yield session


async def say(session: PythonSession, code: str, seconds: float = 60) -> str:
    cell = await session.run(code, seconds)
    assert cell.error is None, cell.error
    return cell.output


async def test_cells_see_what_the_cells_before_made(session: PythonSession) -> None:
    assert await say(session, "x = 20\ndef double(n): return 2 * n") == ""
    assert await say(session, "print('so:')\ndouble(x) + 2") == "so:\n42\n"
    assert await say(session, "None") == ""
    assert await say(session, "x;") == "20\n"


async def test_what_other_processes_print_is_output_too(session: PythonSession) -> None:
    code = "import os, sys\nos.system('echo one; echo two >&2'); print('three', file=sys.stderr)"
    assert await say(session, code) == "one\ntwo\nthree\n"


async def test_an_error_shows_the_cells_own_lines_and_no_path_of_the_host(
    session: PythonSession,
) -> None:
    await say(session, "import json\ndef load(text):\n    return json.loads(text)")
    error = (await session.run("load('{')", 60)).error
    assert error is not None
    assert "File \"<cell 2>\", line 1, in <module>\n    load('{')" in error
    assert 'File "<cell 1>", line 3, in load\n    return json.loads(text)' in error
    assert "json.decoder.JSONDecodeError: Expecting property name" in error
    assert 'File "/' not in error
    assert "zygote" not in error


async def test_a_syntax_error_is_told_before_anything_runs(session: PythonSession) -> None:
    cell = await session.run("print('ran')\nx = = 1", 60)
    assert cell.output == ""
    assert cell.error is not None
    assert "SyntaxError: invalid syntax" in cell.error


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("input('name? ')", "input() has nobody to ask here"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise ExceptionGroup('many', [ValueError('one')])", "ValueError: one"),
        ("class Bad:\n  def __repr__(self): raise ValueError('no repr')\nBad()", "no repr"),
        ("bytearray(1 << 33)", "MemoryError"),
    ],
)
async def test_code_that_fails_costs_no_variable(code: str, error: str, tmp_path: Path) -> None:
    async with opened(Policy(out=tmp_path)) as session:
        await say(session, "kept = 1")
        told = (await session.run(code, 60)).error or ""
        assert error in told
        assert "_no_input" not in told
        assert await say(session, "kept") == "1\n"


async def test_a_cell_over_its_time_is_interrupted_and_the_variables_stay(
    session: PythonSession,
) -> None:
    await say(session, "kept = 1")
    cell = await session.run("print('begun', flush=True)\nimport time\ntime.sleep(60)", 0.5)
    assert cell.timed_out
    assert cell.output == "begun\n"
    assert "interrupted after 0.5 s; variables are kept" in (cell.error or "")
    assert await say(session, "kept") == "1\n"


DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"


async def test_a_cell_deaf_to_the_interrupt_is_killed_and_the_state_rebuilt(
    session: PythonSession,
) -> None:
    await say(session, "kept = [1]")
    await say(session, "kept.append(2)")
    cell = await session.run(DEAF, 0.3)
    assert cell.timed_out
    assert "did not react to the interrupt" in (cell.error or "")
    assert cell.note == "the next cell rebuilds the variables by running the 2 cells before again"
    after = await session.run("kept", 60)
    assert after.output == "[1, 2]\n"
    assert after.note == "the variables were rebuilt by running the 2 cells before again"


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("os._exit(3)", "exited with code 3"),
        ("os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("os.kill(os.getppid(), 9); time.sleep(60)", "the sandbox ended"),
    ],
)
async def test_however_python_ends_its_state_is_rebuilt_while_all_cells_were_pure(
    session: PythonSession, end: str, why: str
) -> None:
    await say(session, "import os, time\nkept = 1\nprint('once')")
    cell = await session.run(end, 60)
    assert why in (cell.error or "")
    assert await say(session, "kept") == "1\n"


async def test_after_a_cell_that_changed_files_the_loss_is_admitted(
    session: PythonSession, tmp_path: Path
) -> None:
    write = "import os\nopen(os.environ['OUT'] + '/log', 'a').write('line')"
    assert not (await session.run("kept = 1", 60)).files_changed
    assert (await session.run(write, 60)).files_changed
    cell = await session.run("os._exit(1)", 60)
    assert "the variables are lost" in (cell.note or "")
    assert "NameError" in ((await session.run("kept", 60)).error or "")
    assert (tmp_path / "out" / "log").read_text() == "line", "it was not run again"
    assert await say(session, "kept = 2\nkept") == "2\n"


async def test_a_worker_that_dies_between_cells_is_noticed(tmp_path: Path) -> None:
    async with opened(Policy(out=tmp_path)) as session:
        await say(session, "kept = 1")
        later = "import threading, os, time\nthreading.Timer(0.01, os._exit, [1]).start()"
        await session.run(later + "\nopen('/out/touch', 'w').close()", 60)
        assert session._worker is not None
        await session._worker.ended.wait()
        after = await session.run("kept", 60)
        assert "the variables are lost" in (after.note or "")
        assert "NameError" in (after.error or "")


async def test_nothing_of_a_killed_worker_meets_the_next(tmp_path: Path) -> None:
    async with opened(Policy(out=tmp_path)) as session:
        await say(session, "kept = 1")
        leave = (
            "import os, time\nopen('/tmp/left', 'w').close()\n"
            "if os.fork() == 0:\n    os.setsid(); time.sleep(60)\nos._exit(1)"
        )
        await session.run(leave, 60)
        look = "import os\nprint(os.listdir('/tmp'))\n"
        look += "len([name for name in os.listdir('/proc') if name.isdigit()])"
        assert await say(session, look) == "[]\n3\n"


async def test_a_child_that_comes_back_into_the_session_ends(session: PythonSession) -> None:
    assert await say(session, "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)") == ""
    assert await say(session, "pid > 0") == "True\n"


async def test_closing_stdout_silences_one_cell_only(session: PythonSession) -> None:
    await session.run("import os, sys\nsys.stdout.close(); os.close(1); os.close(2)", 60)
    assert await say(session, "'heard'") == "'heard'\n"


async def test_long_output_is_cut_and_whole_in_a_file_without_making_the_cell_impure(
    session: PythonSession,
) -> None:
    cell = await session.run("print('a' * 50_000)\nprint('end')", 60)
    assert len(cell.output) < 17_000
    assert cell.output.endswith("aaa\nend\n")
    assert cell.whole_output is not None
    assert cell.whole_output.read_text() == "a" * 50_000 + "\nend\n"
    assert not cell.files_changed


async def test_open_figures_are_saved_and_closed_and_leave_the_cell_pure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out, fonts = tmp_path / "out", tmp_path / "fonts"
    assert await make_fonts(fonts, launcher=LAUNCHERS[0])
    async with opened(Policy(out=out, readable={"fonts": fonts})) as session:
        draw = "import matplotlib.pyplot as plt\nfor n in range(2): plt.figure().gca().plot([n, 1])"
        cell = await session.run(draw, 60)
        assert cell.error is None
        assert cell.output == "", "nothing about a font list"
        assert [path.name for path in cell.figures] == ["figure-1.png", "figure-2.png"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in cell.figures)
        assert not cell.files_changed
        assert await say(session, "plt.get_fignums()") == "[]\n"
        await session.run("import os; os._exit(0)", 60)
        assert await say(session, "1") == "1\n"
        assert sorted(path.name for path in out.iterdir()) == ["figure-1.png", "figure-2.png"]


async def test_a_figure_that_is_a_link_is_not_reported(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    pretend = (
        "import types, sys, os\n"
        "fake = types.ModuleType('matplotlib.pyplot')\n"
        "class Figure:\n"
        "    def savefig(self, file, **options):\n"
        "        os.unlink(file.name); os.symlink('/etc/passwd', file.name)\n"
        "fake.get_fignums = lambda: [1]; fake.figure = lambda n: Figure(); fake.close = print\n"
        "sys.modules['matplotlib.pyplot'] = fake"
    )
    async with opened(Policy(out=tmp_path / "out")) as session:
        cell = await session.run(pretend, 60)
        assert (tmp_path / "out" / "figure-1.png").is_symlink()
        assert cell.figures == ()


async def test_the_users_folder_counts_for_purity_when_it_can_be_written(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "notes").write_text("a")
    policy = Policy(out=tmp_path / "out", workspace=work, work_writable=True)
    async with opened(policy) as session:
        assert not (await session.run("open('notes').read()", 60)).files_changed
        assert (await session.run("open('notes', 'w').write('b')", 60)).files_changed


async def test_a_memory_hog_is_killed_and_the_next_cell_goes_on(tmp_path: Path) -> None:
    limits = Limits(tree_memory_bytes=256 * MIB)
    async with opened(Policy(out=tmp_path), limits=limits) as session:
        await say(session, "kept = 1")
        hoard = (
            "import mmap, time\nm = mmap.mmap(-1, 400 << 20)\n"
            "for page in range(0, 400 << 20, 4096): m[page] = 1\ntime.sleep(60)"
        )
        cell = await session.run(hoard, 60)
        assert "over the limit of memory" in (cell.error or "")
        assert await say(session, "kept") == "1\n"


async def test_cancelling_a_cell_ends_its_processes_and_the_session_lives_on(
    session: PythonSession,
) -> None:
    await say(session, "kept = 1")
    root = session.root_pid
    task = asyncio.create_task(session.run("import time\ntime.sleep(60)", 60))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{root}").exists()
    assert await say(session, "kept") == "1\n"


async def test_libraries_asked_for_in_advance_are_there_in_the_first_worker(
    tmp_path: Path,
) -> None:
    pytest.importorskip("sympy")
    async with opened(Policy(out=tmp_path)) as session:
        await session.start()
        assert await say(session, "'numpy' in __import__('sys').modules") == "False\n"
    async with opened(Policy(out=tmp_path)) as session:
        await session.start()
        workshop = session._workshop
        assert workshop is not None
        async with asyncio.timeout(60):
            while "sympy" not in workshop.warmed:
                await asyncio.sleep(0.02)
        code = "import sys\nready = 'sympy.core' in sys.modules\nimport sympy\nready"
        assert await say(session, code) == "True\n"


async def test_pickle_finds_what_a_cell_defined(session: PythonSession) -> None:
    await say(session, "class Point:\n    x = 1")
    assert await say(session, "import pickle\npickle.loads(pickle.dumps(Point())).x") == "1\n"


async def test_an_unconfined_session_is_possible_when_asked_for(tmp_path: Path) -> None:
    async with opened(Policy(out=tmp_path), Unsafe()) as session:
        await say(session, "kept = 1")
        await session.run("import os; os._exit(1)", 60)
        assert await say(session, "kept") == "1\n"


async def test_a_sandbox_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = replace(Interpreter.running(), packages=tmp_path / "missing")
    async with opened(Policy(out=tmp_path / "out", python=broken)) as session:
        with pytest.raises(
            SandboxUnavailable, match=r"Python did not start in the sandbox: .*missing"
        ):
            await session.run("1", 60)


async def test_a_pool_sets_aside_the_session_idle_longest_and_it_comes_back(
    tmp_path: Path,
) -> None:
    pool = PythonPool(memory_bytes=70 * MIB, reserve_bytes=40 * MIB, launcher=LAUNCHERS[0])
    async with aclosing(pool):
        names = ["first", "second", "third", "fourth"]
        sessions = {name: pool.session(Policy(out=tmp_path / name)) for name in names}
        filler = "\nheld = bytearray(12 << 20)"
        for name, session in sessions.items():
            await say(session, f"name = {name!r}{filler}")
        assert sessions["first"].root_pid is None
        assert sessions["fourth"].root_pid is not None
        assert await say(sessions["first"], "name") == "'first'\n"


async def test_a_pool_never_sets_aside_what_cannot_be_rebuilt(tmp_path: Path) -> None:
    pool = PythonPool(memory_bytes=30 * MIB, reserve_bytes=28 * MIB, launcher=LAUNCHERS[0])
    async with aclosing(pool):
        writer = pool.session(Policy(out=tmp_path / "writer"))
        await writer.run("kept = open('/out/file', 'w').write('x')", 60)
        other = pool.session(Policy(out=tmp_path / "other"))
        with pytest.raises(SandboxUnavailable, match="none can be set aside"):
            await other.run("1", 60)
        assert await say(writer, "kept") == "1\n"
        await pool.close_session(writer)
        assert await say(other, "1") == "1\n"


async def test_a_newcomer_waits_for_a_session_at_work(tmp_path: Path) -> None:
    pool = PythonPool(memory_bytes=30 * MIB, reserve_bytes=28 * MIB, launcher=LAUNCHERS[0])
    async with aclosing(pool):
        worker = pool.session(Policy(out=tmp_path / "worker"))
        await say(worker, "import time")
        working = asyncio.create_task(worker.run("time.sleep(0.3)", 60))
        await asyncio.sleep(0)
        other = pool.session(Policy(out=tmp_path / "other"))
        assert await say(other, "1") == "1\n"
        assert working.done()
        await working


async def test_a_session_that_only_answered_about_files_is_set_aside_for_another(
    tmp_path: Path,
) -> None:
    pool = PythonPool(memory_bytes=30 * MIB, reserve_bytes=28 * MIB, launcher=LAUNCHERS[0])
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "f").write_text("text")
    folders = {"roots": {"out": "/out"}, "write": False, "home": "/out"}
    span = {"first_line": 1, "lines": 9, "max_chars": 99}
    request = {"op": "read_file", "folders": folders, "path": "f", **span}
    async with aclosing(pool):
        reader = pool.session(Policy(out=tmp_path / "reader"))
        answer = {"text": "text", "files": [], "notes": []}
        assert await reader.ask(request, 60) == answer
        assert reader.can_be_set_aside
        other = pool.session(Policy(out=tmp_path / "other"))
        assert await say(other, "import sys; 'numpy' in sys.modules") == "False\n"
        assert reader.root_pid is None
        assert await reader.ask(request, 60) == answer, "it comes back"


async def test_the_variables_of_a_new_worker_outlive_the_import_of_a_warm_library(
    tmp_path: Path,
) -> None:
    """After a loss the next worker is a fresh one, and must not be taken for an unused one."""
    pytest.importorskip("numpy")
    async with opened(Policy(out=tmp_path)) as session:
        await session.run("import numpy, os\nopen('/out/f', 'w').close()", 60)
        assert session._workshop is not None
        async with asyncio.timeout(60):
            while "numpy" not in session._workshop.warmed:
                await asyncio.sleep(0.02)
        await session.run("os._exit(1)", 60)
        await say(session, "kept = 1")
        assert await say(session, "import numpy\nkept") == "1\n"


def test_every_change_of_a_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("a")
    before = snapshot([tmp_path])
    assert not changed(before, snapshot([tmp_path]))
    (tmp_path / "folder" / "file").write_text("b")
    assert changed(before, snapshot([tmp_path]))
    (tmp_path / "new").write_text("")
    (tmp_path / "folder" / "file").unlink()
    after = snapshot([tmp_path])
    (tmp_path / "new").unlink()
    assert changed(after, snapshot([tmp_path]))
    assert not changed(after, snapshot([tmp_path]), except_for=[tmp_path / "new"])
    (tmp_path / "folder").chmod(0o700)
    assert changed(after, snapshot([tmp_path]), except_for=[tmp_path / "new"])
