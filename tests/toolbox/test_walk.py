"""Paths: whatever a model writes, it reaches the two folders and nothing else.

This walk is all that holds where nothing is mounted anew, so it is tried here without any sandbox
round it; `test_files.py` goes through the sandboxes.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.toolbox.sandbox.inside.names import FileProblem, cut, printable, size_of
from chogori.toolbox.sandbox.inside.walk import Folders, Spot, Walk

SECRET = "the secret of the host"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder and a run's folder, full of ways out, in a host that has a secret."""
    host = tmp_path_factory.mktemp("host")
    (host / "secret").write_text(SECRET)
    work, out = host / "project", host / "run"
    (work / "src" / "deep").mkdir(parents=True)
    out.mkdir()
    (work / "sales.csv").write_text("a,b\n")
    (work / "src" / "main.py").write_text("print()\n")
    (out / "note.txt").write_text("note\n")
    links = {
        "inside": "src/main.py",
        "folder": "src",
        "absolute": "/work/sales.csv",
        "across": "/out/note.txt",
        "round": "../project/sales.csv",
        "escape": "../secret",
        "escape_absolute": str(host / "secret"),
        "up": "..",
        "top": "/",
        "loop": "loop",
        "etc": "/etc",
        "real": str(work / "sales.csv"),
    }
    for name, target in links.items():
        (work / name).symlink_to(target)
    (work / "src" / "deep" / "up").symlink_to("../../..")
    os.mkfifo(work / "fifo")
    return host


def folders_of(host: Path) -> Folders:
    return Folders({"work": f"{host}/project", "out": f"{host}/run"}, write=False, home="/work")


def work_only(work: Path, *, write: bool = False) -> Folders:
    return Folders({"work": str(work)}, write, "/work")


def read(folders: Folders, path: str) -> str:
    with folders.at(path) as spot, spot.open() as file:
        return file.read().decode()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("sales.csv", "/work/sales.csv"),
        ("./src//main.py", "/work/src/main.py"),
        ("/work/src/../sales.csv", "/work/sales.csv"),
        ("/out/note.txt", "/out/note.txt"),
        ("../out/note.txt", "/out/note.txt"),
        ("inside", "/work/src/main.py"),
        ("folder/main.py", "/work/src/main.py"),
        ("folder/../sales.csv", "/work/sales.csv"),
        ("absolute", "/work/sales.csv"),
        ("across", "/out/note.txt"),
        ("up/out/note.txt", "/out/note.txt"),
    ],
)
def test_a_path_means_what_it_means_in_the_sandbox(host: Path, path: str, shown: str) -> None:
    with folders_of(host).at(path) as spot, spot.open():
        assert spot.shown == shown


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("..", "'..' is not within what can be reached: there is /work and /out"),
        ("../../etc/passwd", "is not within"),
        ("/etc/passwd", "relative paths mean /work"),
        ("/", "is not within"),
        ("escape", "is a link that leads outside"),
        ("escape_absolute", "is a link that leads outside"),
        ("round", "is a link that leads outside"),
        ("top/etc/passwd", "is a link that leads outside"),
        ("src/deep/up/secret", "is a link that leads outside"),
        ("etc/passwd", "is a link that leads outside"),
        ("loop", "is a link that leads to itself"),
        ("fifo", "/work/fifo is a FIFO, which cannot be used here"),
        ("src", "/work/src is a folder; list_files tells what is in it"),
        ("sales.csv/x", "/work/sales.csv is a file, so nothing lies inside it"),
        ("slaes.csv", "there is no 'slaes.csv' in /work; there is sales.csv"),
        ("SRC/main.py", "there is no 'SRC' in /work; there is src"),
        ("src/deep/zzz", "there is no 'zzz' in /work/src/deep; there is up"),
        ("a\0b", "NUL"),
        ("\ud800", "not a possible name"),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_refusal_says_what_is_there_instead(host: Path, path: str, problem: str) -> None:
    with pytest.raises(FileProblem) as refused:
        read(folders_of(host), path)
    assert problem in str(refused.value)
    assert str(host) not in str(refused.value), "host paths are the host's own affair"


