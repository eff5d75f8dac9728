"""`python` and `shell` as a model meets them, however the sandbox is made."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from desk import IDS, LAUNCHERS, Desk, Office

from chogori.chat import text_of
from chogori.chat.tools import PastCall, Restores
from chogori.toolbox.places import Reach
from chogori.toolbox.programs import launcher_or_refusal, program_tools
from chogori.toolbox.sandbox import Landlock, Launcher, Unsafe, choose
from chogori.toolbox.sandboxes import Sandboxes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=LAUNCHERS, ids=IDS)
async def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    launcher: Launcher = request.param
    async with Office(tmp_path_factory.mktemp("office"), launcher) as office:
        yield office


@pytest.fixture
def desk(office: Office) -> Desk:
    return office.desk()


def described(launcher: Launcher, workspace: Path | None) -> tuple[str, str]:
    sandboxes = Sandboxes(Reach(workspace, lambda run: Path("/nowhere")), launcher)
    python, shell = program_tools(sandboxes)
    return python.spec.description, shell.spec.description


async def test_the_folders_that_a_description_names_are_there_for_a_program(desk: Desk) -> None:
    (desk.work / "f").write_text("text\n")
    told = desk.tools["shell"].spec.description
    work, out = ("/work", "/out") if "in /work" in told else ("$WORK", "$OUT")
    assert f"your files in {work} (the current folder) and may write to {out}." in told
    assert await desk.call("shell", command=f"cat f {work}/f; echo x > {out}/made") == "text\ntext"
    assert (desk.out / "made").read_text() == "x\n"
    assert f"{work} (the current folder)" in desk.tools["python"].spec.description
    assert await desk.call("python", code="print(open('f').read())") == "text"


async def test_a_description_says_of_the_network_what_holds(tmp_path: Path) -> None:
    for launcher in LAUNCHERS:
        for told in described(launcher, tmp_path):
            assert ("no network" in told) is not isinstance(launcher, Unsafe)


async def test_without_a_workspace_none_is_described(tmp_path: Path) -> None:
    for launcher in LAUNCHERS:
        for told in described(launcher, None):
            assert "/work" not in told
            assert "The current folder is" in told


async def test_what_is_kept_in_a_file_is_told_by_a_name_that_every_tool_knows(desk: Desk) -> None:
    """A program and the file tools both find it there."""
    told = await desk.call("shell", command="seq 10000")
    kept = told.partition("the whole is in ")[2].partition(" ...]")[0]
    assert re.fullmatch(rf"{desk.real_out}/output-[0-9a-f]{{12}}\.txt", kept)
    assert (await desk.call("read_file", path=kept, lines=2)).startswith("1\n2\n")
    assert await desk.call("shell", command=f"tail -n 1 {kept}") == "10000"
    assert await desk.call("shell", command="seq 10000") == told, "so a guard sees that it is old"
    assert [path.name for path in desk.out.glob("output-*")] == [Path(kept).name]


async def test_a_figure_is_told_by_a_name_that_a_program_can_open(desk: Desk) -> None:
    pytest.importorskip("matplotlib")
    result = await desk.result("python", code="import matplotlib.pyplot as p; p.plot([1]);")
    told = text_of(result.content).splitlines()[-1]
    name = told.removeprefix("[saved: ").removesuffix("]")
    assert name == f"{desk.real_out}/figure-1.png"
    assert result.extra == {"figures": [str(desk.out / "figure-1.png")]}
    assert result.effect == "pure"
    shown = await desk.call("python", code=f"print(open({name!r}, 'rb').read(4))")
    assert "PNG" in shown


async def test_a_call_turns_out_to_be_pure_if_it_can_be_made_again(desk: Desk) -> None:
    out = desk.real_out
    for code, effect, failed in (
        ("print(1)", "pure", False),
        ("x = 1", "pure", True),
        ("1 / 0", "pure", True),
        (f"print(open({out + '/f'!r}, 'w').write('x'))", "once", False),
        ("import os; os._exit(1)", "once", True),
    ):
        result = await desk.result("python", code=code)
        assert (result.effect, result.failed) == (effect, failed), code


async def test_a_script_says_how_it_ended(desk: Desk) -> None:
    assert await desk.call("shell", command="true") == "(it printed nothing)"
    result = await desk.result("shell", command="echo so; exit 3")
    assert (text_of(result.content), result.failed) == ("so\nexit code 3", True)


# --- a run that goes on in another process


def past(*codes: str, effect: str = "pure", failed: bool = False) -> list[PastCall]:
    calls = (json.dumps({"code": code}) for code in codes)
    return [PastCall(call, failed, effect, 0.1) for call in calls]  # type: ignore[arg-type]


async def after(office: Office, calls: Sequence[PastCall], code: str) -> str:
    """What `code` says in a run that went on after `calls`."""
    work, out = office.home / "work", office.home / "out"
    work.mkdir(exist_ok=True)
    sandboxes = Sandboxes(Reach(work, lambda run: out), office.launcher)
    try:
        desk = Desk(office.home, sandboxes)
        python = desk.tools["python"]
        assert isinstance(python, Restores)
        python.restore(calls, desk.context())
        return await desk.call("python", code=code)
    finally:
        await sandboxes.aclose()


async def test_a_run_that_goes_on_has_its_variables_again(office: Office) -> None:
    calls = past("x = [1]", failed=True) + past("x.append(2)\nprint(x)")
    assert await after(office, calls, "print(x)") == (
        "[1, 2]\n[the variables were rebuilt by running the 2 cells before again]"
    )


async def test_calls_that_never_ran_are_not_made_up_for(office: Office) -> None:
    never = [
        PastCall('{"kode": "x = 3"}', True, "once", 0.0),
        PastCall("{", True, "once", 0.0),
        PastCall('{"code": "x = 4", "seconds": 1}', True, "once", 0.0),
    ]
    told = await after(office, [*past("x = 2\nprint(x)"), *never], "print(x)")
    assert told == "2\n[the variables were rebuilt by running the cell before again]"


async def test_after_a_call_that_changed_files_the_loss_is_told(office: Office) -> None:
    out = office.home / "out" / "trace"
    changed = f"import os\nopen(os.environ['OUT'] + '/{out.name}', 'w').close()"
    calls = past("x = 1\nprint(x)") + past(changed, effect="once")
    told = await after(office, calls, "print('x' in globals())")
    assert told.startswith("False\n[the variables are lost: of the 2 cells before some changed")
    assert not out.exists(), "it was not run again"


async def test_cells_that_do_not_go_the_same_way_again_are_not_trusted(office: Office) -> None:
    calls = past("import os\nx = os.environ['GONE']\nprint(x)")
    told = await after(office, calls, "print('x' in globals())")
    assert told.startswith("False\n[the variables are lost: running the cells again did not lead")


async def test_a_session_that_has_run_cells_keeps_its_own_past(desk: Desk) -> None:
    await desk.call("python", code="mine = 1\nprint(mine)")
    python = desk.tools["python"]
    assert isinstance(python, Restores)
    python.restore(past("mine = 2"), desk.context())
    assert await desk.call("python", code="print(mine)") == "1"


async def test_a_sandbox_is_found_unless_none_is_wanted() -> None:
    assert await launcher_or_refusal() == choose()
    assert isinstance(await launcher_or_refusal(unsafe=True), Unsafe)
    assert Landlock().places(Reach(None, lambda run: Path("/x")).policy("r")).out == "/x"
