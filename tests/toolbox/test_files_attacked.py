"""The file tools when the files, or the programs beside them, mean harm."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from desk import IDS, LAUNCHERS, Desk, Office
from hypothesis import given
from hypothesis import strategies as st
from sandbox_harness import BWRAPS, IDENTITIES, IS_ROOT, ROOT_ON_OVERLAY, drive, needs_bwrap

from chogori.chat import ToolError
from chogori.toolbox.files import Told, told
from chogori.toolbox.places import Reach
from chogori.toolbox.sandbox import Launcher
from chogori.toolbox.sandbox.channel import Channel
from chogori.toolbox.sandboxes import Sandboxes

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "the secret of the host"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=LAUNCHERS, ids=IDS)
async def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    home = tmp_path_factory.mktemp("office")
    (home / "secret").mkdir()
    (home / "secret" / "f").write_text(SECRET)
    launcher: Launcher = request.param
    async with Office(home, launcher) as office:
        yield office


@pytest.fixture
def desk(office: Office) -> Desk:
    return office.desk()


@pytest_asyncio.fixture(loop_scope="module")
async def walled(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk whose programs see no processes but their own."""
    async with Office(tmp_path, LAUNCHERS[0]) as office:
        yield office.desk()


async def attempts(desk: Desk, path: str) -> list[str]:
    """What each tool says of a path."""
    said: list[str] = []
    for name, arguments in (
        ("read_file", {}),
        ("write_file", {"text": "overwritten"}),
        ("edit_file", {"old": "s", "new": "overwritten"}),
        ("list_files", {}),
        ("grep", {"pattern": "."}),
    ):
        try:
            said.append(await desk.call(name, path=path, **arguments))
        except ToolError as refused:
            said.append(str(refused))
    return said


@pytest.mark.parametrize("target", ["../../secret", "{home}/secret", "/", "/etc", "/proc/self"])
async def test_a_link_out_of_the_folder_leads_nowhere(
    office: Office, desk: Desk, target: str
) -> None:
    (desk.work / "way").symlink_to(target.format(home=office.home))
    for path in ("way", "way/f", "way/secret/f", "way/passwd", "way/environ"):
        for said in await attempts(desk, path):
            assert SECRET not in said
            assert "leads outside of what can be reached" in said
    listed = await desk.call("list_files", pattern="**")
    assert listed == "/work:\nway  (a link)"
    assert await desk.call("grep", pattern=".") == "[no match in 0 text files]"
    assert (office.home / "secret" / "f").read_text() == SECRET


SWAP = """
import os, threading
work = {work!r}
os.makedirs(f"{{work}}/real"); open(f"{{work}}/real/f", "w").write("fine")
os.symlink({secret!r}, f"{{work}}/false")
def swap():
    while swapping:
        for source in ("real", "false"):
            os.rename(f"{{work}}/{{source}}", f"{{work}}/way")
            os.rename(f"{{work}}/way", f"{{work}}/{{source}}")
swapping = True
thread = threading.Thread(target=swap, daemon=True)
thread.start()
print("begun")
"""


async def test_a_folder_that_keeps_turning_into_a_link_is_never_followed(
    office: Office, desk: Desk
) -> None:
    """A program of the same run swaps them as fast as it can."""
    work = desk.sandboxes.places("r").work
    code = SWAP.format(work=work, secret=str(office.home / "secret"))
    assert await desk.call("python", code=code) == "begun"
    said: set[str] = set()
    for _ in range(60):
        for call in (
            desk.call("read_file", path="way/f"),
            desk.call("grep", pattern="secret|fine", path="way"),
        ):
            try:
                said.add(await call)
            except ToolError as refused:
                said.add(str(refused))
    await desk.call("python", code="swapping = False\nthread.join()\nprint('ended')")
    assert not any(SECRET in each for each in said)
    assert len(said) > 1