words = st.sampled_from(
    [
        *("..", ".", "", "/", "work", "out", "src", "deep", "up", "folder", "escape", "etc"),
        *("escape_absolute", "top", "loop", "inside", "absolute", "across", "round", "fifo"),
        *(
            "secret",
            "project",
            "run",
            "host",
            "proc",
            "self",
            "root",
            "note.txt",
            "\0",
            "~",
            "\\..",
        ),
    ]
)


@given(st.lists(words | st.text(max_size=4), max_size=9), st.booleans())
def test_no_path_ever_escapes(host: Path, parts: list[str], absolute: bool) -> None:
    path = "/" * absolute + "/".join(parts)
    allowed = [(host / name).stat() for name in ("project", "run")]
    inside = {
        (info.st_dev, info.st_ino)
        for top in ("project", "run")
        for path_, names, files in os.walk(host / top)
        for info in (Path(path_, name).stat(follow_symlinks=False) for name in [*names, *files])
    } | {(info.st_dev, info.st_ino) for info in allowed}
    told = ""
    try:
        with folders_of(host).at(path) as spot:
            info = spot.look()
            assert spot.shown.startswith(("/work", "/out"))
            if info is not None:
                assert (info.st_dev, info.st_ino) in inside
            with spot.open() as file:
                assert SECRET not in file.read().decode()
    except FileProblem as refused:
        told = str(refused)
    assert str(host) not in told


@given(st.lists(words, max_size=6))
def test_nothing_is_written_outside(host: Path, parts: list[str]) -> None:
    path = "/out/" + "/".join(parts)
    before = sorted((host / "project").rglob("*")) + sorted(host.iterdir())
    try:
        with folders_of(host).at(path, make_parents=True) as spot:
            spot.replace(b"x")
    except FileProblem:
        pass
    assert sorted((host / "project").rglob("*")) + sorted(host.iterdir()) == before
    assert (host / "secret").read_text() == SECRET


