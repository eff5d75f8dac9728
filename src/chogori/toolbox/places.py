"""Where tools may read and write: `/work`, the user's folder, and `/out`, the run's own.

A model names files as a program in the sandbox sees them; a relative path means /work, or /out
where there is no /work. `Folders.at` finds what a path means, and nothing here ever hands out a
host path: callers get descriptors.

Why a swapped link cannot lead astray: each component is opened by itself, relative to the
descriptor of the folder before it and with O_NOFOLLOW, so the kernel never follows a link for us.
A link is read and its target walked by the same rule, `/` being a folder that holds nothing but
`work` and `out`, as in the sandbox. `..` goes back to a folder we already hold open. Whoever swaps
a folder for a link between our look and our step makes the step fail. Files are looked at, opened
without waiting (O_NONBLOCK), and looked at again by descriptor, so neither a FIFO nor a device is
ever read. Writing makes a new file beside the old one and renames it: no reader sees half a file,
and a hard link to a file elsewhere is replaced, not written through.

When Chogori runs as root, what it makes belongs to the owner of the folder it is made in (a file
that is replaced keeps its owner and mode), so that people can delete their own files. The owner of
a folder that was there before is never changed.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import posixpath
import re
import secrets
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

from chogori.chat import ToolContext, ToolError

MAX_CHARS = 8_000
"""How much of a result the model is told, unless a tool is made with another number."""

_MAX_LINKS = 40  # as in Linux, path_resolution(7)
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags that open a folder itself, never what a link in its place leads to."""
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Root = Literal["work", "out"]


