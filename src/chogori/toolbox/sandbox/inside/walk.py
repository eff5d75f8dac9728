"""From a path that a model wrote to a place in `/work`, the user's folder, or `/out`, the run's.

A relative path means /work, or /out where there is no /work. Where nothing is mounted anew, the two
folders lie elsewhere (`Folders.roots`); a path may then begin with their real place too, since
programs print it, and is told by the name that the model knows.

Why a swapped link cannot lead astray: each component is opened by itself, relative to the
descriptor of the folder before it and with O_NOFOLLOW, so the kernel never follows a link for us.
A link is read and its target walked by the same rule, `/` being a folder that holds nothing but
`work` and `out`. `..` goes back to a folder we already hold open. Whoever swaps a folder for a link
between our look and our step makes the step fail. Files are looked at, opened without waiting
(O_NONBLOCK), and looked at again by descriptor, so neither a FIFO nor a device is ever read.
In namespaces the walls alone would do; where there are none, this is what holds.
"""

import difflib
import os
import posixpath
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Literal

from .names import FileProblem, kind_of, printable
from .replacing import give, replace

_MAX_LINKS = 40  # as in Linux, path_resolution(7)
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags that open a folder itself, never what a link in its place leads to."""
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags that open a file itself, and never wait for anybody to write to it."""