def test_a_folder_swapped_for_a_link_while_we_walk_is_not_followed(tmp_path: Path) -> None:
    """The swap comes between our look and our step, where a check of the path would be fooled."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "f").write_text(SECRET)
    work = tmp_path / "work"
    (work / "a" / "b").mkdir(parents=True)
    (work / "a" / "b" / "f").write_text("fine")
    folders = work_only(work)
    with folders.at("a/b/f") as spot:
        (work / "a").rename(tmp_path / "moved")
        (work / "a").symlink_to(tmp_path / "secret")
        with spot.open() as file:
            assert file.read() == b"fine", "the folder that was found is the one that is used"
    with pytest.raises(FileProblem, match="leads outside"):
        read(folders, "a/f")
    with folders.at("new") as spot:
        (work / "new").symlink_to(tmp_path / "secret" / "f")
        with pytest.raises(FileProblem, match="is a link"):
            spot.open()


class Raced(Spot):
    """A place that somebody else changes as soon as it has been looked at."""

    changes: ClassVar[list[Callable[[], None]]] = []

    def look(self) -> os.stat_result | None:
        info = super().look()
        while self.changes:
            self.changes.pop()()
        return info


@pytest.mark.parametrize("becomes", ["a link", "a FIFO"])
def test_a_file_swapped_between_look_and_step_is_not_opened(tmp_path: Path, becomes: str) -> None:
    (tmp_path / "secret").write_text(SECRET)
    work = tmp_path / "work"
    work.mkdir()
    (work / "f").write_text("fine")

    def swap() -> None:
        (work / "f").unlink()
        if becomes == "a link":
            (work / "f").symlink_to(tmp_path / "secret")
        else:
            os.mkfifo(work / "f")

    folders = work_only(work)
    with folders.at("f") as spot:
        raced = Raced(folders, spot.root, spot.shown, spot._parent, spot._name, None)
        Raced.changes.append(swap)
        with pytest.raises(FileProblem, match="/work/f"):
            raced.open()


class RacedWalk(Walk):
    """A walk on which the next folder becomes a link between look and step."""

    def look(self, part: str) -> os.stat_result | None:
        info = super().look(part)
        work = Path(self.folders.roots["work"])
        if part == "a":
            (work / "a").rename(work / "b")
            (work / "a").symlink_to(work.parent / "secret")
        return info


def test_a_folder_swapped_between_look_and_step_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "f").write_text(SECRET)
    work = tmp_path / "work"
    (work / "a").mkdir(parents=True)
    folders = work_only(work)
    walk = RacedWalk(folders, "a/f", make_parents=False)
    with pytest.raises(NotADirectoryError):
        walk.run()
    walk.close()


def test_sockets_and_devices_are_not_opened(tmp_path: Path) -> None:
    folders = work_only(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(FileProblem, match="is a socket"):
            read(folders, "socket")
    if os.geteuid() == 0:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        with pytest.raises(FileProblem, match="is a device"):
            read(folders, "null")


def test_a_read_only_folder_is_not_written_and_the_refusal_names_out(host: Path) -> None:
    for path in ("new.txt", "sales.csv", "new/folder/x.txt"):
        with (
            pytest.raises(FileProblem, match=r"/work is read-only .* for example /out/\w+\.\w+"),
            folders_of(host).at(path, make_parents=True) as spot,
        ):
            spot.replace(b"x")
    assert not (host / "project" / "new").exists()


def test_without_a_workspace_relative_paths_mean_out(tmp_path: Path) -> None:
    folders = Folders({"out": str(tmp_path)}, write=False, home="/out")
    with folders.at("a/b.txt", make_parents=True) as spot:
        spot.replace(b"x")
        assert spot.shown == "/out/a/b.txt"
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"x"
    with pytest.raises(FileProblem, match="there is /out; relative paths mean /out"):
        read(folders, "/work/x")


def test_where_a_folder_really_is_may_be_named_too_and_is_told_by_the_name_the_model_knows(
    host: Path,
) -> None:
    """Programs print such paths where nothing is mounted anew."""
    nested = Folders({"work": str(host), "out": str(host / "run")}, write=False, home="/work")
    for folders, path, shown in (
        (folders_of(host), f"{host}/project/src/main.py", "/work/src/main.py"),
        (folders_of(host), f"{host}/run/note.txt", "/out/note.txt"),
        (folders_of(host), "real", "/work/sales.csv"),
        (nested, f"{host}/run/note.txt", "/out/note.txt"),
        (nested, f"{host}/secret", "/work/secret"),
    ):
        with folders.at(path) as spot, spot.open():
            assert spot.shown == shown
    for path in (f"{host}/secret", f"{host}/project/../secret", f"{host}/projects"):
        with pytest.raises(FileProblem, match="not within"):
            read(folders_of(host), path)


def test_a_replaced_file_keeps_its_mode_and_no_other_link_to_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("untouched")
    work = tmp_path / "work"
    work.mkdir()
    os.link(tmp_path / "outside", work / "hard")
    (work / "hard").chmod(0o755)
    (work / "soft").symlink_to("hard")
    folders = work_only(work, write=True)
    with folders.at("soft") as spot:
        spot.replace(b"new")
    assert (work / "hard").read_text() == "new"
    assert (work / "soft").is_symlink()
    assert stat.S_IMODE((work / "hard").stat().st_mode) == 0o755
    assert (tmp_path / "outside").read_text() == "untouched"
    assert sorted(file.name for file in work.iterdir()) == ["hard", "soft"], "nothing is left over"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    (tmp_path / "of_root").mkdir()
    os.chown(tmp_path / "theirs", 4321, 4321)
    os.chown(tmp_path, 1234, 1234)
    folders = work_only(tmp_path, write=True)
    for path in ("new/deep/f", "theirs", "of_root/f"):
        with folders.at(path, make_parents=True) as spot:
            spot.replace(b"y")
    owners = {str(p.relative_to(tmp_path)): p.stat().st_uid for p in tmp_path.rglob("*")}
    assert owners == {
        "new": 1234,
        "new/deep": 1234,
        "new/deep/f": 1234,
        "theirs": 4321,
        "of_root": 0,
        "of_root/f": 0,
    }


def test_names_that_are_no_text_are_told_on_one_line(tmp_path: Path) -> None:
    assert printable("a\nb") == r"a\nb"
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert printable("z\u0085\u2028") == r"z\x85\u2028"


@given(st.text(), st.integers(1, 50))
def test_a_cut_text_is_a_beginning_that_fits(text: str, limit: int) -> None:
    assert text.startswith(cut(text, limit))
    assert len(cut(text, limit)) <= limit


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (5e12, "5000.0 GB"),
    ],
)
def test_sizes_are_said_for_reading(count: int, said: str) -> None:
    assert size_of(count) == said
