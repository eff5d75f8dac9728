"""Runs one sandbox from a process of its own: `python sandbox_driver.py LAUNCHER ORDER`.

Tests start it as root and as an ordinary user. ORDER is JSON: {"attack": true} lets
`sandbox_attacks.py` loose on a host that has something to lose; {"argv": [...]} runs that;
{"files": [[tool, arguments], ...]} calls the file tools, in a folder that belongs to "owner".
"""

import asyncio
import json
import os
import socket
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chogori.chat import ToolCall, ToolContext, ToolError, text_of
from chogori.toolbox import Reach, Sandboxes, file_tools
from chogori.toolbox.sandbox import Bwrap, Landlock, Launcher, Limits, Policy, Unsafe, run

MIB = 1 << 20
LIMITS = Limits(
    memory_bytes=256 * MIB, processes=24, file_bytes=4 * MIB, tmp_bytes=8 * MIB, cpu_seconds=20
)
ATTACKS = Path(__file__).with_name("sandbox_attacks.py")


def launcher(name: str) -> Launcher:
    return {"landlock": Landlock, "unsafe": Unsafe}.get(name, lambda: Bwrap(Path(name)))()


async def attack(which: Launcher, order: dict[str, Any], folder: Path) -> dict[str, Any]:
    marker = "a-secret-of-the-host"
    secret = folder / marker
    secret.write_text("secret")
    work, out = folder / "work", folder / "out"
    work.mkdir(mode=0o700)
    (work / "attacks.py").write_text(ATTACKS.read_text())
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        abstract.bind(f"\0chogori-{os.getpid()}")
        abstract.listen()
        named.bind(str(folder / "socket"))
        named.listen()
        facts = {
            "port": tcp.getsockname()[1],
            "abstract": f"chogori-{os.getpid()}",
            "socket": str(folder / "socket"),
            "secret": str(secret),
            "marker": marker,
            "home": str(folder),
            "pid": os.getpid(),
            "uid": os.getuid(),
            "memory": LIMITS.memory_bytes,
            "processes": LIMITS.processes,
            "file": LIMITS.file_bytes,
            "tmp": LIMITS.tmp_bytes,
            **order,
        }
        os.environ["HOST_SECRET"] = marker
        policy = Policy(out=out, workspace=work)
        (work / "facts.json").write_text(json.dumps(facts))
        script = f"{which.places(policy).work}/attacks.py"
        outcome = await run(["python3", script], policy, LIMITS, 60, launcher=which)
    return asdict(outcome) | {"whole_output": None}


async def use_files(which: Launcher, order: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What each call says, and who owns what is there in the end."""
    work, out = folder / "work", folder / "out"
    work.mkdir(mode=0o700)
    (folder / "secret").write_text("a-secret-of-the-host")
    (work / "notes.txt").write_text("one\ntwo\n")
    (work / "escape").symlink_to("../secret")
    os.mkfifo(work / "fifo")
    if "owner" in order:
        for path in (work, *work.iterdir()):
            os.chown(path, order["owner"], order["owner"], follow_symlinks=False)
    sandboxes = Sandboxes(Reach(work, lambda run: out, write=True), which)
    tools = {tool.spec.name: tool for tool in file_tools(sandboxes)}
    said: list[str] = []
    for name, arguments in order["files"]:
        context = ToolContext("r", ToolCall("c", name, "{}"), key=str(len(said)))
        try:
            result = await tools[name].call(json.dumps(arguments), context)
            said.append(text_of(result.content))
        except ToolError as error:
            said.append(f"refused: {error}")
    await sandboxes.aclose()
    owners = {
        str(path.relative_to(folder)): path.lstat().st_uid
        for top in (work, out)
        for path in (top, *top.rglob("*"))
    }
    return {"said": said, "owners": owners, "me": os.getuid()}


async def main() -> None:
    which, order = launcher(sys.argv[1]), json.loads(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="chogori-test-") as folder:
        if order.get("attack"):
            result = await attack(which, order, Path(folder))
        elif order.get("files"):
            result = await use_files(which, order, Path(folder))
        else:
            policy = Policy(out=Path(folder) / "out")
            outcome = await run(order["argv"], policy, LIMITS, 60, launcher=which)
            result = asdict(outcome) | {"whole_output": None}
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