async def test_what_is_no_file_is_not_waited_for(desk: Desk) -> None:
    os.mkfifo(desk.work / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(desk.work / "socket"))
    names = {"fifo": "a FIFO", "socket": "a socket"}
    if IS_ROOT:
        os.mknod(desk.work / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        names["zero"] = "a device"
    for name, kind in names.items():
        for said in await attempts(desk, name):
            assert f"/work/{name} is {kind}" in said
    assert await desk.call("grep", pattern=".") == "[no match in 0 text files]"


async def test_a_huge_line_costs_no_more_than_is_shown(desk: Desk) -> None:
    (desk.work / "line").write_bytes(b"x" * 30_000_050 + b"needle")
    assert "longer than the 8,000" in await desk.call("read_file", path="line")
    found = await desk.call("grep", pattern="needle")
    assert found.endswith("xneedle\n[1 match in 1 of 1 text file]")
    assert len(found) < 500
    assert "10.0 MB is the most" in await desk.refused("edit_file", path="line", old="x", new="y")


async def test_a_file_is_read_and_written_while_a_cell_runs(desk: Desk) -> None:
    """The cell goes on only when a file tool has written what it waits for."""
    go = f"{desk.real_out}/go"
    code = f"import os, time\nwhile not os.path.exists({go!r}): time.sleep(0.01)\nprint('went on')"
    cell = asyncio.create_task(desk.call("python", code=code))
    (desk.work / "f").write_text("text")
    assert await desk.call("read_file", path="f") == "text"
    assert not cell.done()
    await desk.call("write_file", path="/out/go", text="go")
    assert await cell == "went on"


async def test_when_the_sandbox_is_ended_from_within_another_is_started(desk: Desk) -> None:
    (desk.work / "f").write_text("text")
    await desk.call("read_file", path="f")
    said = await desk.call(
        "python", code="import os, time; os.kill(os.getppid(), 9); time.sleep(9)"
    )
    assert "the sandbox ended" in said
    assert await desk.call("read_file", path="f") == "text"


async def test_replacing_a_worker_ends_no_request_that_is_being_answered(desk: Desk) -> None:
    """Though it ends whatever the worker before left behind."""
    (desk.work / "f").write_text("a" * 50 + "!\n")
    how = {"glob": "*", "ignore_case": False, "seconds": 1}
    request = {"op": "grep", "path": ".", "pattern": "^(a+)+$", **how}
    await desk.call("python", code="print(1)")
    searching = asyncio.create_task(desk.sandboxes.ask(desk.context(), request, 60))
    assert "exited with code 1" in await desk.call("python", code="import os; os._exit(1)")
    assert "2" in await desk.call("python", code="print(2)")
    answer = await searching
    assert answer is not None
    assert answer["notes"][0].startswith("stopped after 1 second")


HUNT = """
import os, threading
spared = {{1, os.getppid(), os.getpid()}}
def hunt():
    while hunting:
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in spared:
                try: os.kill(int(name), {signal})
                except ProcessLookupError: pass
hunting = True
hunter = threading.Thread(target=hunt, daemon=True)
hunter.start()
print("begun")
"""
END_HUNT = "hunting = False\nhunter.join()\nprint('ended')"


@needs_bwrap
async def test_a_program_that_ends_every_other_process_costs_answers_and_no_file(
    walled: Desk,
) -> None:
    (walled.work / "f").write_text("old")
    await walled.call("python", code=HUNT.format(signal=9))
    refusals: list[str] = []
    seen: set[str] = set()
    for number in range(5):
        for name, arguments in (
            ("read_file", {}),
            ("write_file", {"text": f"new {number}"}),
            ("edit_file", {"old": "new", "new": "newer"}),
        ):
            try:
                await walled.call(name, path="f", **arguments)
            except ToolError as refused:
                refusals.append(str(refused))
            seen.add((walled.work / "f").read_text())
    assert all("was ended twice" in each or "is not in /work/f" in each for each in refusals)
    whole = {f"{word} {number}" for word in ("new", "newer") for number in range(5)}
    assert seen <= {"old", *whole}
    await walled.call("python", code=END_HUNT)
    await walled.call("write_file", path="f", text="at last")
    assert await walled.call("read_file", path="f") == "at last"


@needs_bwrap
async def test_a_request_whose_process_is_stopped_ends_with_its_time_and_leaves_nothing(
    walled: Desk,
) -> None:
    await walled.call("python", code=HUNT.format(signal="19 if hunting else 0"))
    session = walled.sandboxes.session("r")
    folders = {"roots": {"work": "/work"}, "write": False, "home": "/work"}
    request = {"op": "grep", "folders": folders, "path": ".", "pattern": "^(a+)+$", "glob": "*"}
    (walled.work / "f").write_text("a" * 50 + "!\n")
    with pytest.raises(TimeoutError):
        await session.ask({**request, "ignore_case": False, "seconds": 60}, 0.5)
    await walled.call("python", code=END_HUNT)
    counted = """
import os, time
def count(): return sum(name.isdigit() for name in os.listdir("/proc"))
until = time.monotonic() + 10
while count() > 3 and time.monotonic() < until: time.sleep(0.01)
print(count())
"""
    assert await walled.call("python", code=counted) == "3"


@needs_bwrap
async def test_a_program_that_takes_every_process_is_named_as_the_cause(walled: Desk) -> None:
    (walled.work / "f").write_text("text")
    take = (
        "import os, signal, time\nheld = []\n"
        "try:\n    while True:\n        pid = os.fork()\n"
        "        if pid == 0: time.sleep(60)\n        held.append(pid)\n"
        "except BlockingIOError: print('taken')"
    )
    assert await walled.call("python", code=take) == "taken"
    refused = await walled.refused("read_file", path="f")
    assert refused.startswith("the sandbox has no room for another process")
    free = "for pid in held: os.kill(pid, 9); os.waitpid(pid, 0)\nprint('freed')"
    assert await walled.call("python", code=free) == "freed"
    assert await walled.call("read_file", path="f") == "text"


async def test_a_cancelled_write_leaves_the_old_file_or_the_new_and_nothing_else(
    desk: Desk,
) -> None:
    (desk.work / "f").write_text("old")
    text = "new" * 1_000_000
    for turns in range(12):
        writing = asyncio.create_task(desk.call("write_file", path="f", text=text))
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await desk.call("list_files")
        assert (desk.work / "f").read_text() in ("old", text)
    assert [file.name for file in desk.work.iterdir()] == ["f"]


# --- answers that were forged

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("x\ud800"),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "files", "notes", "problem", "x"]), children)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "files", "notes", "problem", "x"]), anything))
async def test_whatever_the_inside_answers_is_a_text_or_a_refusal(answer: dict[str, Any]) -> None:
    try:
        checked = told(answer)
    except ToolError as refused:
        str(refused).encode()
    else:
        assert isinstance(checked, Told)
        for text in (checked.text, *checked.files, *checked.notes):
            text.encode()