@dataclass(frozen=True, slots=True)
class Places:
    """Which folders the tools of an agent may reach, in whatever run they are called.

    The run's folder is `ToolContext.out` where the agent says so, else `out(run_id)`.
    """

    workspace: Path | None
    out: Callable[[str], Path] | None = None
    write: bool = False
    """Whether /work may be written."""

    def of(self, context: ToolContext) -> Folders:
        """The folders of one run."""
        out = context.out or (self.out(context.run_id) if self.out else None)
        return self._folders(out)

    def touched(self, path: str) -> str:
        """One name for whatever leads to the same file, as far as is known before a run is."""
        folders = self._folders(None)
        with suppress(ToolError), folders.at(path) as spot:
            return spot.shown
        return posixpath.normpath(posixpath.join(folders.home, path))

    def _folders(self, out: Path | None) -> Folders:
        roots: dict[Root, Path] = {}
        if self.workspace is not None:
            roots["work"] = self.workspace
        if out is not None:
            roots["out"] = out
        return Folders(roots, self.write, "/out" if self.workspace is None else "/work")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one run."""

    roots: Mapping[Root, Path]
    write: bool
    home: str
    """What relative paths are relative to."""

    @contextmanager
    def at(self, path: str, *, make_parents: bool = False) -> Generator[Spot]:
        """The place `path` names, whether or not anything is there. Raises `ToolError`."""
        walk = Walk(self, path, make_parents)
        try:
            with _telling(path):
                spot = walk.run()
            yield spot
        finally:
            walk.close()

    def tell(self, text: str, *, limit: int, name: str) -> str:
        """`text`, or its beginning and where in /out the whole of it is kept, to be read there."""
        if len(text) <= limit:
            return text
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:10]
        kept = self._keep(f"/out/results/{name}-{digest}.txt", text)
        shown = cut(text, limit)
        where = f"; the whole is in {kept}, which read_file reads" if kept else ""
        return f"{shown}\n[cut: {len(shown):,} of {len(text):,} characters are shown{where}]"

    def _keep(self, path: str, text: str) -> str:
        if "out" not in self.roots:
            return ""
        try:
            with self.at(path, make_parents=True) as spot:
                spot.replace(text.encode("utf-8", "replace"))
        except ToolError:
            return ""
        return path

    def allow_writing(self, root: Root, name: str) -> None:
        """Raise `ToolError` where writing in `root` is not allowed."""
        if root == "work" and not self.write:
            instead = f"; write to /out instead, for example /out/{name}" if self.has_out else ""
            raise ToolError(f"/work is read-only in this run{instead}")

    @property
    def has_out(self) -> bool:
        """Whether the run has a folder of its own."""
        return "out" in self.roots

    def open_root(self, root: Root) -> int:
        """A descriptor of the folder itself; the run's own is made when it is not there."""
        folder = self.roots[root]
        if root == "out":
            folder.mkdir(parents=True, exist_ok=True)
        # The user chose this path: links in it are theirs.
        return os.open(folder, OPEN_FOLDER & ~os.O_NOFOLLOW)


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
        raise ToolError(f"{self.shown} is {kind_of(info.st_mode)}, not a folder")

    def open(self) -> BinaryIO:
        """The file that is there, for reading. Only ever a regular file; never waits."""
        info = self.look()
        if info is None:
            raise _missing(self._name, self.shown, self._parent)
        self._refuse_special(info)
        with _telling(self.shown):
            descriptor = os.open(self._name, _OPEN_FILE, dir_fd=self._parent)
            file = os.fdopen(descriptor, "rb")
        try:
            self._refuse_special(os.fstat(descriptor))
        except ToolError:
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
            self._replace(data, before)

    def _replace(self, data: bytes, before: os.stat_result | None) -> None:
        passing = f".chogori-{secrets.token_hex(8)}"
        descriptor = os.open(passing, _OPEN_NEW, 0o666, dir_fd=self._parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _give(descriptor, before or os.fstat(self._parent))
                if before is not None:
                    os.fchmod(descriptor, before.st_mode & 0o777)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.rename(passing, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(passing, dir_fd=self._parent)
            raise
        os.fsync(self._parent)

    def _refuse_special(self, info: os.stat_result) -> None:
        if stat.S_ISDIR(info.st_mode):
            raise ToolError(f"{self.shown} is a folder; list_files tells what is in it")
        if not stat.S_ISREG(info.st_mode):
            raise ToolError(f"{self.shown} is {kind_of(info.st_mode)}, which cannot be used here")


class Walk:
    """One path, walked. Holds the folders on the way open, so that `..` needs no look-up."""

    def __init__(self, folders: Folders, path: str, make_parents: bool) -> None:
        self.folders = folders
        self.path = path
        self.make_parents = make_parents
        self.names: list[str] = []
        self.held: list[int] = []
        self.through_link = False

    def run(self) -> Spot:
        if "\0" in self.path:
            raise ToolError("a path cannot hold the character NUL")
        pending = posixpath.join(self.folders.home, self.path).split("/")[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                self._up()
                continue
            if not self.held:
                self._enter_root(part)
                continue
            info = self.look(part)
            more = any(rest not in ("", ".") for rest in pending)
            if info is not None and stat.S_ISLNK(info.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise ToolError(f"{self.path!r} is a link that leads to itself")
                pending += self._follow(part)
            elif info is not None and stat.S_ISDIR(info.st_mode):
                self._down(part)
            elif not more:
                return self._spot(part, None)
            elif info is not None:
                raise ToolError(
                    f"{self._shown(part)} is {kind_of(info.st_mode)}, so nothing lies inside it"
                )
            elif self.make_parents:
                self._make(part)
            else:
                raise _missing(part, self._shown(part), self.held[-1])
        if not self.held:
            raise self._outside()
        return self._spot("", self.held[-1])

    def look(self, part: str) -> os.stat_result | None:
        """What is there before it is stepped on; by then it may be something else."""
        return _look(part, self.held[-1])

    def close(self) -> None:
        while self.held:
            self._up()

    def _spot(self, name: str, folder: int | None) -> Spot:
        root: Root = "work" if self.names[0] == "work" else "out"
        return Spot(self.folders, root, self._shown(name), self.held[-1], name, folder)

    def _up(self) -> None:
        if self.held:
            os.close(self.held.pop())
            self.names.pop()

    def _down(self, part: str) -> None:
        self.held.append(os.open(part, OPEN_FOLDER, dir_fd=self.held[-1]))
        self.names.append(part)

    def _enter_root(self, part: str) -> None:
        roots = self.folders.roots
        root: Root | None = next((root for root in roots if root == part), None)
        if root is None:
            raise self._outside()
        with _telling(f"/{root}"):
            self.held.append(self.folders.open_root(root))
        self.names.append(root)

    def _follow(self, part: str) -> list[str]:
        target = os.readlink(part, dir_fd=self.held[-1])
        self.through_link = True
        if target.startswith("/"):
            self.close()
        return target.split("/")[::-1]

    def _make(self, part: str) -> None:
        root: Root = "work" if self.names[0] == "work" else "out"
        self.folders.allow_writing(root, posixpath.basename(self.path))
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
            _give(made, os.fstat(parent))

    def _shown(self, name: str) -> str:
        return printable("/" + "/".join([*self.names, name] if name else self.names))

    def _outside(self) -> ToolError:
        there = " and ".join(f"/{root}" for root in self.folders.roots) or "no folder at all"
        leads = "is a link that leads outside of" if self.through_link else "is not within"
        home = f"; relative paths mean {self.folders.home}" if self.folders.roots else ""
        return ToolError(f"{self.path!r} {leads} what can be reached: there is {there}{home}")


def kind_of(mode: int) -> str:
    """What a mode says is there, with its article."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def printable(name: str) -> str:
    """A file's name on one line of valid text; what is neither is shown escaped."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda found: ascii(found[0])[1:-1], name)


def size_of(count: int) -> str:
    """A number of bytes for reading."""
    if count < 1_000:
        return f"{count} bytes"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 999_950 * size / 1e3 or unit == "GB":
            return f"{count / size:.1f} {unit}"
    raise AssertionError("GB takes whatever is left")


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, whole lines where a line end is near."""
    if len(text) <= limit:
        return text
    end = text.rfind("\n", limit // 2, limit)
    return text[: limit if end < 0 else end]


def _look(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _missing(name: str, shown: str, folder: int) -> ToolError:
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
    return ToolError(f"there is no {printable(name)!r} in {parent}; {there}")


def _give(descriptor: int, like: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, like.st_uid, like.st_gid)


@contextmanager
def _telling(shown: str) -> Generator[None]:
    """What the system refuses is told by the name the model knows, never the host's."""
    try:
        yield
    except FileNotFoundError:
        raise ToolError(f"{shown} is not there (any more)") from None
    except (OSError, UnicodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not a possible name"
        raise ToolError(f"{shown}: {reason.lower()}") from None