Root = Literal["work", "out"]


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one run."""

    roots: Mapping[Root, str]
    """Where each lies, for whoever walks."""
    write: bool
    """Whether /work may be written."""
    home: str
    """What relative paths are relative to."""

    @contextmanager
    def at(self, path: str, *, make_parents: bool = False) -> Generator["Spot"]:
        """The place `path` names, whether or not anything is there. Raises `FileProblem`."""
        walk = Walk(self, path, make_parents)
        try:
            with _telling(path):
                spot = walk.run()
            yield spot
        finally:
            walk.close()

    def allow_writing(self, root: Root, name: str) -> None:
        """Raise `FileProblem` where writing in `root` is not allowed."""
        if root == "work" and not self.write:
            instead = f"; write to /out instead, for example /out/{name}" if self.has_out else ""
            raise FileProblem(f"/work is read-only in this run{instead}")

    @property
    def has_out(self) -> bool:
        """Whether the run has a folder of its own."""
        return "out" in self.roots

    def open_root(self, root: Root) -> int:
        """A descriptor of the folder itself. Links in its own path are those of the user."""
        return os.open(self.roots[root], OPEN_FOLDER & ~os.O_NOFOLLOW)

    def renamed(self, path: str) -> str:
        """`path` by the names that the model knows, where it begins with a folder's real place."""
        for root, place in sorted(self.roots.items(), key=lambda item: -len(item[1])):
            if path == place or path.startswith(f"{place}/"):
                return f"/{root}{path[len(place) :]}"
        return path


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in one of the folders. Good until `Folders.at` ends."""

    folders: Folders
    root: Root
    shown: str
    """Its path as the model knows it, links resolved."""
    _parent: int
    _name: str
    """Empty for the root folder itself."""
    _folder: int | None

    @property
    def is_folder(self) -> bool:
        return self._folder is not None

    def look(self) -> os.stat_result | None:
        """What is there, or None. Never follows a link."""
        if self._folder is not None:
            return os.fstat(self._folder)
        with _telling(self.shown):
            return _look(self._name, self._parent)

    def folder(self) -> int:
        """The descriptor of the folder that is there."""
        if self._folder is not None:
            return self._folder
        info = self.look()
        if info is None:
            raise _missing(self._name, self.shown, self._parent)
        raise FileProblem(f"{self.shown} is {kind_of(info.st_mode)}, not a folder")

    def open(self) -> BinaryIO:
        """The file that is there, for reading. Only ever a regular file; never waits."""
        info = self.look()
        if info is None:
            raise _missing(self._name, self.shown, self._parent)
        self._refuse_special(info)
        with _telling(self.shown):
            descriptor = os.open(self._name, OPEN_FILE, dir_fd=self._parent)
            file = os.fdopen(descriptor, "rb")
        try:
            self._refuse_special(os.fstat(descriptor))
        except FileProblem:
            file.close()
            raise
        return file

    def replace(self, data: bytes) -> None:
        """Make `data` the content of the file, all at once and durably."""
        self.folders.allow_writing(self.root, posixpath.basename(self.shown))
        before = self.look()
        if before is not None:
            self._refuse_special(before)
        with _telling(self.shown):
            replace(self._name, self._parent, data, before)

    def _refuse_special(self, info: os.stat_result) -> None:
        if stat.S_ISDIR(info.st_mode):
            raise FileProblem(f"{self.shown} is a folder; list_files tells what is in it")
        if not stat.S_ISREG(info.st_mode):
            kind = kind_of(info.st_mode)
            raise FileProblem(f"{self.shown} is {kind}, which cannot be used here")


class Walk:
    """One path, walked. Holds the folders on the way open, so that `..` needs no look-up."""

    def __init__(self, folders: Folders, path: str, make_parents: bool) -> None:
        self.folders = folders
        self.path = path
        self.make_parents = make_parents
        self.names: list[str] = []
        self.held: list[int] = []
        self.links = 0

    def run(self) -> Spot:
        if "\0" in self.path:
            raise FileProblem("a path cannot hold the character NUL")
        path = posixpath.join(self.folders.home, self.folders.renamed(self.path))
        pending = path.split("/")[::-1]
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                self._up()
            elif not self.held:
                self._enter_root(part)
            elif (spot := self._step(part, pending)) is not None:
                return spot
        if not self.held:
            raise self._outside()
        return self._spot("", self.held[-1])

    def look(self, part: str) -> os.stat_result | None:
        """What is there before it is stepped on; by then it may be something else."""
        return _look(part, self.held[-1])

    def close(self) -> None:
        while self.held:
            self._up()

    def _step(self, part: str, pending: list[str]) -> Spot | None:
        """Go on by one name. The place, where the path ends in what is no folder."""
        info = self.look(part)
        is_last = all(rest in ("", ".") for rest in pending)
        if info is None and is_last:
            return self._spot(part, None)
        if info is None:
            if not self.make_parents:
                raise _missing(part, self._shown(part), self.held[-1])
            self._make(part)
        elif stat.S_ISLNK(info.st_mode):
            pending += self._follow(part)
        elif stat.S_ISDIR(info.st_mode):
            self._down(part)
        elif is_last:
            return self._spot(part, None)
        else:
            kind = kind_of(info.st_mode)
            raise FileProblem(f"{self._shown(part)} is {kind}, so nothing lies inside it")
        return None

    def _spot(self, name: str, folder: int | None) -> Spot:
        return Spot(self.folders, self._root(), self._shown(name), self.held[-1], name, folder)

    def _root(self) -> Root:
        return "work" if self.names[0] == "work" else "out"

    def _up(self) -> None:
        if self.held:
            os.close(self.held.pop())
            self.names.pop()

    def _down(self, part: str) -> None:
        self.held.append(os.open(part, OPEN_FOLDER, dir_fd=self.held[-1]))
        self.names.append(part)

    def _enter_root(self, part: str) -> None:
        root: Root | None = next((root for root in self.folders.roots if root == part), None)
        if root is None:
            raise self._outside()
        with _telling(f"/{root}"):
            self.held.append(self.folders.open_root(root))
        self.names.append(root)

    def _follow(self, part: str) -> list[str]:
        self.links += 1
        if self.links > _MAX_LINKS:
            raise FileProblem(f"{self.path!r} is a link that leads to itself")
        target = self.folders.renamed(os.readlink(part, dir_fd=self.held[-1]))
        if target.startswith("/"):
            self.close()
        return target.split("/")[::-1]

    def _make(self, part: str) -> None:
        self.folders.allow_writing(self._root(), posixpath.basename(self.path))
        parent = self.held[-1]
        try:
            os.mkdir(part, dir_fd=parent)
        except FileExistsError:  # somebody else made it just now
            self._down(part)
            return
        self._down(part)
        made = self.held[-1]
        # Only what we made changes hands: somebody might have moved another folder of ours here.
        with os.scandir(made) as entries:
            is_new = os.fstat(made).st_uid == os.geteuid() and next(entries, None) is None
        if is_new:
            give(made, os.fstat(parent))

    def _shown(self, name: str) -> str:
        return printable("/" + "/".join([*self.names, name] if name else self.names))

    def _outside(self) -> FileProblem:
        there = " and ".join(f"/{root}" for root in self.folders.roots) or "no folder at all"
        leads = "is a link that leads outside of" if self.links else "is not within"
        home = f"; relative paths mean {self.folders.home}" if self.folders.roots else ""
        return FileProblem(f"{self.path!r} {leads} what can be reached: there is {there}{home}")


def _look(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _missing(name: str, shown: str, folder: int) -> FileProblem:
    """There is no `name`; what there is instead."""
    with os.scandir(folder) as entries:
        names = [printable(entry.name) for entry in islice(entries, 2_000)]
    plain = {other.lower(): other for other in names}
    near = [plain[n] for n in difflib.get_close_matches(name.lower(), plain, n=3, cutoff=0.6)]
    parent = posixpath.dirname(shown)
    if near:
        there = f"there is {', '.join(near)}"
    elif names:
        some = ", ".join(sorted(names)[:8])
        there = f"there is {some}{' and more' if len(names) > 8 else ''}"
    else:
        there = "the folder is empty"
    return FileProblem(f"there is no {printable(name)!r} in {parent}; {there}")


@contextmanager
def _telling(shown: str) -> Generator[None]:
    """What the system refuses is told by the name the model knows, never the host's."""
    try:
        yield
    except FileNotFoundError:
        raise FileProblem(f"{shown} is not there (any more)") from None
    except (OSError, UnicodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not a possible name"
        raise FileProblem(f"{shown}: {reason.lower()}") from None
