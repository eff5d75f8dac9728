"""The file tools in their sandboxes: each law holds however the sandbox is made."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from desk import IDS, LAUNCHERS, Desk, Office
from hypothesis import given, settings
from hypothesis import strategies as st

from chogori.chat import ToolError, text_of
from chogori.toolbox.sandbox import Launcher

pytestmark = pytest.mark.asyncio(loop_scope="module")
examples = settings(max_examples=25)
"""Each goes through a process of its own, in each of the sandboxes."""


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


async def test_each_tool_says_what_repeating_it_does(desk: Desk) -> None:
    assert {name: tool.effect for name, tool in desk.tools.items()} == {
        "python": "once",
        "shell": "once",
        "read_file": "pure",
        "write_file": "idempotent",
        "edit_file": "reconcilable",
        "list_files": "pure",
        "grep": "pure",
    }
    assert not any(tool.needs_approval for tool in desk.tools.values())


async def test_whatever_writes_a_file_touches_one_thing_by_whatever_name(desk: Desk) -> None:
    """Which file a link leads to is known inside alone: so all writes are made in order."""

    def touched(name: str, **arguments: str) -> frozenset[str]:
        return desk.tools[name].touches(orjson.dumps(arguments).decode())

    (same,) = {
        *(touched("write_file", path=path, text="") for path in ("a/f", "/out/y", "link")),
        *(touched("edit_file", path=path, old="a", new="b") for path in ("a/f", "../work/a/f")),
    }
    assert len(same) == 1
    assert touched("read_file", path="a/f") == frozenset()


# --- read_file


@examples
@given(
    text=st.text(st.sampled_from("ab\n\r\té\u2028😀"), min_size=1, max_size=200),
    max_chars=st.integers(8, 60),
    lines=st.integers(1, 20),
)
async def test_reading_on_as_told_reads_the_whole_file(
    office: Office, text: str, max_chars: int, lines: int
) -> None:
    text = "\n".join(line[:8] for line in text.split("\n"))
    desk = office.desk(max_chars=max_chars)
    (desk.work / "f").write_bytes(text.encode())
    pieces: list[str] = []
    first_line = 1
    while True:
        told = await desk.call("read_file", path="f", first_line=first_line, lines=lines)
        body, _, note = told.rpartition("\n[")
        if "read on with first_line=" not in note:
            pieces.append(body if note == "the end of /work/f]" else told)
            break
        pieces.append(body)
        assert len(body) <= max_chars
        first_line = int(note.rpartition("=")[2].rstrip("]"))
    joined = "\n".join(pieces)
    assert joined in (text, text.removesuffix("\n")) or (text, joined) == ("", "/work/f is empty")


async def test_a_cut_says_which_lines_are_shown_and_how_to_read_on(desk: Desk) -> None:
    (desk.work / "f").write_text("".join(f"line {n}\n" for n in range(1, 3001)))
    told = await desk.call("read_file", path="f", first_line=10, lines=2)
    assert told == "line 10\nline 11\n[lines 10-11 of 3,001; read on with first_line=12]"
    told = await desk.call("read_file", path="f")
    assert len(told) < 8_100
    assert "read on with first_line=" in told
    assert (await desk.call("read_file", path="f", first_line=3000)).startswith("line 3000")
    assert "ends before line 3,002" in await desk.refused("read_file", path="f", first_line=3002)
    assert "begin at 1" in await desk.refused("read_file", path="f", first_line=0)


async def test_an_empty_file_is_said_to_be_empty(desk: Desk) -> None:
    (desk.work / "f").touch()
    assert await desk.call("read_file", path="f") == "/work/f is empty"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0", "a PNG image (10 bytes), not text"),
        ("a.xlsx", b"PK\x03\x04\0\0", "an Excel workbook"),
        ("a.zip", b"PK\x03\x04\0\0", "a ZIP archive"),
        ("a.bin", b"ab\0cd", "not text; open it with python"),
        ("a.txt", b"caf\xe9 au lait", "not UTF-8 (byte 0xe9)"),
        ("b.txt", b"\xff\xfea\0", "text in UTF-16"),
    ],
)
async def test_what_is_not_text_is_refused_by_name(
    desk: Desk, name: str, data: bytes, said: str
) -> None:
    (desk.work / name).write_bytes(data)
    assert said in await desk.refused("read_file", path=name)


async def test_a_huge_file_is_not_loaded(desk: Desk) -> None:
    """Ten GB with holes: loading it would take the machine down, a window takes nothing."""
    with (desk.work / "huge").open("wb") as file:
        file.write(b"first\nsecond\n" * 10_000)
        file.truncate(10_000_000_000)
    told = await desk.call("read_file", path="huge", lines=1)
    assert told == "first\n[lines 1-1 (10.0 GB); read on with first_line=2]"


async def test_a_line_that_does_not_fit_says_so(desk: Desk) -> None:
    (desk.work / "f").write_text("x" * 20_000)
    assert "line 1 of /work/f is longer than the 8,000" in await desk.call("read_file", path="f")


# --- write_file


async def test_writing_makes_folders_and_tells_what_it_wrote(desk: Desk) -> None:
    result = await desk.result("write_file", path="a/b/c.txt", text="é\nx\n")
    assert text_of(result.content) == "wrote 2 lines (5 bytes) to /work/a/b/c.txt"
    assert result.extra == {"files": ["/work/a/b/c.txt"]}
    assert (desk.work / "a/b/c.txt").read_text() == "é\nx\n"


async def test_without_permission_only_out_is_written(office: Office) -> None:
    desk = office.desk(write=False)
    (desk.work / "f").write_text("old")
    for call in (
        desk.refused("write_file", path="f", text="new"),
        desk.refused("edit_file", path="f", old="old", new="new"),
    ):
        assert await call == (
            "/work is read-only in this run; write to /out instead, for example /out/f"
        )
    await desk.call("write_file", path="/out/f", text="new")
    assert ((desk.work / "f").read_text(), (desk.out / "f").read_text()) == ("old", "new")


async def test_a_replaced_file_keeps_its_mode_and_no_other_link_to_it_is_written(
    desk: Desk,
) -> None:
    (desk.work / "first").write_text("untouched")
    os.link(desk.work / "first", desk.work / "hard")
    (desk.work / "hard").chmod(0o755)
    (desk.work / "soft").symlink_to("hard")
    await desk.call("write_file", path="soft", text="new")
    assert (desk.work / "hard").read_text() == "new"
    assert stat.S_IMODE((desk.work / "hard").stat().st_mode) == 0o755
    assert (desk.work / "first").read_text() == "untouched"
    names = sorted(file.name for file in desk.work.iterdir())
    assert names == ["first", "hard", "soft"], "nothing is left over"


async def test_what_is_made_belongs_to_the_owner_of_the_folder(desk: Desk) -> None:
    await desk.call("write_file", path="a/f", text="x")
    await desk.call("edit_file", path="a/f", old="x", new="y")
    owner = desk.work.stat()
    made = [path.stat() for path in (desk.work / "a", desk.work / "a" / "f", *desk.out.iterdir())]
    assert {(info.st_uid, info.st_gid) for info in made} == {(owner.st_uid, owner.st_gid)}


async def test_half_a_character_is_refused_and_leaves_the_file_as_it_was(desk: Desk) -> None:
    (desk.work / "f").write_text("old")
    write: Any = desk.tools["write_file"]
    with pytest.raises(ToolError, match="half a character"):
        await write.function(path="f", text="\ud800", context=desk.context())
    assert (desk.work / "f").read_text() == "old"
    assert [file.name for file in desk.work.iterdir()] == ["f"]


async def test_more_text_than_fits_one_call_is_refused_at_the_door(desk: Desk) -> None:
    refused = await desk.refused("write_file", path="f", text="x" * 10_000_001)
    assert refused.startswith("10,000,001 characters are more than the 10,000,000")


# --- edit_file

snippets = st.text(st.sampled_from("ab\n "), max_size=12)


@examples
@given(before=snippets, old=snippets, new=snippets, after=snippets, all=st.booleans())
async def test_an_edit_is_an_exact_replacement_and_is_known_to_have_happened(
    office: Office,
    before: str,
    old: str,
    new: str,
    after: str,
    all: bool,
) -> None:
    desk = office.desk()
    text = before + old + after
    (desk.work / "f").write_text(text)
    arguments = orjson.dumps({"path": "f", "old": old, "new": new, "all": all}).decode()
    edit = desk.tools["edit_file"]
    assert await edit.reconcile(arguments, desk.context()) is None, "nothing has happened yet"
    fits = bool(old) and old != new and (all or text.count(old) == 1)
    try:
        await edit.call(arguments, desk.context())
    except ToolError:
        assert not fits
        assert (desk.work / "f").read_text() == text
    else:
        assert fits
        assert (desk.work / "f").read_text() == text.replace(old, new)
        assert await edit.reconcile(arguments, desk.context()) is not None


async def test_an_edit_that_was_meant_but_not_made_is_known_not_to_have_happened(
    desk: Desk,
) -> None:
    """Killed between the record and the deed; the new text holds the old, so the text is silent."""
    (desk.work / "f").write_text("aa")
    arguments = '{"path": "f", "old": "aa", "new": "aaa"}'
    edit = desk.tools["edit_file"]
    await edit.call(arguments, desk.context())
    assert await edit.reconcile(arguments, desk.context()) is not None
    (desk.work / "f").write_text("aa")
    assert await edit.reconcile(arguments, desk.context()) is None
    assert await edit.reconcile(arguments, desk.context("another")) is None


async def test_edits_of_one_file_at_once_are_all_made(desk: Desk) -> None:
    (desk.work / "f").write_text("".join(f"<{n}>" for n in range(20)))
    edit = desk.tools["edit_file"]
    calls = [f'{{"path": "f", "old": "<{n}>", "new": "[{n}]"}}' for n in range(20)]
    await asyncio.gather(*(edit.call(c, desk.context(c)) for c in calls))
    assert (desk.work / "f").read_text() == "".join(f"[{n}]" for n in range(20))


async def test_a_failed_edit_tells_what_would_fit(desk: Desk) -> None:
    (desk.work / "f.py").write_text("def add(a, b):\n    return a + b\n\nx = 1\nx = 1\n")
    nearest = await desk.refused(
        "edit_file", path="f.py", old="def add(a,b):\n  return a+b", new=""
    )
    assert nearest == (
        "old is not in /work/f.py. The nearest, lines 1-2 are (they differ in spaces or line "
        "ends only):\ndef add(a, b):\n    return a + b"
    )
    assert "No line is like it" in await desk.refused("edit_file", path="f.py", old="%%%", new="")
    assert "old is in /work/f.py 2 times, at lines 4, 5; take in more" in await desk.refused(
        "edit_file", path="f.py", old="x = 1", new=""
    )
    assert "nothing to edit" in await desk.refused("edit_file", path="f.py", old="x", new="x")
    assert "write_file" in await desk.refused("edit_file", path="f.py", old="", new="x")
    (desk.work / "dos").write_bytes(b"a\r\nb\r\n")
    assert r"lines end in \r\n" in await desk.refused("edit_file", path="dos", old="a\nb", new="")
    assert "there is dos" in await desk.refused("edit_file", path="does", old="a", new="")


async def test_an_edit_says_where_and_leaves_line_ends_alone(desk: Desk) -> None:
    (desk.work / "dos").write_bytes(b"\xef\xbb\xbfa\r\nb\r\nb")
    told = await desk.call("edit_file", path="dos", old="b", new="c", all=True)
    assert told == "replaced 2 occurrences in /work/dos, at line 2, 3"
    assert (desk.work / "dos").read_bytes() == b"\xef\xbb\xbfa\r\nc\r\nc"


# --- list_files


@pytest.fixture
def tree(desk: Desk) -> Desk:
    for path in ("a.csv", "b.txt", "src/main.py", "src/lib/x.py", "src/lib/y.js", ".git/config"):
        file = desk.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"hello {path}\n")
    (desk.work / "link").symlink_to("/etc")
    (desk.work / "blob").write_bytes(b"hello\0")
    os.mkfifo(desk.work / "src" / "fifo")
    return desk


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["a.csv", "b.txt", "blob", "link", "src"]),
        ("*.csv", ["a.csv"]),
        ("**/*.py", ["src/lib/x.py", "src/main.py"]),
        ("src/*", ["src/fifo", "src/lib", "src/main.py"]),
        ("src/**/*.{py,js}", ["src/lib/x.py", "src/lib/y.js", "src/main.py"]),
        ("**/lib/**", ["src/lib", "src/lib/x.py", "src/lib/y.js"]),
        (".git/*", [".git/config"]),
    ],
)
async def test_a_listing_is_what_the_glob_says_in_order(
    tree: Desk, pattern: str, names: list[str]
) -> None:
    head, *lines = (await tree.call("list_files", pattern=pattern)).split("\n")
    listed = [line.split("  ")[0].rstrip("/") for line in lines if not line.startswith("[")]
    assert (head, listed) == ("/work:", names)


async def test_a_listing_says_what_each_thing_is(tree: Desk) -> None:
    assert await tree.call("list_files") == (
        "/work:\na.csv  12 bytes\nb.txt  12 bytes\nblob  6 bytes\nlink  (a link)\nsrc/\n"
        "[not shown: .git]"
    )
    assert "fifo  (a FIFO)" in await tree.call("list_files", path="src")
    assert "holds nothing like '*.md'" in await tree.call("list_files", pattern="*.md")
    assert await tree.call("list_files", path="/out") == "/out is empty"
    assert "not a folder" in await tree.refused("list_files", path="a.csv")
    assert "there is src" in await tree.refused("list_files", path="scr")
    assert "cannot hold .." in await tree.refused("list_files", pattern="../*")


async def test_a_long_listing_is_cut_with_a_count(office: Office) -> None:
    desk = office.desk(max_chars=200)
    for number in range(100):
        (desk.work / f"file{number:03}").touch()
    told = await desk.call("list_files")
    assert told.endswith("[89 more; give a narrower path or pattern]")


# --- grep


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"pattern": "hello.*py"},
            "/work/src/lib/x.py:1: hello src/lib/x.py\n/work/src/main.py:1: hello src/main.py\n"
            "[2 matches in 2 of 5 text files]\n[1 binary file skipped]",
        ),
        (
            {"pattern": "HELLO", "glob": "*.{csv,txt}", "ignore_case": True},
            "/work/a.csv:1: hello a.csv\n/work/b.txt:1: hello b.txt\n"
            "[2 matches in 2 of 2 text files]",
        ),
        ({"pattern": "HELLO", "path": "a.csv"}, "[no match in 1 text file]"),
        (
            {"pattern": "x", "glob": "src/**/*.py"},
            "/work/src/lib/x.py:1: hello src/lib/x.py\n[1 match in 1 of 1 text file]",
        ),
    ],
)
async def test_grep_tells_path_line_and_text(
    tree: Desk, arguments: dict[str, Any], told: str
) -> None:
    assert await tree.call("grep", **arguments) == told


async def test_a_bad_pattern_is_told_in_a_sentence(tree: Desk) -> None:
    refused = await tree.refused("grep", pattern="a(b")
    assert refused.startswith("the pattern is not a regular expression: missing ), unterminated")


async def test_what_does_not_fit_is_kept_in_out(office: Office) -> None:
    desk = office.desk(max_chars=500)
    (desk.work / "f").write_text("".join(f"match {n}\n" for n in range(200)))
    told = await desk.call("grep", pattern="match")
    assert len(told) < 800
    assert "[200 matches in 1 of 1 text file]" in told
    kept = told.partition("the whole is in ")[2].partition(",")[0]
    assert kept.startswith("/out/results/grep-")
    assert "match 199" in (desk.out / kept.removeprefix("/out/")).read_text()
    assert await desk.call("grep", pattern="match") == told, "pure: the same again"
    assert len(list((desk.out / "results").iterdir())) == 1


async def test_a_pattern_that_backtracks_for_ever_is_stopped(office: Office) -> None:
    desk = office.desk(grep_seconds=1)
    (desk.work / "a").write_text("aab\n")
    (desk.work / "f").write_text("a" * 50 + "!\n")
    told = await desk.call("grep", pattern="^(a+)+b?$|aab")
    assert told.startswith("/work/a:1: aab\n[stopped after 1 second with 1 match;")


async def test_a_long_line_is_told_round_its_match(desk: Desk) -> None:
    (desk.work / "f").write_text("x" * 5_000 + "needle" + "y" * 5_000)
    told = await desk.call("grep", pattern="needle")
    assert "...x" in told
    assert "needley" in told
    assert len(told) < 500


async def test_every_tool_says_what_it_is_for_and_nothing_of_the_call(desk: Desk) -> None:
    assert all(tool.spec.description for tool in desk.tools.values())
    assert "context" not in orjson.dumps([t.spec.parameters for t in desk.tools.values()]).decode()


async def test_whether_an_edit_happened_can_be_asked_of_a_file_that_is_gone(desk: Desk) -> None:
    arguments = '{"path": "f", "old": "a", "new": "b"}'
    assert await desk.tools["edit_file"].reconcile(arguments, desk.context()) is None