async def test_an_answer_is_cut_to_what_an_honest_one_could_be() -> None:
    endless = "x" * 20_000_000
    checked = told({"text": endless, "files": [endless] * 1000, "notes": []})
    assert len(checked.text) + sum(map(len, checked.files)) < 5_000_000
    with pytest.raises(ToolError) as refused:
        told({"problem": endless})
    assert len(str(refused.value)) < 10_000


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b"{", b"\xff\xfe", b"[1]", b'"text"', b"1" * 5_000, b"", b'{"a": NaN'],
)
async def test_what_is_no_message_ends_the_channel(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    with theirs:
        theirs.sendall(line + b"\n")
        assert await channel.receive() is None
    channel.close()


async def test_a_message_without_end_is_not_listened_to_for_ever() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.setblocking(False)

    async def pour() -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(theirs, b"x" * (1 << 20))

    pouring = asyncio.create_task(pour())
    assert await channel.receive() is None
    pouring.cancel()
    await asyncio.gather(pouring, return_exceptions=True)
    theirs.close()
    channel.close()


async def test_a_sandbox_that_cannot_be_had_is_told_to_the_model_by_every_tool(
    tmp_path: Path,
) -> None:
    reach = Reach(tmp_path / "missing", lambda run: tmp_path / "out")
    desk = Desk(tmp_path, Sandboxes(reach, LAUNCHERS[0]))
    for name, arguments in (
        ("read_file", {"path": "f"}),
        ("edit_file", {"path": "f", "old": "a", "new": "b"}),
        ("python", {"code": "1"}),
        ("shell", {"command": "ls"}),
    ):
        with pytest.raises(ToolError, match=r"there is no folder .* to show as /work"):
            await desk.call(name, **arguments)
    assert (
        await desk.tools["edit_file"].reconcile(
            json.dumps({"path": "f", "old": "a", "new": "b"}), desk.context()
        )
        is None
    )


# --- whoever starts the sandbox

CALLS = [
    ["read_file", {"path": "notes.txt"}],
    ["write_file", {"path": "deep/new.txt", "text": "new\n"}],
    ["edit_file", {"path": "notes.txt", "old": "one", "new": "three"}],
    ["list_files", {"pattern": "**"}],
    ["grep", {"pattern": "t\\w+"}],
    ["read_file", {"path": "escape"}],
    ["read_file", {"path": "/etc/shadow"}],
    ["write_file", {"path": "/out/kept.txt", "text": "kept"}],
]
SAID = [
    "one\ntwo\n",
    "wrote 1 line (4 bytes) to /work/deep/new.txt",
    "replaced 1 occurrence in /work/notes.txt, at line 1",
    "/work:\ndeep/\ndeep/new.txt  4 bytes\nescape  (a link)\nfifo  (a FIFO)\nnotes.txt  10 bytes",
    "/work/notes.txt:1: three\n/work/notes.txt:2: two\n[2 matches in 1 of 2 text files]",
    "refused: 'escape' is a link that leads outside of what can be reached: there is /work and "
    "/out; relative paths mean /work",
    "refused: '/etc/shadow' is not within what can be reached: there is /work and /out; relative "
    "paths mean /work",
    "wrote 1 line (4 bytes) to /out/kept.txt",
]


@pytest.mark.parametrize("identity", [*IDENTITIES, ROOT_ON_OVERLAY])
@pytest.mark.parametrize("launcher", [*BWRAPS[:1], "landlock"])
async def test_whoever_starts_it_the_tools_do_the_same_and_files_belong_to_the_folders_owner(
    launcher: str, identity: str
) -> None:
    done = drive(launcher, identity, files=CALLS)
    assert done["said"] == SAID
    assert set(done["owners"].values()) == {done["me"]}


@pytest.mark.parametrize("identity", IDENTITIES[:1])
@pytest.mark.parametrize("launcher", BWRAPS[:1])
async def test_what_root_has_made_belongs_to_the_user_whose_folder_it_is(
    launcher: str, identity: str
) -> None:
    done = drive(launcher, identity, files=CALLS, owner=4321)
    assert done["said"] == SAID
    owners = {path: uid for path, uid in done["owners"].items() if path.startswith("work")}
    assert set(owners.values()) == {4321}
